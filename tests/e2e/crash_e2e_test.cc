// Callers and sidecars that die, stop or speak nonsense.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "tests/e2e/sidecar.h"
#include "tests/support/child.h"

namespace vramgate {
namespace {

// A caller in a process of its own.
std::unique_ptr<Child> Admit(const std::string& target, int64_t prompt_tokens) {
  return std::make_unique<Child>(std::vector<std::string>{
      VRAMGATE_PROGRAM, "admit", "--target", target, "--model", "m", "--instance", "a", "--prompt-tokens",
      std::to_string(prompt_tokens), "--max-output-tokens", "1", "--format", "json"});
}

// The best of a few, so that a busy machine does not count as a slow sidecar.
TEST(CrashE2eTest, AKilledHolderLingersWithin100MsThenIsFreed) {
  Sidecar sidecar("leases: {abort_linger: 500ms}\n");
  absl::Duration best = absl::InfiniteDuration();
  for (int i = 0; i < 5 && best > absl::Milliseconds(100); ++i) {
    const auto holder = Admit(sidecar.unix_address(), 999);
    EXPECT_NE(holder->ReadLine().find("\"lease\":\"leases/"), std::string::npos);
    const absl::Time killed = absl::Now();
    holder->Signal(SIGKILL);
    ASSERT_TRUE(Eventually([&] { return sidecar.server().controller().GetSnapshot().held == 0; }));
    best = std::min(best, absl::Now() - killed);
    EXPECT_EQ(sidecar.Account("pool/m/a").reserved_bytes(), 1000 << 20) << "the engine may still use them";
    EXPECT_TRUE(sidecar.Settles(0, 0, 0));
    EXPECT_GE(absl::Now() - killed, absl::Milliseconds(500)) << "before abort_linger was over";
  }
  EXPECT_LE(best, absl::Milliseconds(100));
}

TEST(CrashE2eTest, AKilledWaiterLeavesItsPlace) {
  Sidecar sidecar("queue: {max_bypass: 0}\n");
  SessionClient holder(sidecar.admission(), Ask(600));
  ASSERT_TRUE(holder.AwaitGrant());
  const auto head = Admit(sidecar.unix_address(), 999);
  ASSERT_TRUE(sidecar.Settles(1, 1, 0));
  SessionClient next(sidecar.admission(), Ask(300));
  ASSERT_TRUE(next.AwaitQueued());
  head->Signal(SIGKILL);
  EXPECT_TRUE(next.AwaitGrant());
  EXPECT_EQ(sidecar.Status().waiting(), 0);
}

// What must wait for real time, at once: a stopped peer is given up by keepalive within 15 s, and a stream that says
// nothing within 10 s.
TEST(CrashE2eTest, StoppedAndSilentPeersAreGivenUp) {
  Sidecar sidecar("leases: {abort_linger: 100ms}\n");
  SessionClient silent(sidecar.admission());
  const auto stopped = Admit(sidecar.tcp_address(), 999);
  EXPECT_NE(stopped->ReadLine(), "");
  stopped->Stop();
  const absl::Time begun = absl::Now();
  EXPECT_TRUE(Eventually([&] { return sidecar.server().controller().GetSnapshot().held == 0; }, absl::Seconds(30)));
  EXPECT_LE(absl::Now() - begun, absl::Seconds(15));
  EXPECT_TRUE(sidecar.Settles(0, 0, 0));
  const grpc::Status refused = silent.Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(DetailsOf(refused).field, "admit");
}

TEST(CrashE2eTest, GarbageOnTheSocketIsSurvived) {
  Sidecar sidecar;
  int port = 0;
  ASSERT_TRUE(absl::SimpleAtoi(sidecar.tcp_address().substr(sidecar.tcp_address().rfind(':') + 1), &port));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (const std::string& bytes : {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(100'000, '\xff'),
                                   std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") + std::string(1000, '\x7f')}) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    ASSERT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    (void)!send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    char answer[256];
    while (recv(fd, answer, sizeof(answer), 0) > 0) {
    }
    close(fd);
  }
  SessionClient session(sidecar.tcp(), Ask(10));
  EXPECT_TRUE(session.AwaitGrant());
}

TEST(CrashE2eTest, ASecondSidecarOnTheSameSocketIsRefused) {
  Sidecar sidecar;
  const absl::StatusOr<LoadedConfig> loaded = ParseConfig(SidecarYaml(sidecar.directory()), "test.yaml");
  ASSERT_TRUE(loaded.ok());
  const auto second = Server::Start(*loaded, {});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists) << second.status();
  SessionClient session(sidecar.admission(), Ask(10));
  EXPECT_TRUE(session.AwaitGrant()) << "the first serves on";
}

}  // namespace
}  // namespace vramgate
