#include "tests/e2e/sidecar.h"

#include <chrono>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "admission/check.h"
#include "admission/server/audit.h"
#include "tests/support/sidecar_yaml.h"

namespace vramgate {
namespace {

std::chrono::system_clock::time_point Deadline(absl::Duration within) {
  return absl::ToChronoTime(absl::Now() + within);
}

}  // namespace

bool Eventually(const std::function<bool()>& holds, absl::Duration within) {
  const absl::Time until = absl::Now() + within;
  while (!holds()) {
    if (absl::Now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

std::string SidecarYaml(const std::filesystem::path& directory, std::string_view more) {
  return absl::StrCat(ListenersYaml(directory, R"(, {address: "127.0.0.1:0", insecure: true})"), DevicesYaml(2),
                      "models:\n", ModelYaml("m", 2000, R"(      - {name: a, devices: ["0"], kv_pool: 1000MiB}
      - {name: b, devices: ["1"], kv_pool: 1000MiB}
    min_tokens_per_s: 10000)"),
                      ModelYaml("t", 2000, R"(      - {name: both, devices: ["0", "1"], kv_pool: 1000MiB}
    min_tokens_per_s: 10000)"),
                      std::string(more));
}

v1::AdmitRequest Ask(int64_t tokens, std::string_view request_id, std::string_view instance) {
  v1::AdmitRequest request;
  request.set_model("m");
  request.set_instance(std::string(instance));
  request.set_request_id(std::string(request_id));
  request.mutable_demand()->set_prompt_tokens(tokens - 1);
  request.mutable_demand()->set_max_output_tokens(1);
  return request;
}

// --- SessionClient ---

SessionClient::SessionClient(v1::AdmissionService::Stub& stub) {
  context_.set_deadline(Deadline(kPatience));
  stream_ = stub.Session(&context_);
}

SessionClient::~SessionClient() {
  if (!status_) (void)Release();
}

void SessionClient::Send(const v1::AdmitRequest& admit) {
  v1::SessionRequest message;
  *message.mutable_admit() = admit;
  stream_->Write(message);
}

v1::SessionResponse SessionClient::Read() {
  v1::SessionResponse message;
  if (!stream_->Read(&message)) message.Clear();
  if (message.has_queued()) position = message.queued();
  return message;
}

bool SessionClient::AwaitGrant() {
  v1::SessionResponse message;
  do {
    message = Read();
  } while (message.has_queued());
  lease = message.granted();
  return message.has_granted();
}

grpc::Status SessionClient::Finish() {
  v1::SessionResponse message;
  while (stream_->Read(&message)) {
  }
  if (!status_) status_ = stream_->Finish();
  return *status_;
}

// --- Sidecar ---

Sidecar::Sidecar(std::string_view more_yaml) : ledger_(directory_.At("ledger.csv")) {
  const absl::StatusOr<LoadedConfig> loaded = ParseConfig(
      SidecarYaml(directory_.path(), absl::StrCat(std::string(more_yaml), "log: {level: warning}\n")), "test.yaml");
  CHECK(loaded.ok(), loaded.status().ToString().c_str());
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(*loaded, {.ledger_path = ledger_, .version = "test"});
  CHECK(server.ok(), server.status().ToString().c_str());
  server_ = *std::move(server);
  const auto connect = [](const std::string& address) {
    return grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  };
  admission_ = v1::AdmissionService::NewStub(connect(unix_address()));
  tcp_ = v1::AdmissionService::NewStub(connect(tcp_address()));
  operations_ = v1::OperatorService::NewStub(connect(operator_address()));
}

Sidecar::~Sidecar() {
  EXPECT_TRUE(Settles(0, 0, 0)) << Status().DebugString();
  const auto idle = Status();
  for (const v1::AccountStatus& account : idle.accounts()) EXPECT_EQ(account.reserved_bytes(), 0) << account.account();
  const absl::Status closed = server_->Shutdown(absl::Seconds(10));
  EXPECT_TRUE(closed.ok()) << closed;
  const absl::StatusOr<AuditReport> audit = AuditLedgerFile(ledger_);
  EXPECT_TRUE(audit.ok()) << audit.status();
  if (!audit.ok()) return;
  EXPECT_TRUE(audit->clean());
  EXPECT_EQ(audit->open_leases, 0);
  for (const std::string& finding : audit->findings) ADD_FAILURE() << finding;
}

v1::GetStatusResponse Sidecar::Status() {
  grpc::ClientContext context;
  context.set_deadline(Deadline(kPatience));
  v1::GetStatusResponse response;
  const grpc::Status status = operations_->GetStatus(&context, {}, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

v1::AccountStatus Sidecar::Account(std::string_view name) {
  const v1::GetStatusResponse status = Status();
  for (const v1::AccountStatus& account : status.accounts()) {
    if (account.account() == name) return account;
  }
  ADD_FAILURE() << "no account " << name;
  return {};
}

bool Sidecar::Settles(int held, int waiting, int lingering) {
  return Eventually([&] {
    const v1::GetStatusResponse status = Status();
    return status.held() == held && status.waiting() == waiting && status.lingering() == lingering;
  });
}

grpc::Status Sidecar::Admit(const v1::AdmitRequest& request, v1::AdmitResponse* response, absl::Duration deadline) {
  grpc::ClientContext context;
  context.set_deadline(Deadline(deadline));
  return admission_->Admit(&context, request, response);
}

v1::ReleaseLeaseResponse Sidecar::Release(const std::string& lease, v1::EndReport::Reason reason) {
  grpc::ClientContext context;
  context.set_deadline(Deadline(kPatience));
  v1::ReleaseLeaseRequest request;
  request.set_name(lease);
  request.mutable_end()->set_reason(reason);
  v1::ReleaseLeaseResponse response;
  const grpc::Status status = admission_->ReleaseLease(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

}  // namespace vramgate
