// OperatorService, and what each listener serves.
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <set>

#include "tests/e2e/sidecar.h"
#include "tests/support/sidecar_yaml.h"

namespace vramgate {
namespace {

v1::ListLeasesResponse List(Sidecar& sidecar, int32_t size, const std::string& token, v1::Lease::State state) {
  grpc::ClientContext context;
  v1::ListLeasesRequest request;
  request.set_page_size(size);
  request.set_page_token(token);
  request.set_state(state);
  v1::ListLeasesResponse response;
  EXPECT_TRUE(sidecar.operations().ListLeases(&context, request, &response).ok());
  return response;
}

TEST(OperatorE2eTest, ListsHoldersAndWaitersPageByPage) {
  Sidecar sidecar;
  std::vector<std::unique_ptr<SessionClient>> holders;
  std::set<std::string> names;
  for (int i = 0; i < 5; ++i) {
    v1::AdmitRequest request = Ask(200);
    request.set_tenant("team");
    holders.push_back(std::make_unique<SessionClient>(sidecar.admission(), request));
    ASSERT_TRUE(holders.back()->AwaitGrant());
    names.insert(holders.back()->lease.name());
  }
  SessionClient waiter(sidecar.admission(), Ask(10));
  ASSERT_TRUE(waiter.AwaitQueued());
  std::set<std::string> listed;
  std::string token;
  int pages = 0;
  do {
    const v1::ListLeasesResponse page = List(sidecar, 2, token, v1::Lease::STATE_UNSPECIFIED);
    EXPECT_LE(page.leases_size(), 2);
    for (const v1::Lease& lease : page.leases()) listed.insert(lease.name());
    token = page.next_page_token();
    ++pages;
  } while (!token.empty() && pages < 100);
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(listed.size(), 6u);
  const v1::ListLeasesResponse held = List(sidecar, 0, "", v1::Lease::HELD);
  ASSERT_EQ(held.leases_size(), 5);
  for (const v1::Lease& lease : held.leases()) EXPECT_TRUE(names.contains(lease.name()));
  EXPECT_EQ(held.leases(0).tenant(), "team");
  EXPECT_EQ(held.leases(0).instance(), "a");
  const v1::ListLeasesResponse waiting = List(sidecar, 0, "", v1::Lease::WAITING);
  ASSERT_EQ(waiting.leases_size(), 1);
  EXPECT_EQ(waiting.leases(0).state(), v1::Lease::WAITING);
}

TEST(OperatorE2eTest, AStrangePageIsInvalidOrEmpty) {
  Sidecar sidecar;
  for (const char* token : {"x", "-1", "1x", "99999999999999999999999"}) {
    grpc::ClientContext context;
    v1::ListLeasesRequest request;
    request.set_page_token(token);
    v1::ListLeasesResponse response;
    EXPECT_EQ(sidecar.operations().ListLeases(&context, request, &response).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT)
        << token;
  }
  EXPECT_EQ(List(sidecar, 1'000'000, "18446744073709551615", v1::Lease::HELD).leases_size(), 0);
  grpc::ClientContext context;
  v1::ListLeasesRequest request;
  request.set_page_size(-1);
  v1::ListLeasesResponse response;
  EXPECT_EQ(sidecar.operations().ListLeases(&context, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(OperatorE2eTest, ARevokedHolderThatDoesNotStopIsCutOff) {
  Sidecar sidecar("leases: {abort_linger: 100ms}\n");
  SessionClient holder(sidecar.admission(), Ask(1000));
  ASSERT_TRUE(holder.AwaitGrant());
  SessionClient waiter(sidecar.admission(), Ask(1000));
  ASSERT_TRUE(waiter.AwaitQueued());
  const auto revoke = [&](const std::string& name) {
    grpc::ClientContext context;
    v1::RevokeLeaseRequest request;
    request.set_name(name);
    v1::RevokeLeaseResponse response;
    return sidecar.operations().RevokeLease(&context, request, &response).error_code();
  };
  EXPECT_EQ(revoke(holder.lease.name()), grpc::StatusCode::OK);
  const grpc::Status cut = holder.Finish();
  EXPECT_EQ(cut.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(ReasonOf(cut), "LEASE_REVOKED");
  EXPECT_TRUE(waiter.AwaitGrant()) << "its bytes came back after the drain time";
  EXPECT_EQ(revoke("leases/00000001000003e8"), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(revoke("nonsense"), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(OperatorE2eTest, ARevokedWaiterIsRefused) {
  Sidecar sidecar;
  SessionClient holder(sidecar.admission(), Ask(1000));
  ASSERT_TRUE(holder.AwaitGrant());
  SessionClient waiter(sidecar.admission(), Ask(1000));
  ASSERT_TRUE(waiter.AwaitQueued());
  grpc::ClientContext context;
  v1::RevokeLeaseRequest request;
  request.set_name(List(sidecar, 0, "", v1::Lease::WAITING).leases(0).name());
  v1::RevokeLeaseResponse response;
  ASSERT_TRUE(sidecar.operations().RevokeLease(&context, request, &response).ok());
  EXPECT_EQ(ReasonOf(waiter.Finish()), "LEASE_REVOKED");
}

TEST(OperatorE2eTest, ADrainRefusesWaitersAndNewcomersAndKeepsHolders) {
  Sidecar sidecar;
  SessionClient holder(sidecar.admission(), Ask(1000));
  ASSERT_TRUE(holder.AwaitGrant());
  SessionClient waiter(sidecar.admission(), Ask(10));
  ASSERT_TRUE(waiter.AwaitQueued());
  grpc::ClientContext context;
  v1::DrainResponse response;
  ASSERT_TRUE(sidecar.operations().Drain(&context, {}, &response).ok());
  EXPECT_EQ(response.held(), 1);
  EXPECT_EQ(response.waiting(), 1);
  const grpc::Status refused = waiter.Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(refused), "DRAINING");
  EXPECT_TRUE(DetailsOf(refused).retry_after.has_value());
  v1::AdmitResponse admit;
  EXPECT_EQ(ReasonOf(sidecar.Admit(Ask(10), &admit)), "DRAINING");
  EXPECT_TRUE(sidecar.Status().draining());
  EXPECT_EQ(sidecar.Status().held(), 1);
}

TEST(OperatorE2eTest, StatusShowsDevicesAndPools) {
  Sidecar sidecar;
  const v1::AccountStatus device = sidecar.Account("device/0");
  EXPECT_EQ(device.total_bytes(), int64_t{11} << 30);
  EXPECT_EQ(device.capacity_bytes(), int64_t{10} << 30) << "less 1 GiB of headroom";
  EXPECT_GT(device.fixed_bytes(), 2 * (int64_t{1000} << 20)) << "two pools, and weights";
  EXPECT_FALSE(device.stale());
  EXPECT_TRUE(device.has_telemetry_age());
  EXPECT_EQ(sidecar.Account("pool/m/a").capacity_bytes(), int64_t{1000} << 20);
  EXPECT_EQ(sidecar.Status().version(), "test");
  EXPECT_EQ(sidecar.Status().bottleneck(), "");
}

TEST(OperatorE2eTest, EachListenerServesItsOwn) {
  Sidecar sidecar;
  struct stat info{};
  ASSERT_EQ(stat((sidecar.directory() / "operator.sock").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  const auto channel = [](const std::string& address) {
    return grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  };
  for (const std::string& address : {sidecar.unix_address(), sidecar.tcp_address()}) {
    grpc::ClientContext context;
    v1::GetStatusResponse response;
    EXPECT_EQ(v1::OperatorService::NewStub(channel(address))->GetStatus(&context, {}, &response).error_code(),
              grpc::StatusCode::UNIMPLEMENTED);
  }
  grpc::ClientContext context;
  v1::AdmitResponse response;
  EXPECT_EQ(v1::AdmissionService::NewStub(channel(sidecar.operator_address()))
                ->Admit(&context, Ask(10), &response)
                .error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

// Calls `method` with the bytes of a request, without its proto; the first answer's bytes.
std::string Call(const std::string& address, const std::string& method, const std::string& request) {
  grpc::GenericStub stub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::CompletionQueue queue;
  const auto next = [&] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  const auto call = stub.PrepareCall(&context, method, &queue);
  void* const tag = &queue;
  call->StartCall(tag);
  bool ok = next();
  const grpc::Slice slice(request);
  call->Write(grpc::ByteBuffer(&slice, 1), tag);
  ok = next() && ok;
  call->WritesDone(tag);
  ok = next() && ok;
  grpc::ByteBuffer answer;
  call->Read(&answer, tag);
  ok = next() && ok;
  grpc::Status status;
  call->Finish(&status, tag);
  (void)next();
  EXPECT_TRUE(ok && status.ok()) << method << ": " << status.error_message();
  std::string bytes;
  std::vector<grpc::Slice> slices;
  (void)answer.Dump(&slices);
  for (const grpc::Slice& part : slices) bytes.append(reinterpret_cast<const char*>(part.begin()), part.size());
  return bytes;
}

// A model whose fixed bytes do not fit beside the others is loaded once there is room, and unloaded once nobody uses
// it.
TEST(OperatorE2eTest, ALoadIsAnAdmissionAndAnUnloadWaitsForItsLeases) {
  Sidecar sidecar(ModelYaml("big", 2000, R"(      - {name: a, devices: ["0"], kv_pool: 8500MiB, loaded: false})"));
  const auto load = [&](v1::LoadModelResponse* response) {
    grpc::ClientContext context;
    v1::LoadModelRequest request;
    request.set_model("big");
    return sidecar.operations().LoadModel(&context, request, response);
  };
  const auto unload = [&](std::string_view model, std::string_view instance, v1::UnloadModelResponse* response) {
    grpc::ClientContext context;
    v1::UnloadModelRequest request;
    request.set_model(std::string(model));
    request.set_instance(std::string(instance));
    return sidecar.operations().UnloadModel(&context, request, response);
  };
  v1::AdmitRequest ask = Ask(10);
  ask.set_model("big");
  v1::AdmitResponse admitted;
  EXPECT_EQ(sidecar.Admit(ask, &admitted).error_code(), grpc::StatusCode::UNAVAILABLE);
  v1::LoadModelResponse loaded;
  const grpc::Status refused = load(&loaded);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_NE(refused.error_message().find("device/0 lacks "), std::string::npos) << refused.error_message();

  SessionClient holder(sidecar.admission(), Ask(100, "", "a"));
  ASSERT_TRUE(holder.AwaitGrant());
  const int64_t before = sidecar.Account("device/0").fixed_bytes();
  v1::UnloadModelResponse unloaded;
  EXPECT_EQ(unload("m", "", &unloaded).error_code(), grpc::StatusCode::INVALID_ARGUMENT) << "it has two";
  EXPECT_EQ(unload("m", "z", &unloaded).error_code(), grpc::StatusCode::NOT_FOUND);
  ASSERT_TRUE(unload("m", "a", &unloaded).ok());
  EXPECT_TRUE(unloaded.draining());
  EXPECT_EQ(unloaded.leases(), 1);
  EXPECT_EQ(sidecar.Account("device/0").fixed_bytes(), before);
  EXPECT_EQ(load(&loaded).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(holder.Release().ok());
  ASSERT_TRUE(Eventually([&] { return load(&loaded).ok(); }));
  EXPECT_GT(loaded.fixed_bytes(), int64_t{8500} << 20);
  ASSERT_TRUE(sidecar.Admit(ask, &admitted).ok());
  EXPECT_EQ(admitted.lease().instance(), "a");
  sidecar.Release(admitted.lease().name());
}

TEST(OperatorE2eTest, HealthAndReflectionAnswer) {
  Sidecar sidecar;
  const std::string kServing = "\x08\x01";
  EXPECT_EQ(Call(sidecar.unix_address(), "/grpc.health.v1.Health/Check", ""), kServing);
  const std::string service = "vramgate.v1.AdmissionService";
  EXPECT_EQ(Call(sidecar.tcp_address(), "/grpc.health.v1.Health/Check",
                 "\x0a" + std::string(1, static_cast<char>(service.size())) + service),
            kServing);
  const std::string list_services(std::string("\x3a\x00", 2));
  const std::string method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
  const std::string callers = Call(sidecar.unix_address(), method, list_services);
  EXPECT_NE(callers.find(service), std::string::npos);
  EXPECT_NE(callers.find("envoy.service.ext_proc.v3.ExternalProcessor"), std::string::npos);
  EXPECT_EQ(callers.find("OperatorService"), std::string::npos);
  EXPECT_NE(Call(sidecar.operator_address(), method, list_services).find("vramgate.v1.OperatorService"),
            std::string::npos);
}

}  // namespace
}  // namespace vramgate
