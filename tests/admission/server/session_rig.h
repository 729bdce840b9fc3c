// A Controller whose clock stands still, and callers whose streams a test moves by hand: what the transport would do,
// step by step.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "admission/gate/controller.h"
#include "admission/server/session.h"
#include "tests/admission/server/small_gate.h"

namespace vramgate {

// Keeps what a Session sends, and checks the contract of SessionStream at every call.
class FakeStream final : public SessionStream {
 public:
  void Write(const SessionMessage& message) override {
    EXPECT_FALSE(writing_) << "a Write before WriteDone";
    EXPECT_FALSE(finish) << "a Write after Finish";
    EXPECT_FALSE(closed) << "a Write after StreamClosed";
    writing_ = true;
    messages.push_back(message);
  }
  void Finish(const SessionFinish& with) override {
    EXPECT_FALSE(writing_) << "a Finish while a Write is under way";
    EXPECT_FALSE(finish) << "finished twice";
    EXPECT_FALSE(closed) << "a Finish after StreamClosed";
    finish = with;
  }
  // Whether a Write was under way; it no longer is.
  bool TakeWrite() { return std::exchange(writing_, false); }

  std::vector<SessionMessage> messages;
  std::optional<SessionFinish> finish;
  bool closed = false;

 private:
  bool writing_ = false;
};

// Every row and decision, for tests that look at what an auditor would.
class KeepAll final : public Recorder {
 public:
  void OnAccount(AccountId, const std::string&) override {}
  void OnRow(const LedgerRow& row) override { rows.push_back(row); }
  void OnDecision(const Decision& decision, Instant) override { decisions.push_back(decision); }
  // How many rows of `event` about a lease.
  int Rows(LedgerEvent event) const {
    int n = 0;
    for (const LedgerRow& row : rows) n += row.event == event && row.lease.value != 0;
    return n;
  }

  std::vector<LedgerRow> rows;
  std::vector<Decision> decisions;
};

class SessionRig : public testing::Test {
 protected:
  // One caller: its stream, and the Session behind it.
  struct Caller {
    FakeStream stream;
    std::shared_ptr<Session> session;
    // The transport takes what is written, to the end.
    void Flush() {
      while (stream.TakeWrite()) session->WriteDone();
    }
    // The transport is done with the stream, as it must be once it is finished.
    void Close(bool cancelled = false) {
      Flush();
      EXPECT_TRUE(stream.finish.has_value()) << "the transport would wait for Finish";
      session->StreamClosed(cancelled);
      stream.closed = true;
    }
    // "queued granted revoke" so far.
    std::string Heard() {
      Flush();
      std::string heard;
      for (const SessionMessage& message : stream.messages) {
        if (!heard.empty()) heard += ' ';
        switch (message.kind) {
          case SessionMessage::Kind::kQueued:
            heard += "queued";
            break;
          case SessionMessage::Kind::kGranted:
            heard += "granted";
            break;
          case SessionMessage::Kind::kExtended:
            heard += "extended";
            break;
          case SessionMessage::Kind::kRevoke:
            heard += "revoke";
            break;
        }
      }
      return heard;
    }
    bool FinishedAs(SessionFinish::Kind kind) {
      Flush();
      return stream.finish && stream.finish->kind == kind;
    }
    // What it was refused with; kGranted where it was not refused.
    Outcome Refused() {
      return FinishedAs(SessionFinish::Kind::kRefused) ? stream.finish->decision.outcome : Outcome::kGranted;
    }
  };

  SessionRig() : controller(SmallGate(), clock, &recorder) {}
  // However a test ends: all bytes are back.
  ~SessionRig() override {
    Pass(absl::Hours(1));
    EXPECT_EQ(reserved(), 0);
    EXPECT_EQ(controller.GetSnapshot().waiting, 0);
  }

  std::unique_ptr<Caller> NewCaller(Session::Shape shape = Session::Shape::kStream) {
    auto caller = std::make_unique<Caller>();
    caller->session = std::make_shared<Session>(controller, &caller->stream, shape);
    return caller;
  }
  std::unique_ptr<Caller> Admit(std::string_view request_id, int64_t bytes,
                                Session::Shape shape = Session::Shape::kStream) {
    auto caller = NewCaller(shape);
    Request request = Asks(request_id, bytes);
    request.stream = shape != Session::Shape::kUnary;
    caller->session->Admit(request);
    return caller;
  }
  void Pass(absl::Duration d) {
    clock.Advance(d);
    controller.Advance();
  }
  int64_t reserved() const { return controller.GetAccount(AccountId{0}).reserved_bytes; }
  int64_t lingering() const { return controller.GetAccount(AccountId{0}).lingering_bytes; }

  FakeClock clock;
  KeepAll recorder;
  Controller controller;
};

}  // namespace vramgate
