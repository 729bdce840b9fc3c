// The real program: serve, check, status, admit and audit, as a shell or a service manager sees them.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/support/child.h"
#include "tests/support/sidecar_yaml.h"
#include "tests/support/temporary_directory.h"

namespace vramgate {
namespace {

class CommandsTest : public testing::Test {
 protected:
  CommandsTest() { WriteConfig(Yaml()); }

  std::string Yaml() const {
    return absl::StrCat(ListenersYaml(directory_.path()), DevicesYaml(1), "models:\n",
                        ModelYaml("m", 2000, R"(      - {name: a, devices: ["0"], kv_pool: 1000MiB})"),
                        "leases: {abort_linger: 100ms}\n");
  }
  void WriteConfig(const std::string& yaml) { std::ofstream(config()) << yaml; }
  std::string At(const char* name) const { return directory_.At(name); }
  std::string config() const { return At("gate.yaml"); }
  std::string gate() const { return "unix:" + At("gate.sock"); }
  std::string operations() const { return "unix:" + At("operator.sock"); }

  // A running sidecar, once it says that it is ready.
  std::unique_ptr<Child> Serve() {
    auto serve = std::make_unique<Child>(
        std::vector<std::string>{VRAMGATE_PROGRAM, "serve", "--config", config(), "--ledger", At("ledger.csv")});
    const std::string ready = serve->ReadLine();
    EXPECT_EQ(ready.substr(0, ready.find(" admin=")), absl::StrCat("ready grpc=", gate(), " operator=", operations()));
    EXPECT_NE(ready.find(" admin=127.0.0.1:"), std::string::npos);
    EXPECT_EQ(ready.find("admin=127.0.0.1:0"), std::string::npos) << "the bound port, not 0";
    return serve;
  }
  std::vector<std::string> AdmitCommand(int64_t prompt_tokens, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> command = {VRAMGATE_PROGRAM,
                                        "admit",
                                        "--target",
                                        gate(),
                                        "--model",
                                        "m",
                                        "--prompt-tokens",
                                        std::to_string(prompt_tokens),
                                        "--max-output-tokens",
                                        "1"};
    command.insert(command.end(), more.begin(), more.end());
    return command;
  }
  nlohmann::json Status() const {
    const Ran ran = RunToEnd({VRAMGATE_PROGRAM, "status", "--target", operations(), "--format", "json"});
    EXPECT_EQ(ran.status, 0) << ran.err;
    return nlohmann::json::parse(ran.out, nullptr, false);
  }
  bool Eventually(const std::function<bool(const nlohmann::json&)>& holds) const {
    for (int i = 0; i < 600; ++i) {
      if (holds(Status())) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
  // Ends it, and its ledger must be clean.
  void Stop(Child& serve) const {
    serve.Signal(SIGTERM);
    EndsClean(serve);
  }
  void EndsClean(Child& serve) const {
    EXPECT_EQ(serve.Wait(), 0) << serve.ReadErrors();
    const Ran audit = RunToEnd({VRAMGATE_PROGRAM, "audit", At("ledger.csv"), "--format", "json"});
    EXPECT_EQ(audit.status, 0) << audit.out << audit.err;
    const nlohmann::json report = nlohmann::json::parse(audit.out, nullptr, false);
    EXPECT_EQ(report["overruns"], 0);
    EXPECT_EQ(report["leaks"], 0);
    EXPECT_EQ(report["leaked_bytes"], 0);
    EXPECT_EQ(report["complete"], true);
    EXPECT_GT(report["rows"], 0);
  }

  TemporaryDirectory directory_;
};

TEST_F(CommandsTest, AdmitSaysWhatItHoldsAndGivesItBackAfterHold) {
  const auto serve = Serve();
  const Ran ran = RunToEnd(AdmitCommand(99, {"--hold", "10ms", "--format", "json"}));
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(ran.err, "");
  const nlohmann::json json = nlohmann::json::parse(ran.out, nullptr, false);
  EXPECT_EQ(json["instance"], "a");
  EXPECT_EQ(json["devices"][0]["device"], "0");
  EXPECT_EQ(json["devices"][0]["vram_bytes"], (100 << 20) + 100 * 128);
  EXPECT_EQ(json["vram_bytes"], (100 << 20) + 100 * 128);
  EXPECT_GE(json["queued_ms"], 0);
  EXPECT_EQ(json["lease"].get<std::string>().rfind("leases/", 0), 0u);
  EXPECT_TRUE(Eventually([](const auto& status) { return status["held"] == 0 && status["lingering"] == 0; }));
  Stop(*serve);
}

TEST_F(CommandsTest, AdmitGivesItBackOnCtrlC) {
  const auto serve = Serve();
  for (const int signal : {SIGINT, SIGTERM}) {
    Child admit(AdmitCommand(99));
    EXPECT_NE(admit.ReadLine(), "");
    EXPECT_EQ(Status()["held"], 1);
    admit.Signal(signal);
    EXPECT_EQ(admit.Wait(), 0);
    EXPECT_NE(admit.ReadErrors().find("Ctrl-C"), std::string::npos);
    EXPECT_TRUE(Eventually([](const auto& status) { return status["held"] == 0; }));
    EXPECT_EQ(Status()["lingering"], 0) << "a clean end";
  }
  Stop(*serve);
}

TEST_F(CommandsTest, AdmitWaitsAndGivesUpOnCtrlC) {
  const auto serve = Serve();
  Child holder(AdmitCommand(999));
  EXPECT_NE(holder.ReadLine(), "");
  Child waiter(AdmitCommand(9));
  EXPECT_TRUE(Eventually([](const auto& status) { return status["waiting"] == 1; }));
  EXPECT_EQ(Status()["bottleneck"], "pool/m/a");
  waiter.Signal(SIGINT);
  EXPECT_EQ(waiter.Wait(), 1);
  EXPECT_EQ(waiter.ReadAll(), "");
  EXPECT_TRUE(Eventually([](const auto& status) { return status["waiting"] == 0; }));
  holder.Signal(SIGINT);
  EXPECT_EQ(holder.Wait(), 0);
  Stop(*serve);
}

TEST_F(CommandsTest, AdmitsExitCodeSaysWhetherToRetry) {
  const auto serve = Serve();
  const auto refused = [&](const Ran& ran, int status, const char* reason) {
    EXPECT_EQ(ran.status, status) << ran.err;
    EXPECT_EQ(nlohmann::json::parse(ran.out, nullptr, false)["reason"], reason) << ran.out;
    EXPECT_NE(ran.err, "") << "words, too";
  };
  refused(RunToEnd(AdmitCommand(1500)), 4, "NEVER_FITS");
  refused(RunToEnd(AdmitCommand(0)), 4, "INVALID_REQUEST");
  refused(RunToEnd(AdmitCommand(9, {"--instance", "z"})), 4, "UNKNOWN_MODEL");
  Child holder(AdmitCommand(999));
  EXPECT_NE(holder.ReadLine(), "");
  const Ran now = RunToEnd(AdmitCommand(9, {"--max-wait", "0s"}));
  refused(now, 3, "BUDGET_EXHAUSTED");
  EXPECT_GT(nlohmann::json::parse(now.out, nullptr, false)["retry_after_ms"], 0);
  refused(RunToEnd(AdmitCommand(9, {"--max-wait", "50ms"})), 3, "QUEUE_TIMEOUT");
  holder.Signal(SIGINT);
  holder.Wait();
  Stop(*serve);
}

TEST_F(CommandsTest, WithoutAServerItSaysWhichTarget) {
  const Ran admit = RunToEnd(AdmitCommand(9));
  EXPECT_EQ(admit.status, 1);
  EXPECT_NE(admit.err.find(gate()), std::string::npos) << admit.err;
  const Ran status = RunToEnd({VRAMGATE_PROGRAM, "status", "--target", operations()});
  EXPECT_EQ(status.status, 1);
  EXPECT_NE(status.err.find(operations()), std::string::npos) << status.err;
}

TEST_F(CommandsTest, StatusShowsBarsToPeople) {
  const auto serve = Serve();
  const Ran ran = RunToEnd({VRAMGATE_PROGRAM, "status", "--target", operations()});
  EXPECT_EQ(ran.status, 0);
  EXPECT_NE(ran.out.find("pool/m/a"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("0 held, 0 lingering, 0 waiting"), std::string::npos) << ran.out;
  Stop(*serve);
}

TEST_F(CommandsTest, SigtermRefusesWaitersAtOnceAndLetsHoldersFinish) {
  const auto serve = Serve();
  Child holder(AdmitCommand(999));
  EXPECT_NE(holder.ReadLine(), "");
  Child waiter(AdmitCommand(9, {"--format", "json"}));
  EXPECT_TRUE(Eventually([](const auto& status) { return status["waiting"] == 1; }));
  serve->Signal(SIGTERM);
  EXPECT_EQ(nlohmann::json::parse(waiter.ReadAll(), nullptr, false)["reason"], "DRAINING");
  EXPECT_EQ(waiter.Wait(), 3);
  EXPECT_TRUE(serve->Running()) << "a holder has not finished";
  EXPECT_EQ(Status()["held"], 1);
  EXPECT_EQ(nlohmann::json::parse(RunToEnd(AdmitCommand(9)).out, nullptr, false)["reason"], "DRAINING");
  holder.Signal(SIGINT);
  EXPECT_EQ(holder.Wait(), 0);
  EndsClean(*serve);
}

// Holders that do not finish are cut off when drain.grace is over, and that is no failure.
TEST_F(CommandsTest, TheGraceOfADrainEnds) {
  WriteConfig(Yaml() + "drain: {grace: 100ms}\n");
  const auto serve = Serve();
  Child holder(AdmitCommand(999));
  EXPECT_NE(holder.ReadLine(), "");
  Stop(*serve);
  EXPECT_NE(holder.Wait(), 0);
}

TEST_F(CommandsTest, ASecondSignalEndsAtOnce) {
  const auto serve = Serve();
  Child holder(AdmitCommand(999));
  EXPECT_NE(holder.ReadLine(), "");
  serve->Signal(SIGTERM);
  EXPECT_TRUE(Eventually([](const auto& status) { return status["draining"] == true; }));
  serve->Signal(SIGTERM);
  EXPECT_EQ(serve->Wait(), 1);
}

// The next one takes over the socket that a killed one left; the ledger tells that the first run was cut short.
TEST_F(CommandsTest, ServeStartsAgainAfterAKill) {
  const auto killed = Serve();
  killed->Signal(SIGKILL);
  EXPECT_EQ(killed->Wait(), 128 + SIGKILL);
  EXPECT_EQ(RunToEnd({VRAMGATE_PROGRAM, "audit", At("ledger.csv")}).status, 1) << "no STOP: incomplete";
  const auto serve = Serve();
  EXPECT_EQ(Status()["held"], 0);
  serve->Signal(SIGTERM);
  EXPECT_EQ(serve->Wait(), 0);
}

TEST_F(CommandsTest, ServeRefusesASocketInUse) {
  const auto serve = Serve();
  const Ran second = RunToEnd({VRAMGATE_PROGRAM, "serve", "--config", config()});
  EXPECT_EQ(second.status, 1);
  EXPECT_EQ(second.out, "");
  EXPECT_NE(second.err.find("gate.yaml:2: listeners.grpc[0]: another process listens at"), std::string::npos)
      << second.err;
  Stop(*serve);
}

TEST_F(CommandsTest, ServeRefusesALedgerInUse) {
  const auto serve = Serve();
  const Ran second = RunToEnd({VRAMGATE_PROGRAM, "serve", "--config", config(), "--ledger", At("ledger.csv")});
  EXPECT_EQ(second.status, 1);
  EXPECT_NE(second.err.find("another process writes it"), std::string::npos) << second.err;
  Stop(*serve);
}

TEST_F(CommandsTest, ServeRefusesAPortInUse) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const std::string taken = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  WriteConfig(absl::StrReplaceAll(
      Yaml(), {{absl::StrCat("[\"", gate(), "\"]"), absl::StrCat("[{address: \"", taken, "\", insecure: true}]")}}));
  const Ran ran = RunToEnd({VRAMGATE_PROGRAM, "serve", "--config", config(), "--ledger", At("ledger.csv")});
  close(fd);
  EXPECT_EQ(ran.status, 1);
  EXPECT_NE(ran.err.find("gate.yaml:2: listeners.grpc[0]: " + taken + ": cannot listen there"), std::string::npos)
      << ran.err;
  EXPECT_EQ(RunToEnd({VRAMGATE_PROGRAM, "audit", At("ledger.csv")}).status, 0) << "a start that failed is a whole run";
}

TEST_F(CommandsTest, ABadConfigIsWrongInput) {
  WriteConfig("devices:\n  - {id: \"0\", simulated: {total: 80GB}, headrom: 1GiB}\n");
  for (const char* command : {"serve", "check"}) {
    const Ran ran = RunToEnd({VRAMGATE_PROGRAM, command, "--config", config()});
    EXPECT_EQ(ran.status, 2) << command;
    EXPECT_EQ(ran.out, "");
    EXPECT_NE(ran.err.find("gate.yaml:2: devices[0].headrom"), std::string::npos) << ran.err;
  }
  EXPECT_EQ(RunToEnd({VRAMGATE_PROGRAM, "check", "--config", At("none.yaml")}).status, 2);
  EXPECT_EQ(RunToEnd({VRAMGATE_PROGRAM, "serve"}).status, 2);
  EXPECT_EQ(RunToEnd({VRAMGATE_PROGRAM, "admit", "--target", gate()}).status, 2);
}

// What does not fit its device is found before anything listens, by check too.
TEST_F(CommandsTest, APoolThatDoesNotFitIsWrongInput) {
  WriteConfig(absl::StrReplaceAll(Yaml(), {{"1000MiB", "80GiB"}}));
  for (const char* command : {"serve", "check"}) {
    const Ran ran = RunToEnd({VRAMGATE_PROGRAM, command, "--config", config()});
    EXPECT_EQ(ran.status, 2) << command;
    EXPECT_NE(ran.err.find("gate.yaml:16: models[0].instances[0]: kv_pool: 80GiB does not fit device 0"),
              std::string::npos)
        << ran.err;
  }
}

TEST_F(CommandsTest, AModelThatCannotBeReadIsWrongInput) {
  WriteConfig(absl::StrReplaceAll(
      Yaml(), {{"shape: {parameters: 1000000, layers: 1, heads: 2, hidden: 64}", "source: none/config.json"}}));
  for (const char* command : {"serve", "check"}) {
    const Ran ran = RunToEnd({VRAMGATE_PROGRAM, command, "--config", config()});
    EXPECT_EQ(ran.status, 2) << command;
    EXPECT_NE(ran.err.find("models[0]"), std::string::npos) << ran.err;
    EXPECT_NE(ran.err.find("none/config.json"), std::string::npos) << ran.err;
  }
}

TEST_F(CommandsTest, CheckPrintsAConfigThatItAccepts) {
  const Ran yaml = RunToEnd({VRAMGATE_PROGRAM, "check", "--config", config()});
  EXPECT_EQ(yaml.status, 0) << yaml.err;
  WriteConfig(yaml.out);
  const Ran again = RunToEnd({VRAMGATE_PROGRAM, "check", "--config", config()});
  EXPECT_EQ(again.out, yaml.out);
  const Ran json = RunToEnd({VRAMGATE_PROGRAM, "check", "--config", config(), "--format", "json"});
  EXPECT_EQ(nlohmann::json::parse(json.out, nullptr, false)["models"][0]["name"], "m");
}

TEST_F(CommandsTest, AuditsExitCodeIsItsFinding) {
  const std::string ledgers = std::string(VRAMGATE_TEST_DATA) + "/ledgers/";
  const auto audit = [&](const std::string& file) { return RunToEnd({VRAMGATE_PROGRAM, "audit", file}).status; };
  EXPECT_EQ(audit(ledgers + "clean.csv"), 0);
  EXPECT_EQ(audit(ledgers + "overrun.csv"), 1);
  EXPECT_EQ(audit(ledgers + "leak.csv"), 1);
  EXPECT_EQ(audit(ledgers + "no_stop.csv"), 1);
  EXPECT_EQ(audit(ledgers + "none.csv"), 2);
  EXPECT_EQ(audit(config()), 2) << "not a ledger";
}

}  // namespace
}  // namespace vramgate
