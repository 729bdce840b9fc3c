// A sidecar beside an engine that shows a real page of vLLM: what the pool becomes, on every surface that shows it.
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "admission/server/audit.h"
#include "tests/admission/server/exposition.h"
#include "tests/admission/server/http_client.h"
#include "tests/e2e/sidecar.h"
#include "tests/support/fake_engine.h"
#include "tests/support/sidecar_yaml.h"

namespace vramgate {
namespace {

constexpr char kDrift[] = "vramgate_estimate_drift_ratio{model=\"m\",instance=\"a\"}";

// 256 blocks of 32 tokens.
std::string RealPage() {
  std::ifstream file(VRAMGATE_TEST_DATA "/engines/vllm_0.32_after_preempt.prom");
  EXPECT_TRUE(file.good());
  return std::string(std::istreambuf_iterator<char>(file), {});
}

TEST(EngineE2eTest, ThePoolIsWhatTheEngineHas) {
  FakeEngine engine(FakeEngine::Ok(RealPage()));
  const TemporaryDirectory directory;
  // 8192 tokens of 1 MiB, as the engine's 256 x 32.
  const std::string yaml =
      absl::StrCat(ListenersYaml(directory.path()), DevicesYaml(1), "models:\n",
                   ModelYaml("m", 8192,
                             absl::StrCat("      - {name: a, devices: [\"0\"], kv_pool: 8192MiB, engine_metrics: \"",
                                          engine.url("/metrics"), "\", engine_poll_interval: 10ms}")),
                   "log: {level: error}\n");
  const absl::StatusOr<LoadedConfig> loaded = ParseConfig(yaml, "test.yaml");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const std::string ledger = directory.At("ledger.csv");
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(*loaded, {.ledger_path = ledger, .version = "test"});
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string ready = (*server)->ReadyLine();
  const size_t begin = ready.find("admin=") + 6;
  const std::string admin = ready.substr(begin, ready.find(' ', begin) - begin);
  const auto drift = [&] { return Exposition(HttpClient(admin).Get("/metrics").body)[kDrift]; };
  const auto stub = v1::AdmissionService::NewStub(
      grpc::CreateChannel((*server)->grpc_addresses()[0], grpc::InsecureChannelCredentials()));

  EXPECT_TRUE(Eventually([&] { return drift() == 1.0; })) << drift();
  {
    SessionClient holder(*stub, Ask(8000));
    EXPECT_TRUE(holder.AwaitGrant());
  }

  // Started again with half of the blocks.
  engine.Answer(
      FakeEngine::Ok(absl::StrReplaceAll(RealPage(), {{"num_gpu_blocks=\"256\"", "num_gpu_blocks=\"128\""}})));
  EXPECT_TRUE(Eventually([&] { return drift() == 0.5; })) << drift();
  {
    SessionClient refused(*stub, Ask(8000));
    EXPECT_EQ(ReasonOf(refused.Finish()), "NEVER_FITS");
    SessionClient holder(*stub, Ask(4096));
    EXPECT_TRUE(holder.AwaitGrant());
  }
  const auto operations = v1::OperatorService::NewStub(
      grpc::CreateChannel((*server)->operator_address(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  v1::GetStatusResponse status;
  ASSERT_TRUE(operations->GetStatus(&context, {}, &status).ok());
  for (const v1::AccountStatus& account : status.accounts()) {
    if (account.account() == "pool/m/a") {
      EXPECT_EQ(account.capacity_bytes(), int64_t{4096} << 20);
    }
  }

  EXPECT_TRUE((*server)->Shutdown(absl::Seconds(10)).ok());
  const absl::StatusOr<AuditReport> audit = AuditLedgerFile(ledger);
  ASSERT_TRUE(audit.ok()) << audit.status();
  EXPECT_TRUE(audit->clean());
}

}  // namespace
}  // namespace vramgate
