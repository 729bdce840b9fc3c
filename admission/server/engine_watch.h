// Watches running engines: what each says of its KV pool, against what the gate gives out of it.
//
//   EngineWatch watch(controller, std::move(engines), [&](bool warning, std::string_view line) { log.Say(...); });
//   ...
//   for (const EngineWatch::DriftView& drift : watch.drifts()) ...   // vramgate_estimate_drift_ratio
//   watch.Stop();
//
// Each engine is asked at once and then at its interval: its metric page over HTTP, its log file as it grows. When an
// engine is found, and whenever its pool has another size than before, the pool's account gets the capacity that
// CompareAtAttach says; at each reading, less the bytes in use that no reservation explains (reconcile.h). An engine
// that does not answer keeps what it has. Log files are read once before the constructor returns.
//
// Thread rule: made and stopped by one thread; drifts() from any. One thread of its own does all. Lifetime rule: the
// controller outlives it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "admission/estimator/engine_pool.h"
#include "admission/estimator/reconcile.h"
#include "admission/gate/controller.h"
#include "admission/server/http_url.h"

namespace vramgate {

// An instance whose engine is to be watched.
struct WatchedEngine {
  std::string model;
  std::string instance;
  AccountId pool{0};
  PredictedPool predicted;
  std::optional<HttpUrl> metrics;        // absent: only the log
  std::string log_path;                  // "": only the page
  std::optional<EngineVersion> version;  // as the config names it: a page does not
  absl::Duration poll_interval = absl::Seconds(10);
};

class EngineWatch {
 public:
  using Say = std::function<void(bool warning, std::string_view line)>;

  EngineWatch(Controller& controller, std::vector<WatchedEngine> engines, Say say,
              absl::Duration timeout = absl::Seconds(5));
  ~EngineWatch();  // stops
  EngineWatch(const EngineWatch&) = delete;
  EngineWatch& operator=(const EngineWatch&) = delete;

  // Asks no more. Waits for the look-up of a name that is under way.
  void Stop();

  // The engines that have said how large their pool is. `ratio`: actual / predicted capacity, as it is held to now.
  struct DriftView {
    std::string model;
    std::string instance;
    double ratio = 1;
  };
  std::vector<DriftView> drifts() const;

 private:
  class Thread;
  std::unique_ptr<Thread> thread_;
};

}  // namespace vramgate
