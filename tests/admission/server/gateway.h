// An ext_proc service on a Unix socket, in front of a gate whose clock stands still, and the raw streams of a gateway.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "admission/check.h"
#include "admission/gate/controller.h"
#include "admission/mutex.h"
#include "admission/server/config.h"
#include "admission/server/ext_proc_service.h"
#include "admission/server/model_table.h"
#include "admission/server/unix_door.h"
#include "admission/units.h"
#include "tests/support/sidecar_yaml.h"
#include "tests/support/temporary_directory.h"

namespace vramgate {

namespace ext_proc = envoy::service::ext_proc::v3;
using ext_proc::ProcessingRequest;
using ext_proc::ProcessingResponse;

// One device and one model `m`, whose only instance has room for 1000 tokens.
inline std::string OneModel() {
  return absl::StrCat(DevicesYaml(1), "models:\n",
                      ModelYaml("m", 1000, R"(      - {name: a, devices: ["0"], kv_pool: 1000MiB})"),
                      "queue: {max_requests: 2, max_wait: 30s}\n");
}

// Lets a test wait until the gate has said something.
class Witness final : public Recorder {
 public:
  void OnAccount(AccountId, const std::string&) override {}
  void OnRow(const LedgerRow& row) override {
    MutexLock lock(mutex_);
    events_.push_back(row.event);
    changed_.notify_all();
  }
  void OnDecision(const Decision& decision, Instant) override {
    MutexLock lock(mutex_);
    outcomes_.push_back(decision.outcome);
    changed_.notify_all();
  }
  // Until it has been seen `times` in all.
  void Await(Outcome outcome, int times = 1) {
    MutexLock lock(mutex_);
    while (std::count(outcomes_.begin(), outcomes_.end(), outcome) < times) changed_.wait(mutex_);
  }
  void Await(LedgerEvent event) {
    MutexLock lock(mutex_);
    while (std::count(events_.begin(), events_.end(), event) == 0) changed_.wait(mutex_);
  }
  bool Seen(LedgerEvent event) const {
    MutexLock lock(mutex_);
    return std::count(events_.begin(), events_.end(), event) > 0;
  }

 private:
  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<LedgerEvent> events_ ABSL_GUARDED_BY(mutex_);
  std::vector<Outcome> outcomes_ ABSL_GUARDED_BY(mutex_);
};

using Headers = std::map<std::string, std::string>;

inline ProcessingRequest RequestHeaders(const Headers& headers, bool end_of_stream = false) {
  ProcessingRequest message;
  for (const auto& [key, value] : headers) {
    auto* header = message.mutable_request_headers()->mutable_headers()->add_headers();
    header->set_key(key);
    header->set_raw_value(value);
  }
  message.mutable_request_headers()->set_end_of_stream(end_of_stream);
  return message;
}
inline Headers ChatHeaders() {
  return {{":method", "POST"}, {":path", "/v1/chat/completions"}, {"content-type", "application/json"}};
}
inline ProcessingRequest RequestBody(std::string_view body, bool end_of_stream = true) {
  ProcessingRequest message;
  message.mutable_request_body()->set_body(std::string(body));
  message.mutable_request_body()->set_end_of_stream(end_of_stream);
  return message;
}
inline ProcessingRequest RequestTrailers() {
  ProcessingRequest message;
  message.mutable_request_trailers();
  return message;
}
inline ProcessingRequest ResponseBody(std::string_view body, bool end_of_stream = false) {
  ProcessingRequest message;
  message.mutable_response_body()->set_body(std::string(body));
  message.mutable_response_body()->set_end_of_stream(end_of_stream);
  return message;
}
inline ProcessingRequest ResponseTrailers() {
  ProcessingRequest message;
  message.mutable_response_trailers();
  return message;
}
inline ProcessingRequest ResponseHeaders() {
  ProcessingRequest message;
  message.mutable_response_headers();
  return message;
}
// Takes the whole instance.
inline constexpr char kLarge[] =
    R"({"model": "m", "max_tokens": 10000, "messages": [{"role": "user", "content": "hi"}]})";

class Gateway {
 public:
  explicit Gateway(std::string_view yaml = OneModel()) {
    absl::StatusOr<LoadedConfig> loaded = ParseConfig(yaml, "test.yaml");
    CHECK(loaded.ok(), loaded.status().ToString().c_str());
    loaded_ = *std::move(loaded);
    absl::StatusOr<ModelTable> models = ModelTable::Load(loaded_);
    CHECK(models.ok(), models.status().ToString().c_str());
    models_ = std::make_unique<ModelTable>(*std::move(models));
    controller_ = std::make_unique<Controller>(MakeGateConfig(loaded_.config, *models_, {9 * kGiB}), clock, &witness);
    converter_ = std::make_unique<Converter>(*models_, *controller_, loaded_.config);
    streams_ = std::make_unique<StreamLimit>(loaded_.config.limits().streams());
    absl::StatusOr<std::unique_ptr<UnixDoor>> door = UnixDoor::Listen(directory_.At("gate.sock"), 0600);
    CHECK(door.ok(), door.status().ToString().c_str());
    door_ = *std::move(door);
    service_ = std::make_unique<ExtProcServiceImpl>(*controller_, *converter_, *streams_,
                                                    Caller{.id = 1, .trusted_headers = true}, loaded_.config, ends,
                                                    door_.get());
    grpc::ServerBuilder builder;
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    door_->Serve(*server_);
    stub_ = ext_proc::ExternalProcessor::NewStub(grpc::CreateChannel(address(), grpc::InsecureChannelCredentials()));
  }
  // All streams over: the budget is as it began.
  ~Gateway() {
    door_->Stop();
    server_->Shutdown();
    EXPECT_EQ(ends.open(), 0);
    clock.Advance(absl::Hours(1));  // whatever lingers
    controller_->Advance();
    for (const Snapshot::AccountView& view : controller_->GetSnapshot().accounts) {
      EXPECT_EQ(view.account.reserved_bytes, 0) << view.account.name;
    }
  }

  Controller& controller() { return *controller_; }
  ext_proc::ExternalProcessor::Stub& stub() { return *stub_; }

  // As the death of the gateway would: whatever connections there are to the socket break off.
  void BreakConnections() const {
    for (int fd = 3; fd < 1024; ++fd) {
      sockaddr_un peer{};
      socklen_t size = sizeof(peer);
      const bool ours = getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0 && peer.sun_family == AF_UNIX &&
                        directory_.At("gate.sock") == peer.sun_path;
      if (ours) shutdown(fd, SHUT_RDWR);
    }
  }
  std::string address() const { return "unix:" + directory_.At("gate.sock"); }
  const Converter& converter() const { return *converter_; }
  ExtProcServiceImpl& service() { return *service_; }

  FakeClock clock;
  Witness witness;
  ExtProcEnds ends;

 private:
  LoadedConfig loaded_;
  std::unique_ptr<ModelTable> models_;
  std::unique_ptr<Controller> controller_;
  std::unique_ptr<Converter> converter_;
  std::unique_ptr<StreamLimit> streams_;
  TemporaryDirectory directory_;
  std::unique_ptr<UnixDoor> door_;
  std::unique_ptr<ExtProcServiceImpl> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<ext_proc::ExternalProcessor::Stub> stub_;
};

// One HTTP request's stream, as Envoy opens it.
class Stream {
 public:
  explicit Stream(Gateway& gateway) : stream_(gateway.stub().Process(&context_)) {}
  ~Stream() {
    if (!ended_) (void)(Cancel(), End());
  }
  void Send(const ProcessingRequest& message) { EXPECT_TRUE(stream_->Write(message)); }
  // The next answer; an empty one where the stream is over.
  ProcessingResponse Read() {
    ProcessingResponse message;
    if (!stream_->Read(&message)) message.Clear();
    return message;
  }
  ProcessingResponse Ask(const ProcessingRequest& message) {
    Send(message);
    return Read();
  }
  // A chat up to its decision.
  ProcessingResponse Chat(std::string_view body, const Headers& headers = ChatHeaders()) {
    EXPECT_TRUE(Ask(RequestHeaders(headers)).has_request_headers());
    return Ask(RequestBody(body));
  }
  void Cancel() { context_.TryCancel(); }
  void HalfClose() { stream_->WritesDone(); }
  // Reads to the end.
  grpc::Status End() {
    ProcessingResponse message;
    while (stream_->Read(&message)) {
    }
    ended_ = true;
    return stream_->Finish();
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<ProcessingRequest, ProcessingResponse>> stream_;
  bool ended_ = false;
};

}  // namespace vramgate
