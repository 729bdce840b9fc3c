// A test of the C ABI against a real sidecar, in a process of its own: model `m` with a pool of 1000 MiB, whose drains
// take a quarter of an hour and more. At the end the budget must be as it began, and the ledger clean.
//
//   class MyTest : public SidecarTest {};
//   TEST_F(MyTest, ...) { Client client(target_); ... Kill(); Start(); ... }
//
// Thread rule: the test's thread.
#pragma once

#include <signal.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/plugin/c/rig.h"
#include "tests/support/child.h"
#include "tests/support/sidecar_yaml.h"
#include "tests/support/temporary_directory.h"

namespace vramgate {

inline constexpr int64_t kMiB = 1 << 20;

class SidecarTest : public testing::Test {
 protected:
  SidecarTest() {
    std::ofstream(directory_.At("gate.yaml"))
        << ListenersYaml(directory_.path()) << DevicesYaml(1) << "models:\n"
        << ModelYaml("m", 2000, R"(      - {name: a, devices: ["0"], kv_pool: 1000MiB}
    min_tokens_per_s: 0.001)")
        << "leases: {abort_linger: 20ms}\nlog: {level: warning}\n";
    Start();
  }
  // The budget is as it began, and the ledger clean.
  ~SidecarTest() override {
    EXPECT_TRUE(Settles(0, 0, 0));
    EXPECT_EQ(Reserved(), 0);
    sidecar_->Signal(SIGTERM);
    EXPECT_EQ(sidecar_->Wait(), 0) << sidecar_->ReadErrors();
    const Ran audit = RunToEnd({VRAMGATE_PROGRAM, "audit", Ledger()});
    EXPECT_EQ(audit.status, 0) << audit.out;
  }

  void Start() {
    ++starts_;
    sidecar_ = std::make_unique<Child>(std::vector<std::string>{VRAMGATE_PROGRAM, "serve", "--config",
                                                                directory_.At("gate.yaml"), "--ledger", Ledger()});
    EXPECT_TRUE(sidecar_->ReadLine().starts_with("ready "));
  }
  void Kill() {
    sidecar_->Signal(SIGKILL);
    EXPECT_EQ(sidecar_->Wait(), 128 + SIGKILL);
  }
  std::string Ledger() const { return directory_.At("ledger" + std::to_string(starts_) + ".csv"); }

  nlohmann::json Status() const {
    const Ran ran = RunToEnd(
        {VRAMGATE_PROGRAM, "status", "--target", "unix:" + directory_.At("operator.sock"), "--format", "json"});
    EXPECT_EQ(ran.status, 0) << ran.err;
    return nlohmann::json::parse(ran.out);
  }
  bool Settles(int held, int waiting, int lingering) const {
    return Soon([&] {
      const nlohmann::json status = Status();
      return status["held"] == held && status["waiting"] == waiting && status["lingering"] == lingering;
    });
  }
  int64_t Reserved() const {
    const nlohmann::json status = Status();
    int64_t bytes = 0;
    for (const nlohmann::json& account : status["accounts"]) {
      const nlohmann::json& reserved = account["reserved_bytes"];
      bytes += reserved.is_string() ? std::stoll(reserved.get<std::string>()) : reserved.get<int64_t>();
    }
    return bytes;
  }
  bool Back(Client& client) {
    return Soon([&] { return client.State().connected == 1; });
  }

  const TemporaryDirectory directory_;
  const std::string target_ = "unix:" + directory_.At("plugin.sock");
  int starts_ = 0;
  std::unique_ptr<Child> sidecar_;
};

}  // namespace vramgate
