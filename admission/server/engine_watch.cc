#include "admission/server/engine_watch.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "admission/estimator/metrics_page.h"
#include "admission/mutex.h"
#include "admission/server/engine_log_tail.h"
#include "admission/server/http_get.h"
#include "admission/units.h"
#include "boost/asio/executor_work_guard.hpp"
#include "boost/asio/io_context.hpp"
#include "boost/asio/steady_timer.hpp"

namespace vramgate {
namespace {

namespace asio = boost::asio;

// What of a pool bounds requests: where it changes, the engine has been started anew.
bool SameCapacity(const EnginePool& a, const EnginePool& b) {
  return a.blocks == b.blocks && a.block_tokens == b.block_tokens && a.tokens == b.tokens &&
         a.pool_bytes == b.pool_bytes && a.max_concurrency == b.max_concurrency && a.hybrid == b.hybrid &&
         a.max_model_len == b.max_model_len && a.version == b.version;
}

// One engine, in words and deeds. All on the watch's thread, but for ratio().
class Engine {
 public:
  Engine(WatchedEngine watched, Controller& controller, const EngineWatch::Say& say)
      : watched_(std::move(watched)), controller_(controller), say_(say) {
    if (!watched_.log_path.empty()) tail_.emplace(watched_.log_path);
  }

  const WatchedEngine& watched() const { return watched_; }
  int64_t reserved_bytes() const { return controller_.GetAccount(watched_.pool).reserved_bytes; }

  void ReadLog() {
    if (!tail_) return;
    const absl::Status status = tail_->Poll();
    Note(status, log_failing_, "engine_log");
    if (status.ok()) Reconcile(std::nullopt);
  }

  void OnPage(const absl::StatusOr<std::string>& body, int64_t reserved_before) {
    absl::StatusOr<MetricsPage> page = body.ok() ? ReadMetricsPage(*body) : body.status();
    Note(page.status(), page_failing_, "engine_metrics");
    if (!page.ok()) return;
    page_pool_ = page->pool;
    Reconcile(LiveUse{page->used_ratio.value_or(0), std::max(reserved_before, reserved_bytes())});
  }

  std::optional<double> ratio() const {
    MutexLock lock(mutex_);
    return ratio_;
  }

 private:
  // Says that something fails, and that it does no more, once each.
  void Note(const absl::Status& status, bool& failing, std::string_view what) {
    if (!status.ok() == failing) return;
    failing = !status.ok();
    const absl::string_view key(what.data(), what.size());
    if (failing) {
      SayOf(true, absl::StrCat(key, ": ", status.message(), ": held to what is known until it can be read"));
    } else {
      SayOf(false, absl::StrCat(key, ": read again"));
    }
  }

  void Reconcile(const std::optional<LiveUse>& live) {
    EnginePool pool;
    pool.version = watched_.version;
    if (tail_) MergeInto(pool, tail_->pool());
    MergeInto(pool, page_pool_);
    if (pool.KnowsCapacity() && !(attached_ && SameCapacity(*attached_, pool))) Attach(pool);
    if (!drift_ || drift_->basis == DriftBasis::kNone) return;
    if (live) live_ = *live;
    // A log says nothing of use: what was last seen holds.
    const LiveUse use = live_.value_or(LiveUse{});
    SayUnexplained(UnexplainedBytes(*drift_, use));
    Gate::DeviceReading reading;
    reading.capacity_bytes = CapacityNow(*drift_, use);
    reading.ceiling_bytes = drift_->capacity_bytes;
    reading.foreign_bytes = UnexplainedBytes(*drift_, use);
    reading.total_bytes = drift_->actual_bytes;
    reading.read_at = controller_.Now();
    controller_.SetReading(watched_.pool, reading);
    MutexLock lock(mutex_);
    ratio_ = DriftRatioNow(*drift_, use);
  }

  void Attach(const EnginePool& pool) {
    attached_ = pool;
    live_.reset();
    drift_ = CompareAtAttach(watched_.predicted, pool);
    std::string words = drift_->words;
    if (drift_->basis == DriftBasis::kNone) {
      words =
          "the engine's pool cannot be compared with the prices: its blocks have another size than block_tokens, or "
          "its "
          "layers differ and it names no concurrency at max_model_len";
    } else if (drift_->trusted) {
      words = "the engine's KV pool is as priced";
    }
    // A log and a page that say the same are one finding.
    if (words != said_) SayOf(drift_->basis == DriftBasis::kNone || !drift_->trusted, words);
    said_ = std::move(words);
  }

  void SayUnexplained(int64_t bytes) {
    const bool much = static_cast<double>(bytes) > kTrustedDrift * static_cast<double>(drift_->capacity_bytes);
    if (much == unexplained_) return;
    unexplained_ = much;
    if (much) {
      SayOf(true,
            absl::StrCat("the engine holds ", FormatBytes(bytes),
                         " of KV that no lease explains (requests beside the gate, or prices too low): not given out"));
    } else {
      SayOf(false, "the engine holds no more KV than its leases");
    }
  }

  void SayOf(bool warning, const std::string& words) const {
    say_(warning, absl::StrCat("model ", watched_.model, ", instance ", watched_.instance, ": ", words));
  }

  const WatchedEngine watched_;
  Controller& controller_;
  const EngineWatch::Say& say_;
  std::optional<EngineLogTail> tail_;
  EnginePool page_pool_;
  std::optional<EnginePool> attached_;
  std::string said_;
  std::optional<Drift> drift_;
  std::optional<LiveUse> live_;
  bool log_failing_ = false;
  bool page_failing_ = false;
  bool unexplained_ = false;
  mutable Mutex mutex_;
  std::optional<double> ratio_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

// The io_context, its thread, and a timer for each engine.
class EngineWatch::Thread {
 public:
  Thread(Controller& controller, std::vector<WatchedEngine> engines, Say say, absl::Duration timeout)
      : say_(std::move(say)) {
    limits_.timeout = absl::ToChronoNanoseconds(timeout);
    for (WatchedEngine& watched : engines) {
      places_.push_back(std::make_unique<Place>(io_, std::move(watched), controller, say_));
      places_.back()->engine.ReadLog();
    }
    for (const auto& place : places_) AskPage(*place);
    if (!places_.empty()) thread_ = std::thread([this] { io_.run(); });
  }

  ~Thread() {
    io_.stop();
    if (thread_.joinable()) thread_.join();
  }

  std::vector<DriftView> drifts() const {
    std::vector<DriftView> views;
    for (const auto& place : places_) {
      const WatchedEngine& watched = place->engine.watched();
      if (const std::optional<double> ratio = place->engine.ratio()) {
        views.push_back({watched.model, watched.instance, *ratio});
      }
    }
    return views;
  }

 private:
  struct Place {
    Place(asio::io_context& io, WatchedEngine watched, Controller& controller, const Say& say)
        : engine(std::move(watched), controller, say), timer(io) {}
    Engine engine;
    asio::steady_timer timer;
  };

  void Poll(Place& place) {
    place.engine.ReadLog();
    AskPage(place);
  }

  void AskPage(Place& place) {
    const std::optional<HttpUrl>& url = place.engine.watched().metrics;
    if (!url) return WaitForNext(place);
    HttpGet(io_, *url, limits_,
            [this, &place, reserved = place.engine.reserved_bytes()](absl::StatusOr<std::string> body) {
              place.engine.OnPage(body, reserved);
              WaitForNext(place);
            });
  }

  void WaitForNext(Place& place) {
    place.timer.expires_after(absl::ToChronoNanoseconds(place.engine.watched().poll_interval));
    place.timer.async_wait([this, &place](const boost::system::error_code& error) {
      if (!error) Poll(place);
    });
  }

  const Say say_;
  HttpLimits limits_;
  asio::io_context io_{1};  // outlives the timers
  std::vector<std::unique_ptr<Place>> places_;
  std::thread thread_;
};

EngineWatch::EngineWatch(Controller& controller, std::vector<WatchedEngine> engines, Say say, absl::Duration timeout)
    : thread_(std::make_unique<Thread>(controller, std::move(engines), std::move(say), timeout)) {}

EngineWatch::~EngineWatch() = default;

void EngineWatch::Stop() {
  thread_.reset();
}

std::vector<EngineWatch::DriftView> EngineWatch::drifts() const {
  return thread_ == nullptr ? std::vector<DriftView>{} : thread_->drifts();
}

}  // namespace vramgate
