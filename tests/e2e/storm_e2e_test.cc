// A thousand Sessions at once, many of which are reset at a random moment: everything settles, and the auditor finds
// the ledger clean (~Sidecar).
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <iostream>
#include <random>

#include "admission/mutex.h"
#include "tests/e2e/sidecar.h"

namespace vramgate {
namespace {

// How a caller behaves: what it does, and after how many messages from the sidecar.
struct Manner {
  enum class Then : uint8_t { kHalfClose, kEnd, kReset };
  Then then = Then::kHalfClose;
  int after = 0;  // 0: at once
};

class Tally {
 public:
  void Opened() {
    MutexLock lock(mutex_);
    ++open_;
  }
  void Closed(grpc::StatusCode code, bool granted) {
    MutexLock lock(mutex_);
    --open_;
    granted_ += granted;
    ++codes_[static_cast<size_t>(code)];
    changed_.notify_all();
  }
  void AwaitAll() {
    MutexLock lock(mutex_);
    while (open_ > 0) changed_.wait(mutex_);
  }
  int granted() const {
    MutexLock lock(mutex_);
    return granted_;
  }
  int codes(grpc::StatusCode code) const {
    MutexLock lock(mutex_);
    return codes_[static_cast<size_t>(code)];
  }

 private:
  mutable Mutex mutex_;
  CondVar changed_;
  int open_ ABSL_GUARDED_BY(mutex_) = 0;
  int granted_ ABSL_GUARDED_BY(mutex_) = 0;
  std::array<int, 32> codes_ ABSL_GUARDED_BY(mutex_) = {};
};

// Deletes itself.
class StormCaller final : public grpc::ClientBidiReactor<v1::SessionRequest, v1::SessionResponse> {
 public:
  StormCaller(v1::AdmissionService::Stub& stub, const v1::AdmitRequest& admit, Manner manner, Tally& tally)
      : manner_(manner), tally_(tally) {
    tally_.Opened();
    context_.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    *request_.mutable_admit() = admit;
    stub.async()->Session(&context_, this);
    AddHold();  // of the later writes
    StartWrite(&request_);
    StartRead(&response_);
    StartCall();
  }

  void OnWriteDone(bool) override {
    wrote_ = true;
    if (manner_.after == 0 || due_) Act();
  }
  void OnReadDone(bool ok) override {
    if (!ok) {
      if (!acted_.exchange(true)) RemoveHold();
      return;
    }
    granted_ = granted_ || response_.has_granted();
    if (manner_.after > 0 && (granted_ || ++heard_ >= manner_.after)) {
      due_ = true;
      if (wrote_) Act();  // an answer may come before the word that the question was sent
    }
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    tally_.Closed(status.error_code(), granted_);
    delete this;
  }

 private:
  // Once.
  void Act() {
    if (acted_.exchange(true)) return;
    switch (manner_.then) {
      case Manner::Then::kHalfClose:
        StartWritesDone();
        break;
      case Manner::Then::kEnd:
        end_.mutable_end();
        StartWriteLast(&end_, {});
        break;
      case Manner::Then::kReset:
        context_.TryCancel();
        break;
    }
    RemoveHold();
  }

  const Manner manner_;
  Tally& tally_;
  grpc::ClientContext context_;
  v1::SessionRequest request_;
  v1::SessionRequest end_;
  v1::SessionResponse response_;
  std::atomic<bool> wrote_ = false;
  std::atomic<bool> due_ = false;
  std::atomic<bool> acted_ = false;
  bool granted_ = false;
  int heard_ = 0;
};

TEST(StormE2eTest, AThousandSessionsWithRandomAbortsSettle) {
  unsigned seed = static_cast<unsigned>(testing::UnitTest::GetInstance()->random_seed());
  if (seed == 0) seed = std::random_device{}();
  std::cout << "seed " << seed << " (--gtest_random_seed=N replays)\n";
  std::minstd_rand random(seed);
  Sidecar sidecar("leases: {abort_linger: 20ms}\nqueue: {max_wait: 60s}\n");
  Tally tally;
  constexpr int kCallers = 1000;
  for (int i = 0; i < kCallers; ++i) {
    const bool impatient = random() % 4 == 0;
    Manner manner{.then = static_cast<Manner::Then>(random() % 3), .after = impatient ? 0 : 1000};
    if (manner.then == Manner::Then::kReset && random() % 2 == 0) manner.after = 1;
    const std::string key = random() % 10 == 0 ? std::to_string(random() % 5) : "";
    const int64_t tokens = key.empty() ? 10 + static_cast<int64_t>(random() % 190) : 100;
    v1::AdmissionService::Stub& stub = random() % 2 == 0 ? sidecar.admission() : sidecar.tcp();
    new StormCaller(stub, Ask(tokens, key, ""), manner, tally);
  }
  tally.AwaitAll();
  EXPECT_GT(tally.granted(), kCallers / 3);
  EXPECT_EQ(tally.codes(grpc::StatusCode::DEADLINE_EXCEEDED), 0) << "a caller was never answered";
  EXPECT_EQ(tally.codes(grpc::StatusCode::UNKNOWN) + tally.codes(grpc::StatusCode::INTERNAL), 0);
  EXPECT_TRUE(sidecar.Settles(0, 0, 0));
}

}  // namespace
}  // namespace vramgate
