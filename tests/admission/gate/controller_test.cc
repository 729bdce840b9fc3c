#include "admission/gate/controller.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "tests/admission/server/small_gate.h"

namespace vramgate {
namespace {

// Keeps what it hears, and asks the Controller back each time: under its lock that would not return.
class Keeper final : public Holder {
 public:
  explicit Keeper(Controller& controller) : controller_(controller) {}
  void OnDecision(const Decision& decision) override {
    (void)controller_.GetSnapshot();
    decisions.push_back(decision);
    if (end_grants && decision.kind == Decision::Kind::kAnswer && decision.outcome == Outcome::kGranted) {
      controller_.End(decision.lease, Gate::EndKind::kCompleted);
    }
  }
  void OnQueued(const LeaseRef&, const QueuePosition& position) override {
    (void)controller_.GetSnapshot();
    positions.push_back(position.position);
  }
  std::vector<Decision> decisions;
  std::vector<int> positions;
  bool end_grants = false;

 private:
  Controller& controller_;
};

class ControllerTest : public testing::Test {
 protected:
  ControllerTest() : controller_(SmallGate(), clock_, nullptr) {}
  ~ControllerTest() override {
    clock_.Advance(absl::Hours(1));
    controller_.Advance();
    EXPECT_EQ(controller_.GetAccount(AccountId{0}).reserved_bytes, 0);
  }
  std::shared_ptr<Keeper> NewKeeper() { return std::make_shared<Keeper>(controller_); }
  Controller::Answer Admit(std::string_view id, int64_t bytes, std::shared_ptr<Holder> holder, bool stream = true) {
    Request request = Asks(id, bytes);
    request.stream = stream;
    return controller_.Admit(request, std::move(holder));
  }

  FakeClock clock_;
  Controller controller_;
};

// The caller's own answer is returned, not delivered.
TEST_F(ControllerTest, AnAnswerAtOnceIsReturned) {
  const auto a = NewKeeper();
  const Controller::Answer answer = Admit("a", kGiB, a);
  EXPECT_TRUE(answer.decided);
  EXPECT_EQ(answer.decision.outcome, Outcome::kGranted);
  EXPECT_TRUE(a->decisions.empty());
  controller_.End(answer.lease, Gate::EndKind::kCompleted);
  EXPECT_TRUE(a->decisions.empty()) << "who ends a lease need not be told";
}

TEST_F(ControllerTest, AWaitersAnswerIsDeliveredOnceByWhoeverMakesRoom) {
  const auto a = NewKeeper();
  const auto b = NewKeeper();
  const Controller::Answer held = Admit("a", 9 * kGiB, a);
  const Controller::Answer waiting = Admit("b", 9 * kGiB, b);
  EXPECT_FALSE(waiting.decided);
  EXPECT_EQ(waiting.position.position, 1);
  controller_.End(held.lease, Gate::EndKind::kCompleted);
  ASSERT_EQ(b->decisions.size(), 1u);
  EXPECT_EQ(b->decisions[0].outcome, Outcome::kGranted);
  controller_.End(waiting.lease, Gate::EndKind::kCompleted);
  EXPECT_EQ(b->decisions.size(), 1u);
}

// A holder may end its lease from inside of its grant, and so on down the queue.
TEST_F(ControllerTest, AHolderMayCallBackFromItsDecision) {
  std::vector<std::shared_ptr<Keeper>> waiters;
  const Controller::Answer first = Admit("first", 9 * kGiB, NewKeeper());
  for (int i = 0; i < 50; ++i) {
    waiters.push_back(NewKeeper());
    waiters.back()->end_grants = true;
    Admit("", 9 * kGiB, waiters.back());
  }
  controller_.End(first.lease, Gate::EndKind::kCompleted);
  for (const auto& waiter : waiters) EXPECT_EQ(waiter->decisions.size(), 1u);
  EXPECT_EQ(controller_.GetStats().outcomes()[0][static_cast<size_t>(Outcome::kCompleted)], 51);
}

TEST_F(ControllerTest, WhoCancelsHearsNoMore) {
  const auto a = NewKeeper();
  const auto b = NewKeeper();
  const Controller::Answer held = Admit("a", 9 * kGiB, a);
  const Controller::Answer waiting = Admit("b", 9 * kGiB, b);
  controller_.Cancel(waiting.lease);
  controller_.End(held.lease, Gate::EndKind::kCompleted);
  EXPECT_TRUE(b->decisions.empty());
  EXPECT_EQ(b.use_count(), 1) << "its holder is let go";
}

// Positions are for streams: a unary call has nowhere to hear them.
TEST_F(ControllerTest, OnlyStreamsHearPositions) {
  const Controller::Answer held = Admit("a", 9 * kGiB, NewKeeper());
  const auto stream = NewKeeper();
  const auto unary = NewKeeper();
  const Controller::Answer first = Admit("b", 9 * kGiB, stream);
  const Controller::Answer second = Admit("c", 9 * kGiB, unary, /*stream=*/false);
  controller_.TellPositions();
  EXPECT_EQ(stream->positions, std::vector<int>{1});
  EXPECT_TRUE(unary->positions.empty());
  controller_.Cancel(second.lease);
  controller_.Cancel(first.lease);
  controller_.End(held.lease, Gate::EndKind::kCompleted);
}

TEST_F(ControllerTest, AUnaryHolderIsLetGoWithItsAnswer) {
  const auto unary = NewKeeper();
  const Controller::Answer held = Admit("a", 9 * kGiB, NewKeeper());
  const Controller::Answer waiting = Admit("b", 9 * kGiB, unary, /*stream=*/false);
  controller_.End(held.lease, Gate::EndKind::kCompleted);
  EXPECT_EQ(unary->decisions.size(), 1u);
  EXPECT_EQ(unary.use_count(), 1);
  EXPECT_TRUE(controller_.Release(waiting.lease.id, 0, Gate::EndKind::kCompleted));
  EXPECT_EQ(unary->decisions.size(), 1u);
}

TEST_F(ControllerTest, ARefusalBeforeTheGateIsCounted) {
  controller_.CountRefusal(Outcome::kRejectedUnknownModel, "r-1", "team-a");
  EXPECT_EQ(controller_.GetStats().outcomes().back()[static_cast<size_t>(Outcome::kRejectedUnknownModel)], 1);
}

// The thread that sleeps until something is due is woken by whoever brings something due sooner.
TEST_F(ControllerTest, ASoonerTimerWakesTheSleeper) {
  const Controller::Answer held = Admit("a", 9 * kGiB, NewKeeper());
  std::thread sleeper([&] { controller_.WaitUntilDue(absl::Hours(24)); });
  const Controller::Answer waiting = Admit("b", 9 * kGiB, NewKeeper());  // waits 30 s at most
  sleeper.join();
  controller_.Cancel(waiting.lease);
  controller_.End(held.lease, Gate::EndKind::kCompleted);
}

TEST_F(ControllerTest, WakeEndsASleepThatHasNotBegun) {
  controller_.Wake();
  controller_.WaitUntilDue(absl::Hours(24));
  std::thread sleeper([&] { controller_.WaitUntilDue(absl::Hours(24)); });
  controller_.Wake();
  sleeper.join();
}

TEST_F(ControllerTest, TheLastHoldersEndWakesTheDrain) {
  const Controller::Answer held = Admit("a", 9 * kGiB, NewKeeper());
  controller_.Drain();
  std::thread last([&] { controller_.End(held.lease, Gate::EndKind::kCompleted); });
  EXPECT_TRUE(controller_.WaitUntilIdle(absl::Hours(1)));
  last.join();
}

}  // namespace
}  // namespace vramgate
