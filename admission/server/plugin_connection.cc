#include "admission/server/plugin_connection.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "admission/check.h"
#include "admission/server/model_loads.h"
#include "admission/server/plugin_streams.h"

namespace vramgate {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

// With so much to send, nothing more is taken from the peer until it is gone.
constexpr size_t kPauseBytes = size_t{1} << 20;
// Of an empty buffer: what a burst has made larger is given back.
constexpr size_t kKeptBytes = size_t{1} << 20;

}  // namespace

PluginConnection::PluginConnection(const PluginContext& context, Socket socket, uint64_t id)
    : context_(context),
      id_(id),
      socket_(std::move(socket)),
      stalled_(socket_.get_executor()),
      frames_(context.most_frame_bytes) {}

PluginConnection::~PluginConnection() {
  CHECK(streams_.empty(), "PluginConnection: gone without a Close");
}

void PluginConnection::Start() {
  error_code error;
  socket_.non_blocking(true, error);
  if (error) return Close(error.message());
  Read();
}

// --- In ---

void PluginConnection::Read() {
  reading_ = true;
  socket_.async_wait(Socket::wait_read, [self = shared_from_this()](const error_code& error) {
    self->reading_ = false;
    if (self->closed_) return;
    if (error) return self->Close(error.message());
    self->OnReadable();
  });
}

void PluginConnection::OnReadable() {
  if (blocked_) return;  // goes on when the peer has read
  const std::span<char> room = frames_.Room();
  error_code error;
  const size_t bytes = socket_.read_some(asio::buffer(room.data(), room.size()), error);
  if (error == asio::error::would_block) return Read();
  if (error == asio::error::eof) {
    return Close(frames_.pending_bytes() == 0 ? "closed by the peer" : "closed by the peer, in the middle of a frame");
  }
  if (error) return Close(error.message());
  frames_.Filled(bytes);
  Turn();
}

// Takes what has come, and sends what is answered, in turns that keep what waits to be sent small.
void PluginConnection::Turn() {
  bool more = true;
  while (more) {
    {
      MutexLock lock(mutex_);
      flush_due_ = true;  // one at the end of the turn is enough for all that it brings about
    }
    more = TakeFrames();
    if (closed_) return;
    Flush();
    if (closed_ || blocked_) return;
  }
  Read();
}

// True: there may be more that has come.
bool PluginConnection::TakeFrames() {
  std::string_view frame;
  while (BacklogBytes() < kPauseBytes) {
    switch (frames_.Next(&frame)) {
      case FrameReader::Result::kMore:
        return false;
      case FrameReader::Result::kTooLong:
        Break(absl::StrCat("a frame of ", frames_.bad_length(), " bytes: 1 to ", context_.most_frame_bytes,
                           " are allowed (limits.message_bytes)"));
        return false;
      case FrameReader::Result::kFrame:
        OnFrame(frame);
        if (closed_) return false;
        break;
    }
  }
  return true;
}

void PluginConnection::OnFrame(std::string_view frame) {
  if (!request_.ParseFromArray(frame.data(), static_cast<int>(frame.size())))
    return Break("a frame that is no PluginRequest");
  if (request_.stream() == 0) return Break("a frame without a stream number: give each stream one, from 1");
  const auto found = streams_.find(request_.stream());
  if (found == streams_.end()) {
    Open(request_);
  } else if (found->second->OnRequest(request_)) {
    streams_.erase(request_.stream());
  }
  if (frame.size() > kKeptBytes) v1::PluginRequest().Swap(&request_);
}

// The first message of a stream, or a late one of a stream that has ended: then nothing happens.
void PluginConnection::Open(const v1::PluginRequest& request) {
  const uint64_t number = request.stream();
  std::unique_ptr<Stream> stream;
  switch (request.msg_case()) {
    case v1::PluginRequest::kSession:
      if (!request.session().has_admit()) return;
      stream = std::make_unique<LeaseStream>(*this, number);
      break;
    case v1::PluginRequest::kCancel:
      return;
    case v1::PluginRequest::kSteps:
      reports_ = true;
      stream = std::make_unique<StepStream>(*this, number);
      break;
    case v1::PluginRequest::kLoadModel:
      return OnLoad(number, request.load_model());
    case v1::PluginRequest::kUnloadModel:
      return OnUnload(number, request.unload_model());
    case v1::PluginRequest::MSG_NOT_SET:
      return SayStatus(number, context_.converter.ToStatus(Refusal{Outcome::kRejectedInvalidRequest, "msg",
                                                                   "an empty message, or one of a later version"}));
  }
  Stream& opened = *streams_.emplace(number, std::move(stream)).first->second;
  if (opened.OnRequest(request)) streams_.erase(number);
}

// Either is answered by one message: the response, or an error.
void PluginConnection::OnLoad(uint64_t number, const v1::LoadModelRequest& request) {
  v1::LoadModelResponse answer;
  const grpc::Status status = LoadModel(context_.controller, context_.converter, request, &answer);
  if (!status.ok()) return SayStatus(number, status);
  Say([&](v1::PluginResponse* response) {
    response->set_stream(number);
    response->mutable_load_model()->Swap(&answer);
  });
}

void PluginConnection::OnUnload(uint64_t number, const v1::UnloadModelRequest& request) {
  v1::UnloadModelResponse answer;
  const grpc::Status status = UnloadModel(context_.controller, context_.converter, request, &answer);
  if (!status.ok()) return SayStatus(number, status);
  Say([&](v1::PluginResponse* response) {
    response->set_stream(number);
    response->mutable_unload_model()->Swap(&answer);
  });
}

// The peer cannot be understood any more: it is told why, and the connection ends.
void PluginConnection::Break(const std::string& why) {
  SayStatus(0, context_.converter.ToStatus(Refusal{Outcome::kRejectedInvalidRequest, "frame", why}));
  Flush();
  Close(why);
}

void PluginConnection::Close(const std::string& why) {
  if (std::exchange(closed_, true)) return;
  const std::shared_ptr<PluginConnection> self = shared_from_this();
  {
    MutexLock lock(mutex_);
    deaf_ = true;
    out_of_.clear();
  }
  sent_.clear();
  // Its waiters first: what its holders leave behind must not be granted to them.
  std::vector<Stream*> holders;
  for (const auto& [number, stream] : streams_) {
    if (stream->holds()) {
      holders.push_back(stream.get());
    } else {
      stream->OnDeath();
    }
  }
  for (Stream* holder : holders) holder->OnDeath();
  streams_.clear();
  if (reports_) context_.controller.ReporterLost(id_);
  error_code ignored;
  stalled_.cancel(ignored);
  socket_.close(ignored);
  context_.closed(id_, why, static_cast<int64_t>(holders.size()));
}

// --- Out ---

void PluginConnection::AppendLocked(Fill fill) {
  response_.Clear();
  fill(&response_);
  const size_t bytes = response_.ByteSizeLong();
  AppendFrameHead(bytes, &out_);
  response_.AppendToString(&out_);
}

void PluginConnection::Say(const Sent& of, Fill fill) {
  bool wake = false;
  {
    MutexLock lock(mutex_);
    if (deaf_) return;
    AppendLocked(fill);
    if (of.stream != nullptr) out_of_.push_back(of);
    wake = !std::exchange(flush_due_, true);
  }
  if (wake) asio::post(socket_.get_executor(), [self = shared_from_this()] { self->Flush(); });
}

void PluginConnection::SayStatus(uint64_t stream, const grpc::Status& status) {
  Say([&](v1::PluginResponse* out) {
    out->set_stream(stream);
    ToProto(status, out->mutable_status());
  });
}

size_t PluginConnection::BacklogBytes() {
  MutexLock lock(mutex_);
  return out_.size() + sending_.size() - sent_bytes_;
}

// Sends until nothing is left, or the peer does not take it.
void PluginConnection::Flush() {
  if (closed_ || blocked_) return;
  do {
    if (!SendSome()) return;
    Gone(std::exchange(sent_, {}));
  } while (NextBatch());
}

// False: there is nothing to send.
bool PluginConnection::NextBatch() {
  sending_.clear();
  if (sending_.capacity() > kKeptBytes) sending_.shrink_to_fit();
  sent_bytes_ = 0;
  MutexLock lock(mutex_);
  flush_due_ = !out_.empty();
  sending_.swap(out_);
  sent_.swap(out_of_);
  return flush_due_;
}

// False: closed, or blocked.
bool PluginConnection::SendSome() {
  while (sent_bytes_ < sending_.size()) {
    error_code error;
    sent_bytes_ +=
        socket_.write_some(asio::buffer(sending_.data() + sent_bytes_, sending_.size() - sent_bytes_), error);
    if (error == asio::error::would_block) {
      AwaitWritable();
      return false;
    }
    if (error) {
      Close(error.message());
      return false;
    }
  }
  return true;
}

// These messages are on their way: their Sessions may say more.
void PluginConnection::Gone(std::vector<Sent> sent) {
  for (const Sent& of : sent) {
    if (!of.last) {
      of.stream->OnGone();
      continue;
    }
    of.stream->OnLastGone();
    streams_.erase(of.stream->number());
  }
}

void PluginConnection::AwaitWritable() {
  blocked_ = true;
  stalled_.expires_after(kStalledFor);
  stalled_.async_wait([self = shared_from_this()](const error_code& error) {
    if (!error) self->Close("does not read what it is sent");
  });
  socket_.async_wait(Socket::wait_write, [self = shared_from_this()](const error_code& error) {
    self->blocked_ = false;
    if (self->closed_) return;
    self->stalled_.cancel();
    if (error) return self->Close(error.message());
    self->Flush();
    if (!self->closed_ && !self->blocked_ && !self->reading_) self->Turn();
  });
}

}  // namespace vramgate
