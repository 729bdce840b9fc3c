// Sessions under many threads at once: whichever order a grant, a cancellation, a takeover, a revocation and the end of
// the stream take, each stream is finished once and every byte comes back.
#include <gtest/gtest.h>

#include <barrier>
#include <deque>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "admission/gate/controller.h"
#include "admission/mutex.h"
#include "admission/server/session.h"
#include "tests/admission/server/small_gate.h"

namespace vramgate {
namespace {

// The transport's thread: it reports the end of every write, and closes every stream that is finished.
class Transport {
 public:
  Transport() : thread_([this] { Run(); }) {}
  ~Transport() {
    {
      MutexLock lock(mutex_);
      stopping_ = true;
      changed_.notify_all();
    }
    thread_.join();
  }

  // One stream as a transport has it: alive until it is closed.
  class Stream final : public SessionStream {
   public:
    Stream(Transport& transport, Controller& controller, Session::Shape shape)
        : transport_(transport), session_(std::make_shared<Session>(controller, this, shape)) {
      MutexLock lock(transport_.mutex_);
      ++transport_.open_;
    }
    const std::shared_ptr<Session>& session() const { return session_; }
    void Write(const SessionMessage& message) override {
      EXPECT_FALSE(std::exchange(writing_, true)) << "a Write before WriteDone";
      EXPECT_FALSE(finished_) << "a Write after Finish";
      grants_ += message.kind == SessionMessage::Kind::kGranted;
      EXPECT_LE(grants_, 1);
      EXPECT_TRUE(message.kind != SessionMessage::Kind::kQueued || grants_ == 0) << "queued after granted";
      EXPECT_TRUE(message.kind != SessionMessage::Kind::kRevoke || grants_ == 1) << "revoke before granted";
      transport_.Post({this, false});
    }
    void Finish(const SessionFinish&) override {
      EXPECT_FALSE(writing_) << "a Finish while a Write is under way";
      EXPECT_FALSE(std::exchange(finished_, true)) << "finished twice";
      transport_.Post({this, true});
    }

   private:
    friend class Transport;
    Transport& transport_;
    const std::shared_ptr<Session> session_;
    // Guarded by the Session's lock, under which Write and Finish are called.
    bool writing_ = false;
    bool finished_ = false;
    int grants_ = 0;
  };

  // Until every stream that was opened is closed.
  void AwaitAllClosed() {
    MutexLock lock(mutex_);
    while (open_ > 0) changed_.wait(mutex_);
  }

 private:
  struct Event {
    Stream* stream = nullptr;
    bool finish = false;
  };
  void Post(Event event) {
    MutexLock lock(mutex_);
    events_.push_back(event);
    changed_.notify_all();
  }
  void Run() {
    std::minstd_rand random(1);
    while (true) {
      Event event;
      {
        MutexLock lock(mutex_);
        while (events_.empty() && !stopping_) changed_.wait(mutex_);
        if (events_.empty()) return;
        event = events_.front();
        events_.pop_front();
      }
      const std::shared_ptr<Session> session = event.stream->session();
      if (!event.finish) {
        event.stream->writing_ = false;  // no Write comes before WriteDone: nobody else looks at it
        session->WriteDone();
        continue;
      }
      session->StreamClosed(random() % 2 == 0);
      delete event.stream;
      MutexLock lock(mutex_);
      --open_;
      changed_.notify_all();
    }
  }

  Mutex mutex_;
  CondVar changed_;
  std::deque<Event> events_ ABSL_GUARDED_BY(mutex_);
  int64_t open_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

class SessionStormTest : public testing::Test {
 protected:
  SessionStormTest()
      : seed_(testing::UnitTest::GetInstance()->random_seed()), controller_(SmallGate(), clock_, nullptr) {
    if (seed_ == 0) seed_ = std::random_device{}();
    std::cout << "seed " << seed_ << " (--gtest_random_seed=N replays)\n";
  }
  ~SessionStormTest() override {
    transport_.AwaitAllClosed();
    for (int i = 0; i < 10; ++i) {  // lingers, unconfirmed grants, kept places
      clock_.Advance(absl::Hours(1));
      controller_.Advance();
    }
    const Snapshot snapshot = controller_.GetSnapshot();
    EXPECT_EQ(snapshot.accounts[0].account.reserved_bytes, 0);
    EXPECT_EQ(snapshot.held + snapshot.lingering + snapshot.waiting, 0);
  }

  // Runs each action on a thread of its own, all let go at the same moment.
  template <typename... Action>
  void AtOnce(Action... actions) {
    std::barrier start(sizeof...(actions));
    std::vector<std::thread> threads;
    (threads.emplace_back([&start, actions] {
      start.arrive_and_wait();
      actions();
    }),
     ...);
    for (std::thread& thread : threads) thread.join();
  }

  std::shared_ptr<Session> Open(std::string_view request_id, int64_t bytes,
                                Session::Shape shape = Session::Shape::kStream) {
    const std::shared_ptr<Session> session = (new Transport::Stream(transport_, controller_, shape))->session();
    Request request = Asks(request_id, bytes);
    request.stream = shape != Session::Shape::kUnary;
    session->Admit(request);
    return session;
  }

  unsigned seed_;
  FakeClock clock_;
  Controller controller_;
  Transport transport_;
};

// The end of a holder grants a waiter at the moment at which the waiter leaves, is taken over, or is revoked.
TEST_F(SessionStormTest, AGrantAgainstEveryEnd) {
  std::minstd_rand random(seed_);
  for (int round = 0; round < 1500; ++round) {
    const auto holder = Open("holder", 9 * kGiB);
    const auto waiter = Open("waiter", 9 * kGiB, random() % 4 == 0 ? Session::Shape::kProxy : Session::Shape::kStream);
    const LeaseId lease = waiter->lease().id;
    std::shared_ptr<Session> other;
    const auto act = [&](unsigned what) {
      switch (what % 8) {
        case 0:
          return waiter->Cancelled();
        case 1:
          return waiter->HalfClose();
        case 2:
          return waiter->End(Gate::EndKind::kCompleted);
        case 3:
          return waiter->Refuse({Outcome::kRejectedInvalidRequest, "msg", "an empty message"});
        case 4:
          return (void)controller_.Revoke(lease, absl::Seconds(1), "maintenance");
        case 5:
          return (void)controller_.Release(lease, 0, Gate::EndKind::kCompleted);
        case 6:
          other = Open("waiter", 9 * kGiB);
          return;
        default:
          return waiter->RevokeAck(0);
      }
    };
    const unsigned first = static_cast<unsigned>(random());
    const unsigned second = first % 8 == 6 ? 0 : static_cast<unsigned>(random());  // one takeover at most
    AtOnce([&] { holder->End(Gate::EndKind::kCompleted); }, [&] { act(first); },
           [&] { second % 8 == 6 ? waiter->Cancelled() : act(second); });
    waiter->Cancelled();
    if (other) other->End(Gate::EndKind::kCompleted);
    if (round % 16 == 0) {
      clock_.Advance(absl::Seconds(3));
      controller_.Advance();
    }
  }
}

// Many callers with few keys, at random, while the timers run.
TEST_F(SessionStormTest, ManyCallersAtRandom) {
  constexpr int kThreads = 4;
  constexpr int kOperations = 2500;
  std::atomic<int> left = kThreads;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::minstd_rand random(seed_ + static_cast<unsigned>(t));
      std::vector<std::shared_ptr<Session>> mine;
      for (int i = 0; i < kOperations; ++i) {
        if (mine.size() < 6) {
          const unsigned key = random() % 12;
          const auto shape = static_cast<Session::Shape>(random() % 3);
          mine.push_back(Open(key < 8 ? std::to_string(key) : "", (1 + key % 5) * kGiB, shape));
          continue;
        }
        const size_t at = random() % mine.size();
        const std::shared_ptr<Session>& session = mine[at];
        bool over = true;
        switch (random() % 8) {
          case 0:
            session->Cancelled();
            break;
          case 1:
            session->HalfClose();
            break;
          case 2:
            session->End(Gate::EndKind::kFailed);
            break;
          case 3:
            controller_.Revoke(session->lease().id, absl::Milliseconds(static_cast<int64_t>(random() % 3)), "");
            over = false;
            break;
          case 4:
            controller_.Release(session->lease().id, 0, Gate::EndKind::kCompleted);
            over = false;
            break;
          case 5: {
            Costs used;
            used[0].kv_bytes = static_cast<int64_t>(random() % 12) * kGiB;
            session->Progress(0, used);
            over = false;
            break;
          }
          case 6: {
            auto* stream = new Transport::Stream(transport_, controller_, Session::Shape::kStream);
            const std::shared_ptr<Session> young = stream->session();
            (void)young->Reattach(session->lease().id, 0);
            mine.push_back(young);
            over = false;
            break;
          }
          default:
            session->End(Gate::EndKind::kCompleted);
        }
        if (over || mine.size() > 12) {
          mine[at]->Cancelled();
          mine.erase(mine.begin() + static_cast<std::ptrdiff_t>(at));
        }
      }
      for (const auto& session : mine) session->Cancelled();
      --left;
    });
  }
  while (left > 0) {
    clock_.Advance(absl::Milliseconds(10));
    controller_.Advance();
    controller_.TellPositions();
    const Snapshot snapshot = controller_.GetSnapshot();
    EXPECT_LE(snapshot.accounts[0].account.used_bytes(), snapshot.accounts[0].account.capacity_bytes);
    std::this_thread::yield();
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace vramgate
