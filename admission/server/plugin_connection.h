// One plugin's connection: frames in, the streams they belong to, frames out (proto/vramgate/v1/plugin.proto). A stream
// is a Session, as `rpc Session` has it, or a series of step reports; what they mean is decided there.
//
//   auto connection = std::make_shared<PluginConnection>(context, std::move(socket), id);
//   connection->Start();                       // lives as long as its socket, and then calls context.closed
//
// A peer may send as fast as it reads: while it does not read its answers nothing more is read from it, and after
// kStalledFor it is cut off. Sessions never wait for it.
//
// Thread rule: everything on the thread of the socket's io_context, but a Session's Write and Finish, which only append
// to what is to be sent. Lifetime rule: what the context refers to outlives it; kept alive by its pending operations.
#pragma once

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "admission/frame_reader.h"
#include "admission/gate/controller.h"
#include "admission/mutex.h"
#include "admission/server/convert.h"
#include "admission/server/stream_limit.h"
#include "vramgate/v1/plugin.pb.h"

namespace vramgate {

// What the connections of a socket share.
struct PluginContext {
  Controller& controller;
  const Converter& converter;
  StreamLimit& streams;
  const Caller caller;
  const size_t most_frame_bytes;
  // A connection is over. Called on its thread, last.
  std::function<void(uint64_t id, const std::string& why, int64_t held)> closed;
};

class PluginConnection : public std::enable_shared_from_this<PluginConnection> {
 public:
  using Socket = boost::asio::local::stream_protocol::socket;
  static constexpr std::chrono::seconds kStalledFor{10};

  // `id`: never used twice by this process, never 0.
  PluginConnection(const PluginContext& context, Socket socket, uint64_t id);
  ~PluginConnection();

  void Start();
  // Ends what is left as the death of the peer does. Idempotent.
  void Close(const std::string& why) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Stream;
  class LeaseStream;
  class StepStream;
  using Fill = absl::FunctionRef<void(v1::PluginResponse*)>;
  struct Sent {
    LeaseStream* stream = nullptr;
    bool last = false;
  };

  void Read();
  void OnReadable();
  void Turn();
  bool TakeFrames();
  void OnFrame(std::string_view frame);
  void Open(const v1::PluginRequest& request);
  void OnLoad(uint64_t number, const v1::LoadModelRequest& request);
  void OnUnload(uint64_t number, const v1::UnloadModelRequest& request);
  void Break(const std::string& why);

  // Appends a message of `of`, whose Session hears when it is gone. Any thread.
  void Say(const Sent& of, Fill fill) ABSL_LOCKS_EXCLUDED(mutex_);
  void Say(Fill fill) ABSL_LOCKS_EXCLUDED(mutex_) { Say({}, fill); }
  void SayStatus(uint64_t stream, const grpc::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  void AppendLocked(Fill fill) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  size_t BacklogBytes() ABSL_LOCKS_EXCLUDED(mutex_);
  void Flush() ABSL_LOCKS_EXCLUDED(mutex_);
  bool NextBatch() ABSL_LOCKS_EXCLUDED(mutex_);
  bool SendSome();
  void Gone(std::vector<Sent> sent);
  void AwaitWritable();

  const PluginContext& context_;
  const uint64_t id_;
  Socket socket_;
  boost::asio::steady_timer stalled_;
  FrameReader frames_;
  v1::PluginRequest request_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Stream>> streams_;
  std::string sending_;
  size_t sent_bytes_ = 0;   // of sending_
  std::vector<Sent> sent_;  // whose messages are in sending_
  bool reading_ = false;    // waits for bytes
  bool blocked_ = false;    // waits until the peer has read
  bool reports_ = false;    // steps came
  bool closed_ = false;

  // Taken under a Session's lock: no Session is called with it held.
  Mutex mutex_;
  std::string out_ ABSL_GUARDED_BY(mutex_);
  std::vector<Sent> out_of_ ABSL_GUARDED_BY(mutex_);  // whose messages are in out_
  v1::PluginResponse response_ ABSL_GUARDED_BY(mutex_);
  bool flush_due_ ABSL_GUARDED_BY(mutex_) = false;  // a Flush will come, or is under way
  bool deaf_ ABSL_GUARDED_BY(mutex_) = false;       // closed: nothing is appended any more
};

}  // namespace vramgate
