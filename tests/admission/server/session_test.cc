#include "admission/server/session.h"

#include <gtest/gtest.h>

#include <functional>
#include <utility>

#include "tests/admission/server/session_rig.h"

namespace vramgate {
namespace {

using Kind = SessionFinish::Kind;
using SessionTest = SessionRig;

TEST_F(SessionTest, GrantsAtOnceWhereThereIsRoom) {
  auto a = Admit("a", 3 * kGiB);
  EXPECT_EQ(a->Heard(), "granted");
  EXPECT_TRUE(a->session->held());
  EXPECT_EQ(reserved(), 3 * kGiB);
  a->session->End(Gate::EndKind::kCompleted);
  EXPECT_TRUE(a->FinishedAs(Kind::kOk));
  EXPECT_EQ(reserved(), 0);
  a->Close();
  EXPECT_EQ(recorder.Rows(LedgerEvent::kLinger), 0);
}

TEST_F(SessionTest, WaitsThenIsGranted) {
  auto a = Admit("a", 9 * kGiB);
  auto b = Admit("b", 9 * kGiB);
  EXPECT_EQ(b->Heard(), "queued");
  EXPECT_EQ(b->stream.messages[0].position.position, 1);
  a->session->End(Gate::EndKind::kCompleted);
  EXPECT_EQ(b->Heard(), "queued granted");
  EXPECT_EQ(reserved(), 9 * kGiB);
  b->session->End(Gate::EndKind::kCompleted);
  a->Close();
  b->Close();
}

// A grant that comes while "queued" is still being written is not lost, and comes after it.
TEST_F(SessionTest, AGrantWaitsForTheWriteUnderWay) {
  auto a = Admit("a", 9 * kGiB);
  auto b = Admit("b", 9 * kGiB);
  a->session->End(Gate::EndKind::kCompleted);
  ASSERT_EQ(b->stream.messages.size(), 1u);  // FakeStream checks that no second Write was begun
  EXPECT_EQ(b->Heard(), "queued granted");
  b->session->End(Gate::EndKind::kCompleted);
  a->Close();
  b->Close();
}

TEST_F(SessionTest, ARefusalFinishesTheStream) {
  auto never = Admit("never", 10 * kGiB);
  EXPECT_EQ(never->Refused(), Outcome::kRejectedNeverFits);
  never->Close();
  auto a = Admit("a", 9 * kGiB);
  auto b = Admit("b", kGiB);
  Pass(absl::Seconds(30));
  EXPECT_EQ(b->Refused(), Outcome::kRejectedQueueTimeout);
  b->Close();
  a->session->End(Gate::EndKind::kCompleted);
  a->Close();
}

// A half-close and a broken connection look alike until the status has been sent: nothing is freed before it is known.
TEST_F(SessionTest, AHalfCloseIsCompletedOnceTheStreamIsClosed) {
  auto a = Admit("a", 3 * kGiB);
  a->Flush();
  a->session->HalfClose();
  EXPECT_TRUE(a->FinishedAs(Kind::kOk));
  EXPECT_EQ(reserved(), 3 * kGiB);
  a->Close(/*cancelled=*/false);
  EXPECT_EQ(reserved(), 0);
  EXPECT_EQ(recorder.Rows(LedgerEvent::kLinger), 0);
  EXPECT_EQ(controller.GetStats().outcomes()[0][static_cast<size_t>(Outcome::kCompleted)], 1);
}

TEST_F(SessionTest, AHalfCloseOfABrokenConnectionLingers) {
  auto a = Admit("a", 3 * kGiB);
  a->Flush();
  a->session->HalfClose();
  a->Close(/*cancelled=*/true);
  EXPECT_EQ(lingering(), 3 * kGiB);
  Pass(absl::Seconds(2));
  EXPECT_EQ(reserved(), 0);
  EXPECT_EQ(controller.GetStats().outcomes()[0][static_cast<size_t>(Outcome::kAborted)], 1);
}

// All in one message, as grpcurl sends it: the grant is still told.
TEST_F(SessionTest, AHalfCloseBeforeTheGrantIsWrittenStillTellsIt) {
  auto a = Admit("a", 3 * kGiB);
  a->session->HalfClose();
  a->session->HalfClose();
  EXPECT_FALSE(a->stream.finish);
  EXPECT_EQ(a->Heard(), "granted");
  EXPECT_TRUE(a->FinishedAs(Kind::kOk));
  a->Close();
  EXPECT_EQ(reserved(), 0);
}

TEST_F(SessionTest, AHalfCloseWhileWaitingGivesUpThePlace) {
  auto a = Admit("a", 9 * kGiB);
  auto b = Admit("b", 9 * kGiB);
  b->session->HalfClose();
  EXPECT_TRUE(b->FinishedAs(Kind::kCancelled));
  EXPECT_EQ(controller.GetSnapshot().waiting, 0);
  b->Close();
  a->session->End(Gate::EndKind::kCompleted);
  a->Close();
}

TEST_F(SessionTest, ACancelWhileHeldLingers) {
  auto a = Admit("a", 9 * kGiB);
  auto b = Admit("b", 9 * kGiB);
  a->session->Cancelled();
  EXPECT_EQ(lingering(), 9 * kGiB);
  EXPECT_EQ(b->Heard(), "queued") << "the engine may still use the bytes";
  a->Close(true);
  Pass(absl::Seconds(2));
  EXPECT_EQ(b->Heard(), "queued granted");
  b->session->End(Gate::EndKind::kCompleted);
  b->Close();
}

TEST_F(SessionTest, ACancelWhileWaitingLetsTheNextGo) {
  auto a = Admit("a", 4 * kGiB);
  auto large = Admit("large", 9 * kGiB);
  Pass(absl::Seconds(2));  // from here on nobody may pass it
  auto small = Admit("small", kGiB);
  EXPECT_EQ(small->Heard(), "queued");
  large->session->Cancelled();
  EXPECT_TRUE(large->FinishedAs(Kind::kCancelled));
  EXPECT_TRUE(small->session->held());
  large->Close(true);
  small->session->End(Gate::EndKind::kCompleted);
  a->session->End(Gate::EndKind::kCompleted);
  small->Close();
  a->Close();
}

// The cancellation of a call may be reported before its first message is.
TEST_F(SessionTest, AnAdmitAfterTheEndAsksNothing) {
  auto a = NewCaller();
  a->session->Cancelled();
  Request request = Asks("a", kGiB);
  request.stream = true;
  a->session->Admit(request);
  EXPECT_TRUE(a->FinishedAs(Kind::kCancelled));
  EXPECT_EQ(reserved(), 0);
  a->Close(true);
  EXPECT_TRUE(recorder.decisions.empty());
}

TEST_F(SessionTest, AnAdmitAfterARefusalAsksNothing) {
  auto a = NewCaller();
  a->session->Refuse({Outcome::kRejectedInvalidRequest, "model", "missing"});
  a->session->Admit(Asks("a", kGiB));
  EXPECT_FALSE(a->session->Reattach(LeaseId{1}, 0));
  EXPECT_TRUE(a->FinishedAs(Kind::kBroken));
  EXPECT_EQ(a->stream.finish->refusal.field, "model");
  a->Close();
  EXPECT_EQ(reserved(), 0);
}

TEST_F(SessionTest, ARefusalWhileHeldLingers) {
  auto a = Admit("a", 3 * kGiB);
  a->session->Refuse({Outcome::kRejectedInvalidRequest, "admit", "sent twice"});
  EXPECT_FALSE(a->stream.finish) << "the grant is still being written";
  EXPECT_TRUE(a->FinishedAs(Kind::kBroken));
  EXPECT_EQ(lingering(), 3 * kGiB);
  a->Close();
}

TEST_F(SessionTest, ARefusalWhileWaitingGivesUpThePlace) {
  auto a = Admit("a", 9 * kGiB);
  auto b = Admit("b", kGiB);
  b->session->Refuse({Outcome::kRejectedInvalidRequest, "msg", "an empty message"});
  EXPECT_TRUE(b->FinishedAs(Kind::kBroken));
  EXPECT_EQ(controller.GetSnapshot().waiting, 0);
  b->Close();
  a->session->End(Gate::EndKind::kCompleted);
  a->Close();
}

TEST_F(SessionTest, ANewerSessionWithTheKeyTakesTheLeaseOver) {
  auto old = Admit("same", 3 * kGiB);
  const LeaseId id = old->session->lease().id;
  auto young = Admit("same", 3 * kGiB);
  EXPECT_EQ(old->Refused(), Outcome::kSuperseded);
  EXPECT_EQ(young->Heard(), "granted");
  EXPECT_EQ(young->session->lease().id, id);
  old->session->Cancelled();
  old->Close(true);
  EXPECT_EQ(reserved(), 3 * kGiB) << "the old stream's end releases nothing";
  EXPECT_EQ(lingering(), 0);
  young->session->End(Gate::EndKind::kCompleted);
  young->Close();
}

TEST_F(SessionTest, ANewerSessionWithTheKeyTakesThePlaceOver) {
  auto a = Admit("a", 9 * kGiB);
  auto old = Admit("same", kGiB);
  auto behind = Admit("behind", 9 * kGiB);
  auto young = Admit("same", kGiB);
  EXPECT_EQ(old->Refused(), Outcome::kSuperseded);
  EXPECT_EQ(young->Heard(), "queued");
  EXPECT_EQ(young->stream.messages[0].position.ahead_total, 0) << "its place, not the end of the queue";
  old->Close();
  a->session->End(Gate::EndKind::kCompleted);
  EXPECT_EQ(young->Heard(), "queued granted");
  EXPECT_EQ(behind->Heard(), "queued");
  young->session->End(Gate::EndKind::kCompleted);
  behind->session->End(Gate::EndKind::kCompleted);
  a->Close();
  young->Close();
  behind->Close();
}

TEST_F(SessionTest, TheSameKeyWithOtherContentIsRefused) {
  auto a = Admit("same", 3 * kGiB);
  auto b = Admit("same", 4 * kGiB);
  EXPECT_EQ(b->Refused(), Outcome::kRejectedInvalidRequest);
  EXPECT_TRUE(a->session->held());
  b->Close();
  a->session->End(Gate::EndKind::kCompleted);
  a->Close();
}

TEST_F(SessionTest, ARevocationIsToldAndAcknowledged) {
  auto a = Admit("a", 3 * kGiB);
  ASSERT_TRUE(controller.Revoke(a->session->lease().id, absl::Seconds(5), "maintenance"));
  EXPECT_EQ(a->Heard(), "granted revoke");
  EXPECT_EQ(a->stream.messages[1].decision.grace, absl::Seconds(5));
  EXPECT_EQ(a->stream.messages[1].decision.note.view(), "maintenance");
  EXPECT_EQ(reserved(), 3 * kGiB);
  a->session->RevokeAck(0);
  EXPECT_EQ(a->Refused(), Outcome::kRevoked);
  EXPECT_EQ(reserved(), 0);
  a->Close();
}

TEST_F(SessionTest, ARevocationWhoseGraceIsOverEndsTheStreamAndLingers) {
  auto a = Admit("a", 3 * kGiB);
  a->Flush();
  ASSERT_TRUE(controller.Revoke(a->session->lease().id, absl::Seconds(5), "maintenance"));
  Pass(absl::Seconds(5));
  EXPECT_EQ(a->Refused(), Outcome::kRevoked);
  EXPECT_EQ(lingering(), 3 * kGiB);
  a->Close();
  Pass(absl::Seconds(10));  // the request's drain time
  EXPECT_EQ(reserved(), 0);
}

TEST_F(SessionTest, WhoTakesUpALeaseUnderRevocationHearsOfIt) {
  auto a = Admit("a", 3 * kGiB);
  a->Flush();
  ASSERT_TRUE(controller.Revoke(a->session->lease().id, absl::Seconds(5), "maintenance"));
  Pass(absl::Seconds(2));
  auto b = Admit("a", 3 * kGiB);
  EXPECT_EQ(b->Heard(), "granted revoke");
  EXPECT_EQ(b->stream.messages[1].decision.grace, absl::Seconds(3));
  auto c = NewCaller();
  ASSERT_TRUE(c->session->Reattach(b->session->lease().id, 0));
  EXPECT_EQ(c->Heard(), "granted revoke");
  c->session->RevokeAck(0);
  EXPECT_EQ(c->Refused(), Outcome::kRevoked);
  a->Close();
  b->Close();
  c->Close();
}

TEST_F(SessionTest, AReleaseByNameEndsTheStream) {
  auto a = Admit("a", 3 * kGiB);
  a->Flush();
  const LeaseId id = a->session->lease().id;
  EXPECT_FALSE(controller.Release(id, /*caller=*/7, Gate::EndKind::kCompleted)) << "another listener's";
  EXPECT_TRUE(controller.Release(id, 0, Gate::EndKind::kCompleted));
  EXPECT_TRUE(a->FinishedAs(Kind::kOk));
  EXPECT_EQ(reserved(), 0);
  a->Close();
  EXPECT_FALSE(controller.Release(id, 0, Gate::EndKind::kCompleted));
}

TEST_F(SessionTest, AReattachRevivesWhatABrokenStreamHeld) {
  auto a = Admit("a", 3 * kGiB);
  const LeaseId id = a->session->lease().id;
  a->session->Cancelled();
  a->Close(true);
  EXPECT_EQ(lingering(), 3 * kGiB);
  auto b = NewCaller();
  EXPECT_FALSE(b->session->Reattach(id, /*caller=*/7));
  ASSERT_TRUE(b->session->Reattach(id, 0));
  EXPECT_EQ(b->Heard(), "granted");
  EXPECT_EQ(lingering(), 0);
  Pass(absl::Hours(1));
  EXPECT_EQ(reserved(), 3 * kGiB);
  b->session->End(Gate::EndKind::kCompleted);
  b->Close();
}

TEST_F(SessionTest, AUnaryAnswerLeavesTheLeaseToItsTtl) {
  auto a = Admit("a", 3 * kGiB, Session::Shape::kUnary);
  EXPECT_EQ(a->Heard(), "");
  ASSERT_TRUE(a->FinishedAs(Kind::kOk));
  EXPECT_EQ(a->stream.finish->decision.outcome, Outcome::kGranted);
  a->Close();
  EXPECT_EQ(reserved(), 3 * kGiB);
  Pass(absl::Seconds(10));  // not confirmed: its answer may have been lost
  EXPECT_EQ(lingering(), 3 * kGiB);
}

TEST_F(SessionTest, AUnaryCallHearsNothingWhileItWaits) {
  auto a = Admit("a", 9 * kGiB);
  auto b = Admit("b", 9 * kGiB, Session::Shape::kUnary);
  controller.TellPositions();
  EXPECT_EQ(b->Heard(), "");
  a->session->End(Gate::EndKind::kCompleted);
  EXPECT_TRUE(b->FinishedAs(Kind::kOk));
  EXPECT_TRUE(controller.Release(b->session->lease().id, 0, Gate::EndKind::kCompleted));
  a->Close();
  b->Close();
}

TEST_F(SessionTest, AProxyHearsOnceThatItIsQueued) {
  auto a = Admit("a", 9 * kGiB);
  auto b = Admit("b", kGiB);
  auto c = Admit("c", 9 * kGiB, Session::Shape::kProxy);
  b->session->Cancelled();
  controller.TellPositions();
  EXPECT_EQ(c->Heard(), "queued");
  c->session->Cancelled();
  a->session->End(Gate::EndKind::kCompleted);
  a->Close();
  b->Close(true);
  c->Close(true);
}

TEST_F(SessionTest, PositionsAreToldWhenTheyChange) {
  auto a = Admit("a", 9 * kGiB);
  auto b = Admit("b", 9 * kGiB);
  auto c = Admit("c", 9 * kGiB);
  controller.TellPositions();
  EXPECT_EQ(c->Heard(), "queued");
  b->session->Cancelled();
  controller.TellPositions();
  controller.TellPositions();
  EXPECT_EQ(c->Heard(), "queued queued");
  EXPECT_EQ(c->stream.messages[0].position.ahead_total, 1);
  EXPECT_EQ(c->stream.messages[1].position.ahead_total, 0);
  c->session->Cancelled();
  a->session->End(Gate::EndKind::kCompleted);
  a->Close();
  b->Close(true);
  c->Close(true);
}

TEST_F(SessionTest, ADrainRefusesWaitersAtOnceAndLetsHoldersFinish) {
  auto a = Admit("a", 9 * kGiB);
  auto b = Admit("b", 9 * kGiB);
  controller.Drain();
  EXPECT_EQ(b->Refused(), Outcome::kRejectedDraining);
  EXPECT_TRUE(a->session->held());
  EXPECT_FALSE(controller.WaitUntilIdle(absl::ZeroDuration()));
  a->session->End(Gate::EndKind::kCompleted);
  EXPECT_TRUE(controller.WaitUntilIdle(absl::ZeroDuration()));
  a->Close();
  b->Close();
}

// Progress beyond the reservation is charged; before the grant and after the end it is ignored.
TEST_F(SessionTest, ProgressCountsWhileHeld) {
  auto a = Admit("a", 3 * kGiB);
  Costs used;
  used[0].kv_bytes = 4 * kGiB;
  a->session->Progress(/*caller=*/7, used);
  EXPECT_EQ(reserved(), 3 * kGiB) << "another caller's word";
  a->session->Progress(0, used);
  EXPECT_EQ(reserved(), 4 * kGiB);
  a->session->End(Gate::EndKind::kCompleted);
  a->session->Progress(0, used);
  EXPECT_EQ(reserved(), 0);
  a->Close();
}

// A clock that lets something happen in the middle of a call of the Controller's.
class EventfulClock final : public Clock {
 public:
  Instant Now() const override {
    if (const auto event = std::exchange(event_, nullptr)) event();
    return {++now_ns_};
  }
  void AtNextLook(std::function<void()> event) { event_ = std::move(event); }

 private:
  mutable std::function<void()> event_;
  mutable int64_t now_ns_ = 0;
};

// The caller leaves while the gate is being asked, with room and without.
TEST(SessionDepartureTest, ADepartureDuringTheQuestionIsNotLost) {
  EventfulClock clock;
  Controller controller(SmallGate(), clock, nullptr);
  for (const int64_t room : {9 * kGiB, kGiB}) {
    const Controller::Answer other = controller.Admit(Asks("", 9 * kGiB - room + 1), nullptr);
    FakeStream stream;
    const auto session = std::make_shared<Session>(controller, &stream, Session::Shape::kStream);
    Request request = Asks("", 5 * kGiB);
    request.stream = true;
    clock.AtNextLook([&] { session->Cancelled(); });
    session->Admit(request);
    ASSERT_TRUE(stream.finish.has_value());
    EXPECT_EQ(stream.finish->kind, Kind::kCancelled);
    EXPECT_TRUE(stream.messages.empty()) << "nobody is there to read them";
    EXPECT_FALSE(session->held());
    session->StreamClosed(true);
    controller.End(session->lease(), Gate::EndKind::kCompleted);
    controller.End(other.lease, Gate::EndKind::kCompleted);
    const Snapshot snapshot = controller.GetSnapshot();
    EXPECT_EQ(snapshot.waiting + snapshot.held + snapshot.lingering, 0);
  }
}

// A Reattach that finds nothing leaves the stream to a new request, but not where the caller has left meanwhile.
TEST(SessionDepartureTest, ADepartureDuringAReattachThatFindsNothingFinishesTheStream) {
  EventfulClock clock;
  Controller controller(SmallGate(), clock, nullptr);
  FakeStream stream;
  const auto session = std::make_shared<Session>(controller, &stream, Session::Shape::kStream);
  clock.AtNextLook([&] { session->Cancelled(); });
  EXPECT_FALSE(session->Reattach(LeaseId{1}, 0));
  ASSERT_TRUE(stream.finish.has_value());
  session->Admit(Asks("", kGiB));
  session->StreamClosed(true);
  EXPECT_EQ(controller.GetSnapshot().held, 0);
}

// Two threads deliver: what was done to a lease just granted may come before the grant itself.
class OvertakenGrantTest : public SessionRig {
 protected:
  // `b` waits; the gate has granted it, and its Session has not heard so yet.
  void SetUp() override {
    a_ = Admit("a", 9 * kGiB);
    b_ = NewCaller(Session::Shape::kStream);
    Request request = Asks("b", 9 * kGiB);
    request.stream = true;
    b_->session->Admit(request);
    grant_.kind = Decision::Kind::kAnswer;
    grant_.outcome = Outcome::kGranted;
    grant_.lease = b_->session->lease();
    stop_ = grant_;
    stop_.kind = Decision::Kind::kStop;
  }
  void TearDown() override {
    b_->Close();
    a_->session->End(Gate::EndKind::kCompleted);
    a_->Close();
  }

  std::unique_ptr<Caller> a_;
  std::unique_ptr<Caller> b_;
  Decision grant_;
  Decision stop_;
};

TEST_F(OvertakenGrantTest, ARevocationIsToldAfterTheGrant) {
  stop_.outcome = Outcome::kRevoked;
  b_->session->OnDecision(stop_);
  EXPECT_EQ(b_->Heard(), "queued");
  b_->session->OnDecision(grant_);
  EXPECT_EQ(b_->Heard(), "queued granted revoke");
  b_->session->End(Gate::EndKind::kCompleted);
}

TEST_F(OvertakenGrantTest, ATakeoverFinishesAfterTheGrant) {
  stop_.outcome = Outcome::kSuperseded;
  b_->session->OnDecision(stop_);
  EXPECT_FALSE(b_->stream.finish);
  b_->session->OnDecision(grant_);
  EXPECT_EQ(b_->Heard(), "queued granted");
  EXPECT_EQ(b_->Refused(), Outcome::kSuperseded);
  EXPECT_FALSE(b_->session->held());
  controller.Cancel(grant_.lease);
}

TEST_F(OvertakenGrantTest, AGrantAfterTheCallerLeftIsNotTold) {
  b_->session->Cancelled();
  b_->session->OnDecision(grant_);
  EXPECT_EQ(b_->Heard(), "queued");
  EXPECT_TRUE(b_->FinishedAs(Kind::kCancelled));
  EXPECT_FALSE(b_->session->held());
}

}  // namespace
}  // namespace vramgate
