#include "admission/server/http_connection.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/string.hpp>
#include <utility>

#include "admission/check.h"

namespace vramgate {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

constexpr size_t kMostUnreadBytes = 64 * 1024;  // taken from a client that is being refused, so that it sees why
constexpr size_t kReadBytes = 4096;
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

std::string Text(boost::beast::string_view s) {
  return {s.data(), s.size()};
}

HttpRequest Taken(http::request<http::string_body> message) {
  HttpRequest request{.method = Text(message.method_string()), .target = Text(message.target())};
  for (const auto& field : message) request.headers.emplace_back(Text(field.name_string()), Text(field.value()));
  request.has_length = message.has_content_length() || message.chunked();
  request.body = std::move(message.body());
  return request;
}

}  // namespace

void HttpMailbox::Post(std::function<void()> work) {
  MutexLock lock(mutex);
  if (io != nullptr) asio::post(*io, std::move(work));
}

std::optional<std::string_view> HttpRequest::Header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (boost::beast::iequals({key.data(), key.size()}, {name.data(), name.size()})) return value;
  }
  return std::nullopt;
}

HttpExchange::HttpExchange(std::shared_ptr<HttpMailbox> mailbox, std::weak_ptr<HttpConnection> connection)
    : mailbox_(std::move(mailbox)), connection_(std::move(connection)) {}

void HttpExchange::Answer(HttpReply reply) {
  if (answered_.exchange(true)) return;
  mailbox_->Post([connection = connection_, reply = std::move(reply)]() mutable {
    if (const std::shared_ptr<HttpConnection> live = connection.lock()) live->Answered(std::move(reply));
  });
}

HttpConnection::HttpConnection(Socket socket, Owner& owner)
    : socket_(std::move(socket)),
      owner_(owner),
      timer_(socket_.get_executor()),
      list_(&owner.open),
      place_(owner.open.insert(owner.open.end(), this)),
      buffer_(owner.options.most_header_bytes + 1) {}

HttpConnection::~HttpConnection() {
  if (list_ != nullptr) list_->erase(place_);
}

void HttpConnection::MoveTo(List& list) {
  list.splice(list.end(), *list_, place_);
  list_ = &list;
}

void HttpConnection::Start() {
  AwaitRequest();
}

void HttpConnection::TurnAway() {
  Refuse(HttpFault::kCrowded);
}

void HttpConnection::Close() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  list_->erase(std::exchange(place_, {}));
  list_ = nullptr;
  timer_.cancel();
  Error ignored;
  socket_.close(ignored);
  Over(true);
  if (owner_.when_empty && owner_.open.empty() && owner_.answering.empty()) owner_.when_empty();
}

void HttpConnection::CloseWhenDone() {
  if (state_ == State::kWriting || state_ == State::kClosing || reply_) return;
  Close();
}

// --- Asking ---

void HttpConnection::AwaitRequest() {
  if (owner_.closing) return Close();
  state_ = State::kIdle;
  MoveTo(owner_.open);
  if (buffer_.size() > 0) return ReadHeaders();
  Arm(owner_.options.idle_timeout);
  socket_.async_wait(Socket::wait_read, [self = shared_from_this()](const Error& error) {
    if (self->state_ != State::kIdle) return;
    if (error) return self->Close();
    self->ReadHeaders();
  });
}

void HttpConnection::ReadHeaders() {
  state_ = State::kReading;
  timed_out_ = false;
  Arm(owner_.options.read_timeout);
  parser_.emplace();
  parser_->header_limit(owner_.options.most_header_bytes);
  parser_->body_limit(owner_.options.most_body_bytes);
  http::async_read_header(socket_, buffer_, *parser_,
                          [self = shared_from_this()](const Error& error, size_t) { self->OnHeaders(error); });
}

void HttpConnection::OnHeaders(const Error& error) {
  if (state_ != State::kReading) return;
  if (error) return Unreadable(error);
  const auto& request = parser_->get();
  version_ = request.version();
  if (version_ >= 11 && request.count(http::field::host) != 1) return Refuse(HttpFault::kHost);
  const auto read_body = [self = shared_from_this()] {
    if (self->parser_->is_done()) return self->OnBody({});
    http::async_read(self->socket_, self->buffer_, *self->parser_,
                     [self](const Error& failed, size_t) { self->OnBody(failed); });
  };
  const auto expect = request.find(http::field::expect);
  if (expect == request.end() || version_ < 11) return read_body();
  if (!boost::beast::iequals(expect->value(), "100-continue")) return Refuse(HttpFault::kExpectation);
  asio::async_write(socket_, asio::buffer(kContinue.data(), kContinue.size()),
                    [self = shared_from_this(), read_body](const Error& failed, size_t) {
                      if (self->state_ != State::kReading) return;
                      if (failed) return self->Unreadable(failed);
                      read_body();
                    });
}

void HttpConnection::OnBody(const Error& error) {
  if (state_ != State::kReading) return;
  if (error) return Unreadable(error);
  HandOver();
}

// What came is no request, or did not come in time; or the client has left.
void HttpConnection::Unreadable(const Error& error) {
  if (timed_out_) return Refuse(HttpFault::kSlow);
  if (error == http::error::header_limit || error == http::error::buffer_overflow) return Refuse(HttpFault::kHeaders);
  if (error == http::error::body_limit) return Refuse(HttpFault::kBody);
  if (error == http::error::end_of_stream || error == http::error::partial_message) return Close();
  // Only what the parser says gets an answer.
  if (error.category() != make_error_code(http::error::bad_method).category()) return Close();
  Refuse(HttpFault::kMalformed);
}

// --- Being answered ---

void HttpConnection::HandOver() {
  state_ = State::kAnswering;
  timer_.cancel();
  MoveTo(owner_.answering);
  keep_alive_ = parser_->keep_alive();
  head_ = parser_->get().method() == http::verb::head;
  exchange_ = std::make_shared<HttpExchange>(owner_.mailbox, weak_from_this());
  const std::shared_ptr<HttpExchange> exchange = exchange_;
  owner_.options.handle(Taken(parser_->release()), exchange);
  Watch();
}

void HttpConnection::Watch() {
  const size_t room = std::min(kReadBytes, buffer_.max_size() - buffer_.size());
  if (room == 0) return Close();  // so much ahead of an answer is no client that waits for it
  watching_ = true;
  socket_.async_read_some(buffer_.prepare(room), [self = shared_from_this()](const Error& error, size_t bytes) {
    self->OnWatched(error, bytes);
  });
}

void HttpConnection::OnWatched(const Error& error, size_t bytes) {
  watching_ = false;
  if (state_ != State::kAnswering) return;
  buffer_.commit(bytes);
  if (error && error != asio::error::operation_aborted) return Close();
  if (reply_) return Write(*std::exchange(reply_, std::nullopt));
  Watch();
}

void HttpConnection::Answered(HttpReply reply) {
  if (state_ != State::kAnswering) return;
  if (!watching_) return Write(std::move(reply));
  reply_ = std::move(reply);
  Error ignored;
  socket_.cancel(ignored);  // the watch: nothing else is under way
}

void HttpConnection::Over(bool gone) {
  const std::shared_ptr<HttpExchange> exchange = std::exchange(exchange_, nullptr);
  if (exchange == nullptr) return;
  if (const std::function<void(bool)> over = std::exchange(exchange->over_, nullptr)) over(gone);
}

void HttpConnection::Refuse(HttpFault fault) {
  keep_alive_ = false;
  head_ = false;
  std::optional<HttpReply> reply = owner_.options.refuse(fault);
  if (!reply) return Close();
  Write(*std::move(reply));
}

void HttpConnection::Write(HttpReply reply) {
  state_ = State::kWriting;
  MoveTo(owner_.open);
  Over(false);
  response_ = {};
  response_.version(version_);
  response_.result(static_cast<unsigned>(reply.status));
  response_.set(http::field::server, "vramgate");
  response_.set(http::field::content_type, reply.content_type);
  response_.set(http::field::cache_control, "no-store");
  response_.set("X-Content-Type-Options", "nosniff");
  for (const auto& [name, value] : reply.headers) response_.set(name, value);
  if (owner_.closing) keep_alive_ = false;
  response_.keep_alive(keep_alive_);
  response_.content_length(reply.body.size());
  if (!head_) response_.body() = std::move(reply.body);
  Arm(owner_.options.read_timeout);
  http::async_write(socket_, response_, [self = shared_from_this()](const Error& error, size_t) {
    if (self->state_ != State::kWriting) return;
    if (error) return self->Close();
    if (self->keep_alive_) return self->AwaitRequest();
    self->Finish();
  });
}

// Closing with bytes unread would reset the connection and could take the answer with it.
void HttpConnection::Finish() {
  state_ = State::kClosing;
  Error ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
  Arm(owner_.options.read_timeout);
  Discard();
}

void HttpConnection::Discard() {
  socket_.async_read_some(asio::buffer(discarded_), [self = shared_from_this()](const Error& error, size_t bytes) {
    if (self->state_ != State::kClosing) return;
    self->discarded_bytes_ += bytes;
    if (error || self->discarded_bytes_ >= kMostUnreadBytes) return self->Close();
    self->Discard();
  });
}

// --- Time ---

void HttpConnection::Arm(absl::Duration within) {
  timer_.expires_after(absl::ToChronoNanoseconds(within));
  timer_.async_wait([self = weak_from_this()](const Error& error) {
    const std::shared_ptr<HttpConnection> live = self.lock();
    if (error || live == nullptr || live->timer_.expiry() > asio::steady_timer::clock_type::now()) return;
    live->OnTime();
  });
}

void HttpConnection::OnTime() {
  switch (state_) {
    case State::kReading: {
      timed_out_ = true;
      Error ignored;
      socket_.cancel(ignored);
      return;
    }
    case State::kIdle:
    case State::kWriting:
    case State::kClosing:
      return Close();
    case State::kAnswering:
    case State::kClosed:
      return;
  }
}

}  // namespace vramgate
