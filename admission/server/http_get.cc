#include "admission/server/http_get.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "boost/asio/ip/tcp.hpp"
#include "boost/asio/steady_timer.hpp"
#include "boost/beast/core.hpp"
#include "boost/beast/http.hpp"

namespace vramgate {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using Done = std::function<void(absl::StatusOr<std::string>)>;

// Kept alive by its pending operations.
class Get : public std::enable_shared_from_this<Get> {
 public:
  Get(asio::io_context& io, const HttpUrl& url, const HttpLimits& limits, Done done)
      : url_(url), limits_(limits), done_(std::move(done)), resolver_(io), stream_(io), deadline_(io) {}

  void Start() {
    deadline_.expires_after(limits_.timeout);
    deadline_.async_wait([self = shared_from_this()](const error_code& error) {
      if (!error) self->GiveUp();
    });
    resolver_.async_resolve(url_.host, url_.port,
                            [self = shared_from_this()](const error_code& error, tcp::resolver::results_type found) {
                              self->OnResolved(error, std::move(found));
                            });
  }

 private:
  void OnResolved(const error_code& error, tcp::resolver::results_type found) {
    if (!done_) return;
    if (error) return Fail(absl::StatusCode::kUnavailable, error.message());
    stream_.async_connect(found, [self = shared_from_this()](const error_code& connect_error, const tcp::endpoint&) {
      if (!self->done_) return;
      if (connect_error) return self->Fail(absl::StatusCode::kUnavailable, connect_error.message());
      self->Ask();
    });
  }

  void Ask() {
    request_.version(11);
    request_.method(http::verb::get);
    request_.target(url_.target);
    request_.set(http::field::host, url_.authority());
    request_.set(http::field::user_agent, "vramgate");
    request_.set(http::field::accept, "text/plain;version=0.0.4");
    request_.keep_alive(false);
    http::async_write(stream_, request_, [self = shared_from_this()](const error_code& error, size_t) {
      if (!self->done_) return;
      // A server that answers before it has read all closes early: its answer may be there all the same.
      (void)error;
      self->Read();
    });
  }

  void Read() {
    parser_.header_limit(static_cast<uint32_t>(limits_.header_bytes));
    parser_.body_limit(limits_.body_bytes);
    http::async_read(stream_, buffer_, parser_,
                     [self = shared_from_this()](const error_code& error, size_t) { self->OnRead(error); });
  }

  void OnRead(const error_code& error) {
    if (!done_) return;
    if (error == http::error::body_limit) {
      return Fail(absl::StatusCode::kOutOfRange, absl::StrCat("answers more than ", limits_.body_bytes, " bytes"));
    }
    if (error == http::error::header_limit) {
      return Fail(absl::StatusCode::kOutOfRange,
                  absl::StrCat("answers with a header of more than ", limits_.header_bytes, " bytes"));
    }
    if (error && error.category() == make_error_code(http::error::bad_method).category() &&
        error != http::error::end_of_stream && error != http::error::partial_message) {
      return Fail(absl::StatusCode::kInvalidArgument, absl::StrCat("does not speak HTTP/1.1: ", error.message()));
    }
    if (error) return Fail(absl::StatusCode::kUnavailable, absl::StrCat("broke off: ", error.message()));
    if (parser_.get().result_int() != 200) {
      return Fail(absl::StatusCode::kFailedPrecondition,
                  absl::StrCat("answers with status ", parser_.get().result_int()));
    }
    Finish(std::move(parser_.get().body()));
  }

  void GiveUp() {
    if (!done_) return;
    Fail(absl::StatusCode::kDeadlineExceeded,
         absl::StrCat("no whole answer within ", absl::FormatDuration(absl::FromChrono(limits_.timeout))));
  }

  void Fail(absl::StatusCode code, const std::string& words) { Finish(absl::Status(code, words)); }

  void Finish(absl::StatusOr<std::string> result) {
    deadline_.cancel();
    resolver_.cancel();
    error_code ignored;
    stream_.socket().close(ignored);
    std::exchange(done_, nullptr)(std::move(result));
  }

  const HttpUrl url_;
  const HttpLimits limits_;
  Done done_;  // null: answered
  tcp::resolver resolver_;
  boost::beast::tcp_stream stream_;
  asio::steady_timer deadline_;
  boost::beast::flat_buffer buffer_;
  http::request<http::empty_body> request_;
  http::response_parser<http::string_body> parser_;
};

}  // namespace

void HttpGet(asio::io_context& io, const HttpUrl& url, const HttpLimits& limits, Done done) {
  std::make_shared<Get>(io, url, limits, std::move(done))->Start();
}

}  // namespace vramgate
