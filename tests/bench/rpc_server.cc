#include "tests/bench/rpc_server.h"

#include <unistd.h>

#include <iostream>
#include <memory>

#include "absl/strings/str_replace.h"
#include "admission/server/server.h"
#include "null.grpc.pb.h"

namespace vramgate {
namespace {

// Answers what a grant looks like, so that both sides carry the same bytes.
class NullServiceImpl final : public bench::NullService::CallbackService {
 public:
  NullServiceImpl() {
    v1::Lease* lease = canned_.mutable_lease();
    lease->set_name("leases/0000000100000001");
    lease->set_state(v1::Lease::HELD);
    lease->set_instance("a");
    lease->set_model("m");
    lease->set_tenant("team-a");
    lease->set_assurance("worst_case");
    v1::DeviceCharge* charge = lease->add_charges();
    charge->set_device("0");
    charge->set_vram_bytes(197132288);
    lease->mutable_grant_time()->set_seconds(1'700'000'000);
    lease->mutable_grant_time()->set_nanos(123'456'789);
    lease->mutable_expire_time()->set_seconds(1'700'000'010);
    lease->mutable_expire_time()->set_nanos(123'456'789);
    lease->mutable_renew_interval()->set_seconds(3);
    lease->mutable_renew_interval()->set_nanos(333'333'333);
    canned_.mutable_queued_for();
  }
  grpc::ServerUnaryReactor* Null(grpc::CallbackServerContext* context, const v1::AdmitRequest*,
                                 v1::AdmitResponse* response) override {
    *response = canned_;
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  v1::AdmitResponse canned_;
};

constexpr const char* kConfig = R"(
listeners: {grpc: ["unix:DIR/gate.sock"], operator: "unix:DIR/operator.sock", admin: "127.0.0.1:0"}
devices:
  - {id: "0", simulated: {total: 512TiB}}
  - {id: "1", simulated: {total: 80GiB}}
models:
  - name: m
    shape: {parameters: 8030261248, layers: 32, heads: 32, kv_heads: 8, hidden: 4096}
    max_model_len: 8192
    instances: [{name: a, devices: ["0"], pool: dynamic}]
  - name: other
    shape: {parameters: 8030261248, layers: 32, heads: 32, kv_heads: 8, hidden: 4096}
    max_model_len: 8192
    instances: [{name: b, devices: ["1"], pool: preallocated, kv_pool: 1GiB}]
queue: {max_requests: 2000, max_wait: 24h}
leases: {ttl: 24h, confirm_within: 24h, max: 200000}
log: {level: error, grants: none}
)";

}  // namespace

int ServeForBench(const std::string& dir) {
  const absl::StatusOr<LoadedConfig> loaded = ParseConfig(absl::StrReplaceAll(kConfig, {{"DIR", dir}}), "bench");
  if (!loaded.ok()) {
    std::cerr << loaded.status() << "\n";
    return 1;
  }
  NullServiceImpl null;
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(*loaded, {.extra_services = {&null}});
  if (!server.ok()) {
    std::cerr << server.status() << "\n";
    return 1;
  }
  std::cout << (*server)->ReadyLine() << std::endl;
  char byte = 0;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  return (*server)->Shutdown(absl::ZeroDuration()).ok() ? 0 : 1;
}

}  // namespace vramgate
