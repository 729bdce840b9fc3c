// std::mutex with clang's thread-safety annotations. absl::Mutex of Debian 12 carries no ThreadSanitizer annotations,
// so the core uses this one: the compiler checks who holds which lock, and TSan sees every acquire and release.
//
//   class Counter {
//     Mutex mutex_;
//     int64_t value_ ABSL_GUARDED_BY(mutex_) = 0;
//   };
//   MutexLock lock(mutex_);
#pragma once

#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"

namespace vramgate {

class ABSL_LOCKABLE Mutex {
 public:
  void lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

// Holds `mutex` for its scope. Works with std::condition_variable_any through lock() and unlock().
class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Waits on a Mutex that the caller holds.
using CondVar = std::condition_variable_any;

}  // namespace vramgate
