// The HTTP server under the admin pages and the HTTP door, over real sockets: answers that come later and from other
// threads, clients that leave while they wait, and clients that misbehave.
#include "admission/server/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <future>
#include <thread>

#include "absl/strings/str_cat.h"
#include "admission/mutex.h"
#include "tests/admission/server/http_client.h"
#include "tests/support/temporary_directory.h"

namespace vramgate {
namespace {

using ::testing::HasSubstr;

std::optional<HttpReply> Refused(HttpFault fault) {
  switch (fault) {
    case HttpFault::kMalformed:
    case HttpFault::kHost:
      return HttpReply{.status = 400};
    case HttpFault::kHeaders:
      return HttpReply{.status = 431};
    case HttpFault::kBody:
      return HttpReply{.status = 413};
    case HttpFault::kSlow:
      return HttpReply{.status = 408};
    case HttpFault::kExpectation:
      return HttpReply{.status = 417};
    case HttpFault::kCrowded:
      return HttpReply{.status = 503};
  }
  return std::nullopt;
}

// Requests wait here until the test answers them; `/now` is answered at once, with what was asked.
class HttpServerTest : public ::testing::Test {
 protected:
  struct Waiting {
    std::string target;
    std::shared_ptr<HttpExchange> exchange;
    std::shared_ptr<std::promise<bool>> over;  // gone
  };

  HttpServer& Start(HttpServer::Options options = {}, std::string_view address = "127.0.0.1:0") {
    if (options.most_body_bytes == 0) options.most_body_bytes = 100;
    options.refuse = Refused;
    options.handle = [this](const HttpRequest& request, const std::shared_ptr<HttpExchange>& exchange) {
      const auto over = std::make_shared<std::promise<bool>>();
      exchange->WhenOver([over](bool gone) { over->set_value(gone); });
      if (request.target == "/now") {
        return exchange->Answer({.body = absl::StrCat(request.method, " ", request.body)});
      }
      MutexLock lock(mutex_);
      waiting_.push_back({request.target, exchange, over});
      came_.notify_all();
    };
    absl::StatusOr<std::unique_ptr<HttpServer>> server = HttpServer::Start(*ParseAddress(address), options);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    return *server_;
  }

  // The next one that waits for an answer.
  Waiting Next() {
    MutexLock lock(mutex_);
    while (waiting_.empty()) came_.wait(mutex_);
    const Waiting next = waiting_.front();
    waiting_.erase(waiting_.begin());
    return next;
  }
  static bool Gone(const Waiting& waiting) {
    std::future<bool> over = waiting.over->get_future();
    EXPECT_EQ(over.wait_for(std::chrono::seconds(20)), std::future_status::ready);
    return over.get();
  }
  static std::string Ask(std::string_view target, std::string_view more = "") {
    return absl::StrCat("GET ", std::string(target), " HTTP/1.1\r\nHost: localhost\r\n", std::string(more), "\r\n");
  }
  static std::string Post(std::string_view body) {
    return absl::StrCat("POST /now HTTP/1.1\r\nHost: localhost\r\nContent-Length: ", body.size(), "\r\n\r\n",
                        std::string(body));
  }

  Mutex mutex_;
  CondVar came_;
  std::vector<Waiting> waiting_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AnswersLaterFromAnotherThread) {
  HttpClient client(Start().address());
  client.Send(Ask("/later"));
  const Waiting waiting = Next();
  std::thread([&] {
    waiting.exchange->Answer({.status = 202, .headers = {{"x-word", "held"}}, .body = "yes"});
  }).join();
  const HttpClient::Reply reply = client.Receive();
  EXPECT_EQ(reply.status, 202);
  EXPECT_THAT(reply.headers, HasSubstr("x-word: held"));
  EXPECT_EQ(reply.body, "yes");
  EXPECT_FALSE(Gone(waiting));
  client.Send(Post("again"));
  EXPECT_EQ(client.Receive().body, "POST again");
}

TEST_F(HttpServerTest, OnlyTheFirstAnswerCounts) {
  HttpClient client(Start().address());
  client.Send(Ask("/later"));
  const Waiting waiting = Next();
  waiting.exchange->Answer({.body = "first"});
  waiting.exchange->Answer({.body = "second"});
  EXPECT_EQ(client.Receive().body, "first");
  client.Send(Post("x"));
  EXPECT_EQ(client.Receive().body, "POST x");
}

TEST_F(HttpServerTest, NoticesAClientThatLeavesWhileItWaits) {
  auto client = std::make_unique<HttpClient>(Start().address());
  client->Send(Ask("/later"));
  const Waiting waiting = Next();
  client.reset();
  EXPECT_TRUE(Gone(waiting));
  waiting.exchange->Answer({.body = "to nobody"});
  HttpClient next(server_->address());
  next.Send(Post("x"));
  EXPECT_EQ(next.Receive().status, 200);
}

TEST_F(HttpServerTest, WhatIsSentAheadWaitsItsTurn) {
  HttpClient client(Start().address());
  client.Send(Ask("/first") + Ask("/second"));
  const Waiting first = Next();
  EXPECT_EQ(first.target, "/first");
  client.Send(Ask("/third"));
  first.exchange->Answer({.body = "1"});
  EXPECT_EQ(client.Receive().body, "1");
  const Waiting second = Next();
  EXPECT_EQ(second.target, "/second");
  second.exchange->Answer({.body = "2"});
  EXPECT_EQ(client.Receive().body, "2");
  Next().exchange->Answer({.body = "3"});
  EXPECT_EQ(client.Receive().body, "3");
}

TEST_F(HttpServerTest, WhoSendsTooMuchAheadIsCutOff) {
  HttpClient client(Start().address());
  client.Send(Ask("/later"));
  const Waiting waiting = Next();
  client.Send(std::string(100'000, 'x'));
  EXPECT_TRUE(Gone(waiting));
  EXPECT_TRUE(client.Closed());
}

TEST_F(HttpServerTest, BodiesAreBounded) {
  Start({.most_body_bytes = 10});
  HttpClient client(server_->address());
  client.Send(Post("0123456789"));
  EXPECT_EQ(client.Receive().body, "POST 0123456789");
  client.Send(Post("0123456789x"));
  EXPECT_EQ(client.Receive().status, 413);
  EXPECT_TRUE(client.Closed());
  HttpClient chunked(server_->address());
  chunked.Send("POST /now HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 3; ++i) chunked.Send("4\r\nabcd\r\n");
  EXPECT_EQ(chunked.Receive().status, 413);
  HttpClient small(server_->address());
  small.Send("POST /now HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n");
  EXPECT_EQ(small.Receive().body, "POST abcd");
}

TEST_F(HttpServerTest, ContinuesWhoAsksFirst) {
  Start({.most_body_bytes = 10});
  HttpClient client(server_->address());
  const std::string headers = "POST /now HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n";
  client.Send(headers + "Expect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.Receive(false).status, 100);
  client.Send("abc");
  EXPECT_EQ(client.Receive().body, "POST abc");
  client.Send(headers + "Expect: a-miracle\r\n\r\n");
  EXPECT_EQ(client.Receive().status, 417);
  HttpClient large(server_->address());
  large.Send("POST /now HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(large.Receive().status, 413) << "before the body is sent";
}

TEST_F(HttpServerTest, TellsWhoIsTooSlowAndLeavesTheSilent) {
  Start({.most_body_bytes = 10, .idle_timeout = absl::Milliseconds(50), .read_timeout = absl::Milliseconds(50)});
  const HttpClient silent(server_->address());
  HttpClient slow(server_->address());
  slow.Send("GET /now HTTP/1.1\r\nHos");
  HttpClient slow_body(server_->address());
  slow_body.Send("POST /now HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab");
  EXPECT_TRUE(silent.Closed());
  EXPECT_EQ(slow.Receive().status, 408);
  EXPECT_EQ(slow_body.Receive().status, 408);
}

TEST_F(HttpServerTest, WhoWaitsIsNeverTimedOut) {
  Start({.idle_timeout = absl::Milliseconds(20), .read_timeout = absl::Milliseconds(20)});
  HttpClient client(server_->address());
  client.Send(Ask("/later"));
  const Waiting waiting = Next();
  HttpClient silent(server_->address());
  EXPECT_TRUE(silent.Closed());  // later than the first would have been
  waiting.exchange->Answer({.body = "still here"});
  EXPECT_EQ(client.Receive().body, "still here");
}

TEST_F(HttpServerTest, WhoWaitsIsNotGivenUpForAnother) {
  Start({.most_connections = 2});
  HttpClient first(server_->address());
  first.Send(Ask("/first"));
  const Waiting waits = Next();
  const HttpClient silent(server_->address());
  HttpClient second(server_->address());  // in place of the silent one
  EXPECT_TRUE(silent.Closed());
  second.Send(Ask("/second"));
  const Waiting waits_too = Next();
  HttpClient third(server_->address());
  EXPECT_EQ(third.Receive().status, 503);
  waits.exchange->Answer({.body = "1"});
  waits_too.exchange->Answer({.body = "2"});
  EXPECT_EQ(first.Receive().body, "1");
  EXPECT_EQ(second.Receive().body, "2");
}

TEST_F(HttpServerTest, StopSendsTheAnswersThatAreThereAndEndsTheRest) {
  Start();
  HttpClient answered(server_->address());
  answered.Send(Ask("/answered"));
  const Waiting first = Next();
  HttpClient waits(server_->address());
  waits.Send(Ask("/waits"));
  const Waiting second = Next();
  const HttpClient silent(server_->address());
  first.exchange->Answer({.status = 503, .body = std::string(100'000, 'x')});
  server_->Stop();
  EXPECT_EQ(answered.Receive().body.size(), size_t{100'000});
  EXPECT_TRUE(answered.Closed());
  EXPECT_TRUE(waits.Closed());
  EXPECT_TRUE(silent.Closed());
  EXPECT_FALSE(Gone(first));
  EXPECT_TRUE(Gone(second));
  second.exchange->Answer({.body = "the server is no more"});
  server_->Stop();
}

TEST_F(HttpServerTest, ListensAtAUnixSocketWithItsMode) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() / "door.sock";
  EXPECT_EQ(Start({.socket_mode = 0600}, "unix:" + path).address(), "unix:" + path);
  struct stat info{};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  EXPECT_EQ(HttpServer::Start(*ParseAddress("unix:" + path), {}).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(HttpServerTest, ManyClientsAndThreads) {
  Start({.most_connections = 64});
  std::vector<std::thread> clients;
  for (int c = 0; c < 8; ++c) {
    clients.emplace_back([this] {
      for (int i = 0; i < 20; ++i) {
        HttpClient client(server_->address());
        client.Send(Ask("/later"));
        if (i % 2 == 1) continue;  // it leaves
        EXPECT_EQ(client.Receive().body, "ok");
      }
    });
  }
  std::thread answering([this] {
    for (int i = 0; i < 160; ++i) Next().exchange->Answer({.body = "ok"});
  });
  for (std::thread& client : clients) client.join();
  answering.join();
}

}  // namespace
}  // namespace vramgate
