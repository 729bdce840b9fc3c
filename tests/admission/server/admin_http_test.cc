// The admin listener over real sockets: good clients, and bad ones that must not keep it from them.
#include "admission/server/admin_http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "admission/server/metrics.h"
#include "tests/admission/server/exposition.h"
#include "tests/admission/server/http_client.h"
#include "tests/admission/server/small_gate.h"

namespace vramgate {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class AdminHttpTest : public ::testing::Test {
 protected:
  AdminHttp& Start(AdminHttp::Options options = {}) {
    options.port = 0;
    absl::StatusOr<std::unique_ptr<AdminHttp>> admin = AdminHttp::Start(options, Pages());
    EXPECT_TRUE(admin.ok()) << admin.status();
    admin_ = *std::move(admin);
    return *admin_;
  }
  AdminPages Pages() {
    return AdminPages(controller_, {.metrics = [this] { return MetricsText(metrics_); },
                                    .not_ready = [] { return ""; },
                                    .config_yaml = [] { return std::string(1 << 20, 'y'); },
                                    .config_json = [] { return "{}"; }});
  }

  FakeClock clock_;
  Controller controller_{SmallGate(), clock_, nullptr};
  Metrics metrics_{controller_, {.build = {{"version", "test"}}, .log_dropped = nullptr}};
  std::unique_ptr<AdminHttp> admin_;
};

TEST_F(AdminHttpTest, ServesPagesOneAfterTheOther) {
  HttpClient client(Start().address());
  controller_.Admit(Asks("r", kGiB), nullptr);
  const HttpClient::Reply metrics = client.Get("/metrics");
  EXPECT_EQ(metrics.status, 200);
  EXPECT_THAT(metrics.headers, HasSubstr("text/plain; version=0.0.4"));
  EXPECT_EQ(Exposition(metrics.body)["vramgate_leases{model=\"llama\",state=\"held\"}"], 1);
  EXPECT_EQ(client.Get("/healthz").body, "ok\n");
  EXPECT_EQ(client.Get("/config_dump").body.size(), size_t{1} << 20);
  EXPECT_EQ(client.Get("/metrix").status, 404);
  EXPECT_EQ(client.Get("/readyz").status, 200);
}

TEST_F(AdminHttpTest, SaysWhereItListens) {
  EXPECT_THAT(Start().address(), StartsWith("127.0.0.1:"));
  EXPECT_NE(admin_->address(), "127.0.0.1:0");
}

TEST_F(AdminHttpTest, HeadHasTheLengthAndNoBody) {
  HttpClient client(Start().address());
  client.Send("HEAD /config_dump HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const HttpClient::Reply head = client.Receive(false);
  EXPECT_EQ(head.status, 200);
  EXPECT_THAT(head.headers, HasSubstr("Content-Length: 1048576"));
  EXPECT_EQ(client.Get("/healthz").body, "ok\n");  // the next bytes are the next answer's
}

TEST_F(AdminHttpTest, AnswersInTheOrderAsked) {
  HttpClient client(Start().address());
  client.Send(
      "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
      "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(client.Receive().body, "ok\n");
  EXPECT_EQ(client.Receive().body, "ready\n");
  EXPECT_TRUE(client.Closed());
}

TEST_F(AdminHttpTest, RefusesOtherMethodsAndBodies) {
  Start();
  HttpClient poster(admin_->address());
  poster.Send("POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
  const HttpClient::Reply refused = poster.Receive();
  EXPECT_EQ(refused.status, 405);
  EXPECT_THAT(refused.headers, HasSubstr("Allow: GET, HEAD"));

  HttpClient with_body(admin_->address());
  with_body.Send("POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello");
  EXPECT_EQ(with_body.Receive().status, 413);
  EXPECT_TRUE(with_body.Closed());

  HttpClient chunked(admin_->address());
  chunked.Send("GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
  EXPECT_EQ(chunked.Receive().status, 413);
}

TEST_F(AdminHttpTest, RefusesNamesOfOtherMachines) {
  Start();
  for (const char* host : {"Host: rebound.example\r\n", "Host: localhost.rebound.example:9901\r\n"}) {
    HttpClient client(admin_->address());
    client.Send(absl::StrCat("GET /leases HTTP/1.1\r\n", host, "\r\n"));
    EXPECT_EQ(client.Receive().status, 403) << host;
  }
  for (const char* host : {"", "Host: localhost\r\nHost: rebound.example\r\n"}) {
    HttpClient client(admin_->address());
    client.Send(absl::StrCat("GET /leases HTTP/1.1\r\n", host, "\r\n"));
    EXPECT_EQ(client.Receive().status, 400) << host;
  }
}

TEST_F(AdminHttpTest, RefusesTooManyHeaders) {
  Start();
  for (const std::string& headers : {"X: " + std::string(9000, 'x') + "\r\n\r\n", std::string(60'000, 'x')}) {
    HttpClient client(admin_->address());
    client.Send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + headers);
    EXPECT_EQ(client.Receive().status, 431);
    EXPECT_TRUE(client.Closed());
  }
  HttpClient fits(admin_->address());
  fits.Send("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(8000, 'x') + "\r\n\r\n");
  EXPECT_EQ(fits.Receive().status, 200);
}

TEST_F(AdminHttpTest, RefusesWhatIsNotHttp) {
  Start();
  for (const std::string& bytes : {std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11),
                                   std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), std::string("GET /healthz\r\n\r\n"),
                                   std::string("GET /\x01 HTTP/1.1\r\n\r\n"), std::string(64, '\0') + "\r\n\r\n"}) {
    HttpClient client(admin_->address());
    client.Send(bytes);
    EXPECT_EQ(client.Receive().status, 400) << bytes;
    EXPECT_TRUE(client.Closed());
  }
  EXPECT_EQ(HttpClient(admin_->address()).Get("/healthz").status, 200);
}

TEST_F(AdminHttpTest, ClosesOnClientsThatDoNotAsk) {
  Start({.idle_timeout = absl::Milliseconds(50)});
  const HttpClient silent(admin_->address());
  const HttpClient slow(admin_->address());
  slow.Send("GET /healthz HTTP/1.1\r\nHos");
  EXPECT_TRUE(silent.Closed());
  EXPECT_TRUE(slow.Closed());
}

TEST_F(AdminHttpTest, SilentClientsDoNotLockOthersOut) {
  Start({.max_connections = 4});
  std::vector<std::unique_ptr<HttpClient>> silent(20);
  for (std::unique_ptr<HttpClient>& client : silent) client = std::make_unique<HttpClient>(admin_->address());
  HttpClient prober(admin_->address());
  EXPECT_EQ(prober.Get("/healthz").status, 200);
  EXPECT_TRUE(silent[0]->Closed());  // the one that had been silent longest
  HttpClient another(admin_->address());
  EXPECT_EQ(another.Get("/healthz").status, 200);
  EXPECT_EQ(prober.Get("/healthz").status, 200);  // has asked since, so others went first
}

TEST_F(AdminHttpTest, AClientGoneMidAnswerHurtsNobody) {
  Start();
  for (int i = 0; i < 20; ++i) {
    HttpClient(admin_->address()).Send("GET /config_dump HTTP/1.1\r\nHost: localhost\r\n\r\n");
  }
  EXPECT_EQ(HttpClient(admin_->address()).Get("/healthz").status, 200);
}

TEST_F(AdminHttpTest, ScrapesWhileTheGateDecides) {
  Start();
  std::thread scraper([&] {
    HttpClient client(admin_->address());
    for (int i = 0; i < 20; ++i) {
      Exposition page(client.Get("/metrics").body);
      EXPECT_EQ(client.Get("/leases?page_size=5").status, 200);
    }
  });
  for (int i = 0; i < 500; ++i) {
    const std::string id = absl::StrCat("r", i);
    const Controller::Answer answer = controller_.Admit(Asks(id, kGiB), nullptr);
    controller_.End(answer.lease, Gate::EndKind::kCompleted);
  }
  scraper.join();
}

TEST_F(AdminHttpTest, StopClosesAndFreesThePort) {
  Start();
  const std::vector<std::string> parts = absl::StrSplit(admin_->address(), ':');
  const HttpClient client(admin_->address());
  HttpClient served(admin_->address());
  EXPECT_EQ(served.Get("/healthz").status, 200);
  admin_->Stop();
  EXPECT_TRUE(client.Closed());
  EXPECT_TRUE(served.Closed());
  admin_->Stop();
  int port = 0;
  ASSERT_TRUE(absl::SimpleAtoi(parts.back(), &port));
  EXPECT_TRUE(AdminHttp::Start({.port = port}, Pages()).ok());
}

TEST_F(AdminHttpTest, APortInUseIsAClearError) {
  Start();
  int port = 0;
  const std::vector<std::string> parts = absl::StrSplit(admin_->address(), ':');
  ASSERT_TRUE(absl::SimpleAtoi(parts.back(), &port));
  const absl::Status status = AdminHttp::Start({.port = port}, Pages()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr(admin_->address()));
  EXPECT_THAT(std::string(status.message()), HasSubstr("Address already in use"));
}

TEST_F(AdminHttpTest, ListensOnLoopbackOnly) {
  for (const char* host : {"0.0.0.0", "::", "192.0.2.1", "example.com", "", "127.0.0.1:80", "::ffff:192.0.2.1"}) {
    const absl::Status status = AdminHttp::Start({.host = host, .port = 0}, Pages()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << host;
  }
  for (const int port : {-1, 65536}) {
    EXPECT_EQ(AdminHttp::Start({.port = port}, Pages()).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(AdminHttp::Start({.host = "localhost", .port = 0}, Pages()).ok());
}

}  // namespace
}  // namespace vramgate
