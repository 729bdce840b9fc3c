#include "admission/server/session.h"

#include <gtest/gtest.h>

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

TEST_F(SessionTest, AnExtensionIsAnsweredWhileHeld) {
  auto a = Admit("a", 3 * kGiB);
  a->session->Extend(/*caller=*/7, 10);
  EXPECT_EQ(a->Heard(), "granted") << "another caller's wish";
  a->session->Extend(0, 10);
  a->session->Extend(0, 10);
  EXPECT_EQ(a->Heard(), "granted extended extended") << "at worst_case all is there";
  a->session->End(Gate::EndKind::kCompleted);
  a->session->Extend(0, 10);
  EXPECT_EQ(a->Heard(), "granted extended extended");
  a->Close();
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

}  // namespace
}  // namespace vramgate
