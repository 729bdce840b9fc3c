// A WakeEvent lets a thread sleep until another has something for it: an eventfd, so that waking takes no lock, never
// blocks and never allocates.
//
//   wake.Wake();                          // any thread, also under the controller's lock
//   wake.Wait(absl::Milliseconds(100));   // the sleeper: returns when woken, before or since, or after 100 ms
//
// Used by the threads that write behind the hot path. Thread rule: any thread; one sleeper. Lifetime rule: outlives
// both.
#pragma once

#include "absl/time/time.h"

namespace vramgate {

class WakeEvent {
 public:
  WakeEvent();  // CHECKs that there is a file descriptor left
  ~WakeEvent();
  WakeEvent(const WakeEvent&) = delete;
  WakeEvent& operator=(const WakeEvent&) = delete;

  // Wakes that came before the sleeper looks are one.
  void Wake();
  void Wait(absl::Duration most);

 private:
  const int fd_;
};

}  // namespace vramgate
