// The Ledger writes every change of every account to a CSV file (docs/reference.md), off the hot path: complete, or
// loudly not.
//
//   absl::StatusOr<std::unique_ptr<Ledger>> ledger = Ledger::Open("/var/log/vramgate/ledger.csv");
//   (*ledger)->NameAccount(AccountId{0}, "device/0");   // before its first row; again where the id gets a new name
//   (*ledger)->Append(row);
//   absl::Status written = (*ledger)->Close();          // everything is in the file, or the status says what is not
//
// Used by the controller's observer in the server. Rows go through a queue of fixed size to a thread that writes them,
// 50 ms later at most, some thousand to a write(2). While the disk refuses they wait; what finds the queue full is
// counted, and a LOST row with that count stands where the rows would have stood.
//
// Thread rule: Append and NameAccount by one thread at a time, as under the controller's lock; the rest by any. Append
// never blocks and never allocates. Lifetime rule: none.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "admission/ledger_row.h"
#include "admission/mutex.h"
#include "admission/server/wake_event.h"
#include "admission/types.h"
#include "boost/lockfree/spsc_queue.hpp"

namespace vramgate {

inline constexpr std::string_view kLedgerHeader = "t_s,event,lease,account,delta_bytes,used_bytes,capacity_bytes\n";

// `name` as it stands in the file: all but printable ASCII, and commas and quotes, percent-encoded. Names come without
// percent signs but those of an encoding.
std::string LedgerAccountName(std::string_view name);

class Ledger {
 public:
  struct Options {
    size_t queue_rows = 65536;  // 3 MiB. More: rides out a longer refusal of the disk
    bool thread = true;         // false: only Flush and Close write
  };

  // Makes the file (mode 0640) with its header, or goes on behind the rows of an earlier run; a torn last row is cut
  // off and counted as lost. FAILED_PRECONDITION: not a regular file, not a ledger, or another process writes it.
  // Others as of open(2).
  static absl::StatusOr<std::unique_ptr<Ledger>> Open(const std::string& path, Options options);
  static absl::StatusOr<std::unique_ptr<Ledger>> Open(const std::string& path) { return Open(path, Options{}); }
  ~Ledger();  // closes
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  void Append(const LedgerRow& row);
  void NameAccount(AccountId id, std::string_view name);

  // Writes all that was appended before. OK: it is in the file.
  absl::Status Flush();
  // Stops the thread, writes all that is left and syncs it to the disk. Later calls return the same. REQUIRES: no
  // Append after it.
  absl::Status Close();

  // OK, or why rows cannot be written at the moment (UNAVAILABLE) or some were lost (DATA_LOSS).
  absl::Status status() const;
  int64_t lost_rows() const { return lost_rows_.load(); }

 private:
  // A name, and before which row (counted from the first appended) it holds.
  struct Naming {
    uint64_t row = 0;
    AccountId id{0};
    std::string name;
  };

  Ledger(std::string path, int fd, bool torn, Options options);
  void Run();
  // Formats and writes rows until all that were there at the call are in the file, or the disk refuses.
  void WriteLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(file_mutex_);
  bool WriteBufferLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(file_mutex_);
  void FormatRowsLocked(size_t rows) ABSL_EXCLUSIVE_LOCKS_REQUIRED(file_mutex_);
  void FormatLocked(const LedgerRow& row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(file_mutex_);
  void TakeNamesLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(file_mutex_);

  const std::string path_;
  WakeEvent wake_;
  std::atomic<bool> stopping_ = false;
  std::atomic<int64_t> lost_rows_ = 0;     // since Open
  std::atomic<int64_t> lost_pending_ = 0;  // not yet in a LOST row: whoever takes it to 0 says so
  const size_t queue_rows_;
  boost::lockfree::spsc_queue<LedgerRow> queue_;
  uint64_t appended_ = 0;  // rows put into the queue: the appending thread's

  Mutex names_mutex_;  // held for moments only
  std::vector<Naming> namings_ ABSL_GUARDED_BY(names_mutex_);

  mutable Mutex file_mutex_;  // the queue's reading end, and the file
  int fd_ ABSL_GUARDED_BY(file_mutex_);
  std::string buffer_ ABSL_GUARDED_BY(file_mutex_);  // formatted, not yet in the file
  std::vector<std::string> names_ ABSL_GUARDED_BY(file_mutex_);
  std::vector<Naming> due_ ABSL_GUARDED_BY(file_mutex_);  // taken over, some for rows still to come
  uint64_t formatted_ ABSL_GUARDED_BY(file_mutex_) = 0;   // rows taken from the queue
  Instant last_time_ ABSL_GUARDED_BY(file_mutex_);
  absl::Status write_status_ ABSL_GUARDED_BY(file_mutex_);

  std::thread thread_;  // last: uses all of the above
};

}  // namespace vramgate
