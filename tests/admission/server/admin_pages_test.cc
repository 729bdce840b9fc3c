// The admin pages without sockets: what each answers, and to whom.
#include "admission/server/admin_pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "tests/admission/server/small_gate.h"

namespace vramgate {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

class AdminPagesTest : public ::testing::Test {
 protected:
  AdminReply Get(std::string_view target) const {
    return pages_.Answer({.method = "GET", .target = target, .host = "localhost:9901"});
  }
  Json GetJson(std::string_view target) const {
    const AdminReply reply = Get(target);
    EXPECT_EQ(reply.status, 200) << reply.body;
    EXPECT_EQ(reply.content_type, "application/json");
    return Json::parse(reply.body, nullptr, false);
  }

  FakeClock clock_;
  std::string not_ready_;
  Controller controller_{SmallGate(), clock_, nullptr};
  AdminPages pages_{controller_,
                    {.metrics = [] { return "# metrics\n"; },
                     .not_ready = [this] { return not_ready_; },
                     .config_yaml = [] { return "queue: {}\n"; },
                     .config_json = [] { return "{}\n"; }}};
};

TEST_F(AdminPagesTest, EveryPageAnswers) {
  EXPECT_EQ(Get("/metrics").body, "# metrics\n");
  EXPECT_EQ(Get("/metrics").content_type, "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(Get("/healthz").body, "ok\n");
  EXPECT_EQ(Get("/config_dump").body, "queue: {}\n");
  EXPECT_EQ(Get("/config_dump?format=yaml").body, "queue: {}\n");
  EXPECT_EQ(GetJson("/config_dump?format=json"), Json::object());
  EXPECT_THAT(Get("/").body, HasSubstr("/config_dump"));
}

TEST_F(AdminPagesTest, ReadyOrWhyNot) {
  EXPECT_EQ(Get("/readyz").status, 200);
  not_ready_ = "draining";
  EXPECT_EQ(Get("/readyz").status, 503);
  EXPECT_EQ(Get("/readyz").body, "not ready: draining\n");
}

TEST_F(AdminPagesTest, WhatIsNotThereSaysWhatIs) {
  for (const char* target : {"/metric", "/metrics/", "/leases/1", "//", "/%6detrics"}) {
    EXPECT_EQ(Get(target).status, 404) << target;
    EXPECT_THAT(Get(target).body, HasSubstr("/metrics"));
  }
  EXPECT_EQ(Get("http://localhost/metrics").status, 400);
  EXPECT_EQ(Get("*").status, 400);
  EXPECT_EQ(Get("").status, 400);
}

TEST_F(AdminPagesTest, OnlyReads) {
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "get", ""}) {
    EXPECT_EQ(pages_.Answer({.method = method, .target = "/healthz", .host = "localhost"}).status, 405) << method;
  }
  EXPECT_EQ(pages_.Answer({.method = "HEAD", .target = "/healthz", .host = "localhost"}).body, "ok\n");
}

TEST_F(AdminPagesTest, WrongParametersAreNamed) {
  for (const char* target : {"/leases?state=gone", "/leases?page_size=0", "/leases?page_size=-1", "/leases?page_size=x",
                             "/leases?page_token=leases/1", "/leases?page_size=99999999999999999999", "/leases?sort=up",
                             "/config_dump?format=xml", "/config_dump?pretty"}) {
    EXPECT_EQ(Get(target).status, 400) << target;
    EXPECT_FALSE(Get(target).body.empty());
  }
}

TEST(IsLocalHostHeaderTest, OnlyNamesOfThisMachine) {
  for (const char* host : {"localhost", "LocalHost:9901", "127.0.0.1", "127.0.0.1:80", "127.255.0.9", "[::1]",
                           "[::1]:9901", "localhost:"}) {
    EXPECT_TRUE(IsLocalHostHeader(host)) << host;
  }
  for (const char* host : {"",
                           "evil.example",
                           "localhost.evil.example",
                           "127.0.0.1.evil.example",
                           "127.evil.example",
                           "127.0.0.1:80:1",
                           "localhost:80@evil.example",
                           "[::1].evil.example",
                           "[::1",
                           "[::2]",
                           "[::1]x",
                           "127.0.0.256",
                           "127.0.0",
                           "127.1",
                           "128.0.0.1",
                           "0.0.0.0",
                           "localhost:port",
                           "localhost:123456",
                           ":80",
                           "127.0.0.",
                           "127..0.1"}) {
    EXPECT_FALSE(IsLocalHostHeader(host)) << host;
  }
}

TEST_F(AdminPagesTest, AnotherNameIsRefusedWhateverIsAsked) {
  EXPECT_EQ(pages_.Answer({.method = "GET", .target = "/leases", .host = "rebound.example:9901"}).status, 403);
  EXPECT_EQ(pages_.Answer({.method = "GET", .target = "/healthz", .host = ""}).status, 403);
  EXPECT_EQ(pages_.Answer({.method = "GET", .target = "/healthz"}).status, 200);  // HTTP/1.0
}

TEST_F(AdminPagesTest, ListsHoldersAndWaiters) {
  const Controller::Answer held = controller_.Admit(Asks("held \xff\"<", 6 * kGiB, "team-a"), nullptr);
  clock_.Advance(absl::Seconds(2));
  controller_.Admit(Asks("waiter", 4 * kGiB), nullptr);
  clock_.Advance(absl::Seconds(3));

  const Json leases = GetJson("/leases")["leases"];
  ASSERT_EQ(leases.size(), 2u);
  EXPECT_EQ(leases[0]["name"], LeaseName(held.lease.id));
  EXPECT_EQ(leases[0]["state"], "held");
  EXPECT_EQ(leases[0]["model"], "llama");
  EXPECT_EQ(leases[0]["instance"], "a");
  EXPECT_EQ(leases[0]["devices"], Json::array({"0"}));
  EXPECT_EQ(leases[0]["vram_bytes"], 6 * kGiB);
  EXPECT_EQ(leases[0]["tenant"], "team-a");
  EXPECT_EQ(leases[0]["request_id"], "held \xef\xbf\xbd\"<");
  EXPECT_EQ(leases[0]["held_s"], 5);
  EXPECT_EQ(leases[0]["expires_in_s"], 5);  // confirm_within
  EXPECT_EQ(leases[1]["state"], "waiting");
  EXPECT_EQ(leases[1]["queued_s"], 3);
  EXPECT_EQ(leases[1]["vram_bytes_per_device"], 4 * kGiB);
  EXPECT_FALSE(leases[1].contains("devices"));

  EXPECT_EQ(GetJson("/leases?state=held")["leases"].size(), 1u);
  EXPECT_EQ(GetJson("/leases?state=WAITING")["leases"][0]["request_id"], "waiter");
  EXPECT_EQ(GetJson("/leases?state=lingering")["leases"], Json::array());
}

TEST_F(AdminPagesTest, PagesGoThroughAllLeasesOnce) {
  for (int i = 0; i < 25; ++i) {
    const std::string id = absl::StrCat("r", i);
    controller_.Admit(Asks(id, kMiB), nullptr);
  }
  std::vector<std::string> seen;
  std::string token;
  int pages = 0;
  do {
    const Json page = GetJson(absl::StrCat("/leases?page_size=10&page_token=", token));
    for (const Json& lease : page["leases"]) seen.push_back(lease["request_id"]);
    token = page["next_page_token"];
    ++pages;
  } while (!token.empty() && pages < 10);
  EXPECT_EQ(pages, 3);
  ASSERT_EQ(seen.size(), 25u);
  EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()).size(), 25u);
  EXPECT_EQ(GetJson("/leases?page_token=18446744073709551615")["leases"], Json::array());
}

}  // namespace
}  // namespace vramgate
