// The threads that nobody calls: one that does what is due in time, and one for each device that reads its memory, so
// that a hung driver ages its own device alone.
//
//   Background background(controller, devices, [&](std::string_view line) { log.Say(...); });
//   ...
//   background.Stop();   // joins; a device read that hangs is waited for
//
// Thread rule: made and stopped by one thread. Lifetime rule: controller and devices outlive it.
#pragma once

#include <functional>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include "admission/gate/controller.h"
#include "admission/mutex.h"
#include "admission/server/devices.h"

namespace vramgate {

class Background {
 public:
  using Say = std::function<void(bool warning, std::string_view line)>;

  // Reads every device once before it returns, so that the gate starts with what is true.
  Background(Controller& controller, Devices& devices, Say say);
  ~Background() { Stop(); }
  void Stop();

 private:
  struct Polled {
    std::optional<Gate::DeviceReading> last;
    bool stale = false;
    bool failing = false;
  };

  void RunTimers();
  void RunPolls(size_t device);
  void Poll(size_t device);
  void MarkStale();
  bool SleepFor(absl::Duration d);

  Controller& controller_;
  Devices& devices_;
  const Say say_;
  Mutex mutex_;
  CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Polled> polled_ ABSL_GUARDED_BY(mutex_);  // by device
  std::vector<std::thread> threads_;
};

}  // namespace vramgate
