// Follows an engine's log file from its beginning to wherever it has been written: what is new is read at each Poll.
//
//   EngineLogTail tail("/var/log/vllm.log");
//   if (tail.Poll().ok()) ... tail.pool() ...
//
// A file that was replaced or cut is read anew. Opens regular files only, a pipe would wait. Confined to one thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "admission/estimator/engine_log.h"

namespace vramgate {

class EngineLogTail {
 public:
  static constexpr int64_t kMostBytesAPoll = int64_t{16} << 20;  // the rest waits for the next one

  explicit EngineLogTail(std::string path) : path_(std::move(path)) {}

  // OK: all that is there was read, or as much as a poll takes. Else the file cannot be read now; what was known stays.
  absl::Status Poll();
  const EnginePool& pool() const { return reader_.pool(); }

 private:
  const std::string path_;
  EngineLogReader reader_;
  ino_t inode_ = 0;
  dev_t device_ = 0;
  int64_t read_bytes_ = 0;
  std::string line_;  // begun, without its end yet; at most kMaxLineBytes of it
};

}  // namespace vramgate
