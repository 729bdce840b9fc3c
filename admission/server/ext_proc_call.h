// One HTTP request on its way through a gateway: the stream that ext_proc_service.h describes. The Session decides what
// becomes of the lease; this translates, and keeps the order of the answers.
//
//   return new ProcessCall(context, *call);   // owns itself: gone with the stream
//
// Used by the ext_proc service. Thread rule: gRPC's; the Session may call from any thread. Lifetime rule: `context`
// outlives the gRPC server.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "admission/gate/controller.h"
#include "admission/mutex.h"
#include "admission/server/convert.h"
#include "admission/server/ext_proc_ends.h"
#include "admission/server/ext_proc_options.h"
#include "admission/server/gateway_reader.h"
#include "admission/server/http_answer.h"
#include "admission/server/refusal.h"
#include "admission/server/session.h"
#include "admission/server/stream_limit.h"
#include "admission/server/unix_door.h"
#include "admission/server/usage_reader.h"
#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"

namespace vramgate {

class ProcessCall;

// The calls that are open. Thread-safe; outlives them.
class ProcessCalls {
 public:
  void Add(ProcessCall* call) ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(ProcessCall* call) ABSL_LOCKS_EXCLUDED(mutex_);
  // Ends all in good order: a gateway lets such requests run on to their ends. Their leases linger.
  void LetGo() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  Mutex mutex_;  // outside of all others
  absl::flat_hash_set<ProcessCall*> open_ ABSL_GUARDED_BY(mutex_);
};

// What the streams of a service share.
struct ProcessContext {
  Controller& controller;
  const Converter& converter;
  StreamLimit& streams;
  const Caller caller;
  const HttpAnswers answers;
  const GatewayReader& reader;
  const ExtProcOptions options;
  ExtProcEnds& ends;
  ProcessCalls& calls;
  const UnixDoor* const entrance;  // null: gRPC's own
};

class ProcessCall final : public grpc::ServerBidiReactor<envoy::service::ext_proc::v3::ProcessingRequest,
                                                         envoy::service::ext_proc::v3::ProcessingResponse>,
                          public SessionStream {
 public:
  ProcessCall(const ProcessContext& context, const grpc::CallbackServerContext& call);

  // ProcessCalls::LetGo, of this one.
  void LetGo() ABSL_LOCKS_EXCLUDED(mutex_);

  // SessionStream, under the Session's lock.
  void Write(const SessionMessage& message) override;
  void Finish(const SessionFinish& finish) override;

  // ServerBidiReactor.
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override { StreamEnded(); }
  void OnDone() override;

 private:
  using HttpBody = envoy::service::ext_proc::v3::HttpBody;
  using HttpHeaders = envoy::service::ext_proc::v3::HttpHeaders;
  using ProcessingRequest = envoy::service::ext_proc::v3::ProcessingRequest;
  using ProcessingResponse = envoy::service::ext_proc::v3::ProcessingResponse;
  enum class Phase : uint8_t {
    kHeaders,  // nothing has come yet
    kBody,     // a generation request, whose body is to come
    kDecide,   // the gate is asked; the gateway waits
    kPassed,   // on its way, admitted or never in need of it; or answered
  };
  struct Outgoing {
    ProcessingResponse message;
    bool of_session = false;
  };

  void OnMessage() ABSL_LOCKS_EXCLUDED(mutex_);
  void OnRequestHeaders(const HttpHeaders& headers) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnRequestBody(const HttpBody& body) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnRequestTrailers() ABSL_LOCKS_EXCLUDED(mutex_);
  void OnResponseHeaders() ABSL_LOCKS_EXCLUDED(mutex_);
  void OnResponseBody(const HttpBody& body) ABSL_LOCKS_EXCLUDED(mutex_);
  void Refuse(Refusal refusal) ABSL_LOCKS_EXCLUDED(mutex_);
  void StreamEnded() ABSL_LOCKS_EXCLUDED(mutex_);
  bool SetPhase(Phase from, Phase to) ABSL_LOCKS_EXCLUDED(mutex_);
  void Reply(ProcessingRequest::RequestCase to) ABSL_LOCKS_EXCLUDED(mutex_);

  void ReplyLocked(ProcessingRequest::RequestCase to, bool of_session) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  template <typename Why>
  void RefuseLocked(const Why& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ProcessContext& context_;
  const grpc::CallbackServerContext& call_;
  const StreamLimit::Ticket ticket_;
  const std::shared_ptr<const PeerSocket> peer_;  // null: not known
  const std::shared_ptr<Session> session_;
  ProcessingRequest request_;  // of the one read under way

  // Taken under the Session's lock, so the Session is never called with it held.
  Mutex mutex_;
  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kHeaders;
  // By the reading thread alone:
  GatewayRequest asked_;
  int32_t sequences_ = 1;               // asked for
  std::unique_ptr<UsageReader> usage_;  // of a response whose body comes by
  bool learned_ = false;                // what its prompt came to

  int64_t prompt_tokens_ ABSL_GUARDED_BY(mutex_) = 0;  // as charged
  PromptSource prompt_source_ ABSL_GUARDED_BY(mutex_) = PromptSource::kNone;
  bool speaks_grpc_ ABSL_GUARDED_BY(mutex_) = false;
  ExtProcEnd fate_ ABSL_GUARDED_BY(mutex_) = ExtProcEnd::kPassed;  // what an end now would be
  int64_t output_tokens_ ABSL_GUARDED_BY(mutex_) =
      -1;                                           // of each sequence, as the response's usage says; -1: it has not
  bool read_held_ ABSL_GUARDED_BY(mutex_) = false;  // too much is owed to read on
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<Outgoing> out_ ABSL_GUARDED_BY(mutex_);  // the first may be under way
  std::vector<ProcessingRequest::RequestCase> after_decision_
      ABSL_GUARDED_BY(mutex_);  // replies that must not overtake it
  std::optional<grpc::Status> end_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vramgate
