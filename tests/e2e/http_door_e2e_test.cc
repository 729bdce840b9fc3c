// The HTTP door over real sockets: held and refused Admits, renewals, releases, clients that leave or are killed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "tests/admission/server/http_client.h"
#include "tests/e2e/sidecar.h"
#include "tests/support/child.h"

namespace vramgate {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Json = nlohmann::json;

// A request for `tokens` MiB of instance a.
std::string Body(int64_t tokens, std::string_view more = "") {
  return absl::StrCat(R"({"model": "m", "instance": "a", "demand": {"prompt_tokens": )", tokens - 1,
                      R"(, "max_output_tokens": 1})", std::string(more), "}");
}

class Door {
 public:
  explicit Door(const std::string& address) : client_(address) {}

  void Send(std::string_view method, std::string_view target, std::string_view body = "", std::string_view more = "") {
    client_.Send(absl::StrCat(std::string(method), " ", std::string(target), " HTTP/1.1\r\nHost: localhost\r\n",
                              body.empty() ? "" : "Content-Type: application/json\r\n", "Content-Length: ", body.size(),
                              "\r\n", std::string(more), "\r\n", std::string(body)));
  }
  // The status of the answer; its body is `said`, its headers `headers`.
  int Receive() {
    const HttpClient::Reply reply = client_.Receive();
    said = Json::parse(reply.body, nullptr, false);
    headers = reply.headers;
    return reply.status;
  }
  int Ask(std::string_view method, std::string_view target, std::string_view body = "", std::string_view more = "") {
    Send(method, target, body, more);
    return Receive();
  }
  // Admits, and returns the path of the lease.
  std::string Admit(int64_t tokens, std::string_view more = "") {
    EXPECT_EQ(Ask("POST", "/v1/admit", Body(tokens, more)), 200) << said;
    return "/v1/" + said["lease"]["name"].get<std::string>();
  }
  std::string code() const { return said["error"]["code"]; }
  std::string message() const { return said["error"]["message"]; }

  Json said;
  std::string headers;

 private:
  HttpClient client_;
};

TEST(HttpDoorE2eTest, AGrantIsKeptByRenewalAndEndedByRelease) {
  Sidecar sidecar("leases: {confirm_within: 300ms, ttl: 100s}\n");
  Door door(sidecar.http_address());
  const std::string lease = door.Admit(600, R"(, "request_id": "r", "tenant": "t")");
  EXPECT_EQ(door.said["lease"]["state"], "HELD");
  EXPECT_EQ(door.said["lease"]["charges"][0]["device"], "0");
  EXPECT_EQ(door.said["lease"]["tenant"], "t");
  EXPECT_EQ(door.Admit(600, R"(, "request_id": "r", "tenant": "t")"), lease) << "the same id again is the same lease";
  EXPECT_EQ(door.Ask("POST", "/v1/admit", Body(500, R"(, "request_id": "r", "tenant": "t")")), 409) << "not the same";
  EXPECT_EQ(door.Ask("PUT", lease), 200);
  EXPECT_EQ(door.said["leases"].size(), 1U);
  EXPECT_EQ(door.said["revoked"], Json::array());
  absl::SleepFor(absl::Milliseconds(400));
  EXPECT_TRUE(sidecar.Settles(1, 0, 0)) << "confirmed";
  EXPECT_EQ(door.Ask("DELETE", lease), 200);
  EXPECT_EQ(door.said, Json({{"already_released", false}}));
  EXPECT_EQ(door.Ask("DELETE", lease), 200);
  EXPECT_EQ(door.said, Json({{"already_released", true}}));
  EXPECT_EQ(door.Ask("PUT", lease), 404);
  EXPECT_EQ(door.code(), "lease_lost");
}

TEST(HttpDoorE2eTest, AWaiterIsAnsweredWhenRoomIsFreed) {
  Sidecar sidecar;
  Door holder(sidecar.http_address());
  const std::string lease = holder.Admit(1000);
  Door waiter(sidecar.http_address());
  waiter.Send("POST", "/v1/admit", Body(500));
  ASSERT_TRUE(sidecar.Settles(1, 1, 0));
  EXPECT_EQ(holder.Ask("DELETE", lease, R"({"reason": "COMPLETED", "usage": {"output_tokens": 1}})"), 200);
  EXPECT_EQ(waiter.Receive(), 200);
  EXPECT_EQ(waiter.Ask("DELETE", absl::StrCat("/v1/", waiter.said["lease"]["name"].get<std::string>())), 200);
}

TEST(HttpDoorE2eTest, AClientThatLeavesWhileItWaitsIsDequeuedWithin100Ms) {
  Sidecar sidecar;
  Door holder(sidecar.http_address());
  const std::string lease = holder.Admit(1000);
  absl::Duration best = absl::InfiniteDuration();
  for (int i = 0; i < 5 && best > absl::Milliseconds(100); ++i) {
    auto waiter = std::make_unique<Door>(sidecar.http_address());
    waiter->Send("POST", "/v1/admit", Body(500));
    ASSERT_TRUE(sidecar.Settles(1, 1, 0));
    const absl::Time left = absl::Now();
    waiter.reset();
    ASSERT_TRUE(Eventually([&] { return sidecar.server().controller().GetSnapshot().waiting == 0; }));
    best = std::min(best, absl::Now() - left);
  }
  EXPECT_LE(best, absl::Milliseconds(100));
  EXPECT_EQ(holder.Ask("DELETE", lease), 200);
}

// A client in a process of its own, which prints its answer and then does nothing.
std::unique_ptr<Child> ClientToKill(const Sidecar& sidecar, int64_t tokens) {
  constexpr char kCode[] =
      "import http.client, sys, time\n"
      "c = http.client.HTTPConnection(sys.argv[1])\n"
      "c.request('POST', '/v1/admit', sys.argv[2], {'content-type': 'application/json'})\n"
      "print(c.getresponse().read().decode().strip(), flush=True)\n"
      "time.sleep(600)\n";
  return std::make_unique<Child>(
      std::vector<std::string>{"/usr/bin/env", "python3", "-c", kCode, sidecar.http_address(), Body(tokens)});
}

TEST(HttpDoorE2eTest, AKilledClientsWaiterGoes) {
  Sidecar sidecar;
  Door holder(sidecar.http_address());
  const std::string lease = holder.Admit(1000);
  EXPECT_EQ(holder.Ask("PUT", lease), 200);
  const auto waiter = ClientToKill(sidecar, 500);
  ASSERT_TRUE(sidecar.Settles(1, 1, 0));
  waiter->Signal(SIGKILL);
  EXPECT_TRUE(sidecar.Settles(1, 0, 0));
  EXPECT_EQ(holder.Ask("DELETE", lease), 200);
}

TEST(HttpDoorE2eTest, AKilledClientsGrantLingersOnceItIsNotRenewed) {
  Sidecar sidecar("leases: {confirm_within: 300ms}\n");
  const auto holder = ClientToKill(sidecar, 1000);
  EXPECT_THAT(holder->ReadLine(), HasSubstr("\"HELD\""));
  holder->Signal(SIGKILL);
  EXPECT_TRUE(Eventually([&] { return sidecar.Status().lingering() == 1; }));
  EXPECT_TRUE(sidecar.Settles(0, 0, 0));
}

TEST(HttpDoorE2eTest, AnEndAsGoneLingersAndARenewalRevivesIt) {
  Sidecar sidecar("leases: {abort_linger: 60s}\n");
  Door door(sidecar.http_address());
  const std::string lease = door.Admit(600);
  EXPECT_EQ(door.Ask("DELETE", lease + "?reason=CLIENT_GONE"), 200);
  EXPECT_TRUE(sidecar.Settles(0, 0, 1));
  EXPECT_EQ(door.Ask("PUT", lease, R"({"usage": {"output_tokens": 1}})"), 200);
  EXPECT_EQ(door.said["leases"][0]["state"], "HELD");
  EXPECT_EQ(door.Ask("DELETE", lease, R"({"reason": "BACKEND_ERROR"})"), 200);
}

TEST(HttpDoorE2eTest, RefusalsSayStatusReasonAndWhenToComeBack) {
  Sidecar sidecar;
  Door door(sidecar.http_address());
  const std::string lease = door.Admit(1000);
  EXPECT_EQ(door.Ask("POST", "/v1/admit", Body(10, R"(, "max_wait": "0s")")), 429);
  EXPECT_EQ(door.code(), "budget_exhausted");
  EXPECT_THAT(door.headers, HasSubstr("retry-after: "));
  EXPECT_THAT(door.headers, HasSubstr("x-should-retry: true"));
  EXPECT_THAT(door.headers, HasSubstr("x-vramgate-reason: BUDGET_EXHAUSTED"));
  EXPECT_EQ(door.Ask("POST", "/v1/admit", Body(1500)), 413);
  EXPECT_THAT(door.headers, HasSubstr("x-should-retry: false"));
  EXPECT_EQ(door.code(), "never_fits");
  EXPECT_EQ(door.Ask("POST", "/v1/admit", R"({"model": "x", "demand": {"prompt_tokens": 1}})"), 404);
  EXPECT_EQ(door.code(), "unknown_model");
  EXPECT_EQ(door.Ask("POST", "/v1/admit", Body(10), "x-vramgate-timeout-ms: 150\r\n"), 504);
  EXPECT_EQ(door.Ask("DELETE", lease), 200);
  EXPECT_EQ(door.Ask("POST", "/v1/admit", Body(10, R"(, "validate_only": true)")), 200);
  EXPECT_EQ(door.said["lease"]["name"], "");
}

TEST(HttpDoorE2eTest, WhatIsMalformedIsNamed) {
  Sidecar sidecar;
  Door door(sidecar.http_address());
  const struct {
    std::string body;
    std::string says;
  } bodies[] = {
      {R"({"model": "m", "demand": {"promt_tokens": 1}})", "promt_tokens"},
      {R"({"model": "m", "demand": {}})", "demand.prompt_tokens: missing"},
      {R"({"model": "m", "demand": {"prompt_tokens": -1}})", "demand.prompt_tokens: -1"},
      {R"({"model": "m", "demand": {"prompt_tokens": "many"}})", "prompt_tokens"},
      {R"({"model": "m", "demand": {"prompt_tokens": 1}, "max_wait": "soon"})", "max_wait"},
      {R"({"model": "m", "demand": {"prompt_tokens": 1}, "max_wait": {"seconds": 1}})", "max_wait: write seconds"},
      {R"({model: "m", demand: {prompt_tokens: 1}})", "body: not a JSON object"},
      {R"({'model': 'm', 'demand': {'prompt_tokens': 1}})", "body: not a JSON object"},
      {"[]", "body"},
      {"{", "body"},
      {"\x01", "body"},
      {std::string(2000, '['), "body"},
      {"", "model: missing"}};
  for (const auto& [body, says] : bodies) {
    EXPECT_EQ(door.Ask("POST", "/v1/admit", body), 400) << body;
    EXPECT_THAT(door.message(), HasSubstr(says)) << body;
    EXPECT_THAT(door.headers, HasSubstr("x-should-retry: false"));
  }
  for (const char* timeout : {"0", "-1", "soon", "1e9", "999999999999"}) {
    EXPECT_EQ(door.Ask("POST", "/v1/admit", Body(2), absl::StrCat("x-vramgate-timeout-ms: ", timeout, "\r\n")), 400);
    EXPECT_THAT(door.message(), StartsWith("x-vramgate-timeout-ms")) << timeout;
  }
  EXPECT_EQ(door.Ask("POST", "/v1/admit?x=1", Body(2)), 400);
  EXPECT_EQ(door.Ask("DELETE", "/v1/leases/x"), 400);
  EXPECT_EQ(door.Ask("DELETE", "/v1/leases/0000000100000001?reason=BORED"), 400);
  EXPECT_THAT(door.message(), StartsWith("reason: \"BORED\""));
  EXPECT_EQ(door.Ask("PUT", "/v1/leases/0000000100000001", R"({"name": "leases/0000000100000001"})"), 400);
  EXPECT_EQ(door.Ask("PUT", "/v1/leases/0000000100000001", R"({"usage": {"output_tokens": -1}})"), 400);
  EXPECT_THAT(door.message(), StartsWith("usage.output_tokens: -1"));
  EXPECT_EQ(door.Ask("DELETE", "/v1/leases/0000000100000001", R"({"usage": {"prompt_tokens": "9e15"}})"), 400);
}

TEST(HttpDoorE2eTest, OtherPathsMethodsAndBodiesAreRefused) {
  Sidecar sidecar;
  {
    Door door(sidecar.http_address());
    EXPECT_EQ(door.Ask("GET", "/"), 404);
    EXPECT_THAT(door.message(), HasSubstr("/v1/admit"));
    EXPECT_EQ(door.Ask("GET", "/v1/admit"), 405);
    EXPECT_THAT(door.headers, HasSubstr("allow: POST"));
    EXPECT_EQ(door.Ask("POST", "/v1/leases/0000000100000001", "{}"), 405);
    EXPECT_EQ(door.Ask("DELETE", "/openapi.yaml"), 405);
  }
  {
    HttpClient client(sidecar.http_address());
    client.Send("POST /v1/admit HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_EQ(client.Receive().status, 411);
    client.Send(
        "POST /v1/admit HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}");
    EXPECT_EQ(client.Receive().status, 415);
    EXPECT_THAT(client.Get("/openapi.yaml").body, StartsWith("openapi: 3.1.0\n"));
    client.Send("POST /v1/admit HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n");
    EXPECT_EQ(client.Receive().status, 413);
    EXPECT_TRUE(client.Closed());
  }
  HttpClient noisy(sidecar.http_address());
  noisy.Send("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n");
  EXPECT_EQ(noisy.Receive().status, 431);
}

TEST(HttpDoorE2eTest, AnotherListenersLeaseCannotBeTouched) {
  Sidecar sidecar;
  v1::AdmitResponse response;
  ASSERT_TRUE(sidecar.Admit(Ask(600, "r"), &response).ok());
  Door door(sidecar.http_address());
  const std::string path = absl::StrCat("/v1/", response.lease().name());
  EXPECT_EQ(door.Ask("PUT", path), 404);
  EXPECT_EQ(door.Ask("DELETE", path), 200);
  EXPECT_EQ(door.said["already_released"], true);
  EXPECT_TRUE(sidecar.Settles(1, 0, 0));
  EXPECT_FALSE(sidecar.Release(response.lease().name()).already_released());
}

TEST(HttpDoorE2eTest, ADrainRefusesWaitersAndLetsHoldersFinish) {
  Sidecar sidecar;
  Door holder(sidecar.http_address());
  const std::string lease = holder.Admit(1000);
  Door waiter(sidecar.http_address());
  waiter.Send("POST", "/v1/admit", Body(500));
  ASSERT_TRUE(sidecar.Settles(1, 1, 0));
  sidecar.server().controller().Drain();
  EXPECT_EQ(waiter.Receive(), 503);
  EXPECT_EQ(waiter.code(), "draining");
  EXPECT_THAT(waiter.headers, HasSubstr("retry-after: "));
  EXPECT_EQ(waiter.Ask("POST", "/v1/admit", Body(500)), 503);
  EXPECT_EQ(holder.Ask("DELETE", lease), 200);
}

TEST(HttpDoorE2eTest, HundredsWaitAtOnce) {
  Sidecar sidecar;
  Door holder(sidecar.http_address());
  const std::string lease = holder.Admit(1000);
  std::vector<std::unique_ptr<Door>> waiters(300);
  for (auto& waiter : waiters) {
    waiter = std::make_unique<Door>(sidecar.http_address());
    waiter->Send("POST", "/v1/admit", Body(2));
  }
  ASSERT_TRUE(sidecar.Settles(1, 300, 0));
  EXPECT_EQ(holder.Ask("DELETE", lease), 200);
  for (auto& waiter : waiters) {
    ASSERT_EQ(waiter->Receive(), 200);
    EXPECT_EQ(waiter->Ask("DELETE", absl::StrCat("/v1/", waiter->said["lease"]["name"].get<std::string>())), 200);
  }
}

}  // namespace
}  // namespace vramgate
