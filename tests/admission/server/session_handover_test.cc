// A lease in other hands: taken over, revoked, released by name, taken up again; and what overtakes what on the way.
#include <gtest/gtest.h>

#include <functional>
#include <utility>

#include "admission/server/session.h"
#include "tests/admission/server/session_rig.h"

namespace vramgate {
namespace {

using Kind = SessionFinish::Kind;
using SessionHandoverTest = SessionRig;

TEST_F(SessionHandoverTest, ANewerSessionWithTheKeyTakesTheLeaseOver) {
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

TEST_F(SessionHandoverTest, ANewerSessionWithTheKeyTakesThePlaceOver) {
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

TEST_F(SessionHandoverTest, TheSameKeyWithOtherContentIsRefused) {
  auto a = Admit("same", 3 * kGiB);
  auto b = Admit("same", 4 * kGiB);
  EXPECT_EQ(b->Refused(), Outcome::kRejectedInvalidRequest);
  EXPECT_TRUE(a->session->held());
  b->Close();
  a->session->End(Gate::EndKind::kCompleted);
  a->Close();
}

TEST_F(SessionHandoverTest, ARevocationIsToldAndAcknowledged) {
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

TEST_F(SessionHandoverTest, ARevocationWhoseGraceIsOverEndsTheStreamAndLingers) {
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

TEST_F(SessionHandoverTest, WhoTakesUpALeaseUnderRevocationHearsOfIt) {
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

TEST_F(SessionHandoverTest, AReleaseByNameEndsTheStream) {
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

TEST_F(SessionHandoverTest, AReattachRevivesWhatABrokenStreamHeld) {
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
