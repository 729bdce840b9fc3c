// An engine's watch over a gate of one pool of 256 blocks, what it says, and what the pool's account becomes.
#pragma once

#include <condition_variable>
#include <fstream>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include "absl/strings/str_cat.h"
#include "admission/server/engine_watch.h"
#include "admission/units.h"
#include "tests/support/fake_engine.h"

namespace vramgate {

inline constexpr AccountId kPool{1};
inline constexpr int64_t kBlock = 4096 * 32;  // 32 tokens of 4 KiB

inline std::string RealPage(const std::string& name) {
  std::ifstream file(std::string(VRAMGATE_TEST_DATA "/engines/") + name);
  EXPECT_TRUE(file.good()) << name;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

inline std::string Page(int64_t blocks, double used = 0) {
  return FakeEngine::Ok(absl::StrCat("vllm:cache_config_info{block_size=\"32\",num_gpu_blocks=\"", blocks,
                                     "\"} 1\nvllm:kv_cache_usage_perc ", used, "\n"));
}

// What is said, to be waited for.
class Log {
 public:
  EngineWatch::Say say() {
    return [this](bool warning, std::string_view line) {
      const std::lock_guard lock(mutex_);
      lines_.push_back(absl::StrCat(warning ? "W " : "I ", std::string(line)));
      said_.notify_all();
    };
  }
  std::string Wait(size_t count) {
    std::unique_lock lock(mutex_);
    said_.wait(lock, [&] { return lines_.size() >= count; });
    return lines_[count - 1];
  }
  std::vector<std::string> lines() {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable said_;
  std::vector<std::string> lines_;
};

// Hears the rows of the ledger.
class Rows final : public Recorder {
 public:
  void OnAccount(AccountId, const std::string&) override {}
  void OnRow(const LedgerRow& row) override {
    if (row.account == kPool && row.event == LedgerEvent::kCapacity) capacities.push_back(row.capacity_bytes);
  }
  void OnDecision(const Decision&, Instant) override {}
  std::vector<int64_t> capacities;  // read when the watch has stopped
};

// Waits for a grant.
class Waiter final : public Holder {
 public:
  void OnDecision(const Decision& decision) override {
    const std::lock_guard lock(mutex_);
    outcome_ = decision.outcome;
    decided_.notify_all();
  }
  void OnQueued(const LeaseRef&, const QueuePosition&) override {}
  Outcome Wait() {
    std::unique_lock lock(mutex_);
    decided_.wait(lock, [&] { return outcome_.has_value(); });
    return *outcome_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable decided_;
  std::optional<Outcome> outcome_;
};

// One device, one instance with a preallocated pool of `blocks` blocks.
class EngineWatchTest : public testing::Test {
 protected:
  static GateConfig Gate(int64_t blocks) {
    GateConfig config;
    config.devices = {{.id = "0", .capacity_bytes = 80 * kGiB, .ceiling_bytes = 80 * kGiB}};
    config.models = {{.name = "llama", .instances = {{.name = "a", .devices = {0}, .pool_bytes = blocks * kBlock}}}};
    return config;
  }

  WatchedEngine Watched(int64_t blocks = 256) {
    return {.model = "llama",
            .instance = "a",
            .pool = kPool,
            .predicted = {.pool_bytes = blocks * kBlock,
                          .block_tokens = 32,
                          .bytes_per_block = kBlock,
                          .bytes_per_token = 4096,
                          .max_model_len = 1280,
                          .bytes_per_longest_request = 40 * kBlock},
            .poll_interval = absl::Milliseconds(1)};
  }
  WatchedEngine Watched(const FakeEngine& engine, int64_t blocks = 256) {
    WatchedEngine watched = Watched(blocks);
    watched.metrics = *ParseHttpUrl(engine.url("/metrics"));
    return watched;
  }
  std::unique_ptr<EngineWatch> Watch(WatchedEngine watched, absl::Duration timeout = absl::Seconds(60)) {
    return std::make_unique<EngineWatch>(controller_, std::vector{std::move(watched)}, log_.say(), timeout);
  }
  // An answer that was not asked for yet when this is called has been read when it returns.
  static void Reread(FakeEngine& engine) { engine.WaitForRequests(engine.requests() + 2); }

  Controller::Answer Ask(std::string_view id, int64_t blocks, absl::Duration wait = absl::ZeroDuration(),
                         std::shared_ptr<Holder> holder = nullptr) {
    Request request{.request_id = id};
    request.costs[0] = {.kv_bytes = blocks * kBlock};
    request.max_wait = wait;
    return controller_.Admit(request, std::move(holder));
  }
  int64_t capacity() const { return controller_.GetAccount(kPool).capacity_bytes; }

  FakeClock clock_;
  Rows rows_;
  Controller controller_{Gate(256), clock_, &rows_};
  Log log_;
};

}  // namespace vramgate
