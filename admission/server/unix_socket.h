// Unix sockets that a server makes: the place must be free, its directory there, its mode right from the first moment.
#pragma once

#include <sys/stat.h>

#include <string>

#include "absl/status/status.h"

namespace vramgate {

// Makes the directory where it is missing, and removes what a dead server left. ALREADY_EXISTS: somebody answers there.
// FAILED_PRECONDITION: something that is no socket stands there.
absl::Status ClaimUnixSocket(const std::string& path);

// The process's umask for a scope. The mask is the process's: only where no other thread makes files.
class ScopedUmask {
 public:
  explicit ScopedUmask(mode_t mask) : before_(umask(mask)) {}
  ~ScopedUmask() { umask(before_); }
  ScopedUmask(const ScopedUmask&) = delete;
  ScopedUmask& operator=(const ScopedUmask&) = delete;

 private:
  const mode_t before_;
};

}  // namespace vramgate
