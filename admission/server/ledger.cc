#include "admission/server/ledger.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "admission/check.h"

namespace vramgate {
namespace {

constexpr absl::Duration kFlushEvery = absl::Milliseconds(50);
constexpr size_t kRowsPerWrite = 8192;
constexpr int64_t kNsPerSecond = 1'000'000'000;

}  // namespace

std::string LedgerAccountName(std::string_view name) {
  std::string out;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > 0x20 && byte < 0x7f && c != ',' && c != '"') {
      out += c;
    } else {
      absl::StrAppendFormat(&out, "%%%02X", byte);
    }
  }
  return out;
}

Ledger::Ledger(std::string path, int fd, bool torn, Options options)
    : path_(std::move(path)),
      lost_pending_(torn ? 1 : 0),
      queue_rows_(options.queue_rows),
      queue_(options.queue_rows),
      fd_(fd) {
  if (options.thread) thread_ = std::thread([this] { Run(); });
}

Ledger::~Ledger() {
  Close().IgnoreError();  // said on stderr
}

void Ledger::Append(const LedgerRow& row) {
  if (lost_pending_.load(std::memory_order_relaxed) != 0) {
    // The LOST row goes where the lost ones would have been; it and this one need a place each.
    const int64_t lost = queue_.write_available() >= 2 ? lost_pending_.exchange(0) : 0;
    if (lost != 0) {
      CHECK(
          queue_.push(LedgerRow{.time = row.time, .lease = {static_cast<uint64_t>(lost)}, .event = LedgerEvent::kLost}),
          "Ledger: only this thread fills the queue");
      ++appended_;
    }
  }
  if (lost_pending_.load(std::memory_order_relaxed) == 0 && queue_.push(row)) {
    ++appended_;
    if (queue_.write_available() == queue_rows_ / 2) wake_.Wake();
    return;
  }
  ++lost_pending_;
  ++lost_rows_;
}

void Ledger::NameAccount(AccountId id, std::string_view name) {
  std::string encoded = LedgerAccountName(name);
  MutexLock lock(names_mutex_);
  namings_.push_back({appended_, id, std::move(encoded)});
}

absl::Status Ledger::Flush() {
  MutexLock lock(file_mutex_);
  if (fd_ >= 0) WriteLocked();
  return write_status_;
}

absl::Status Ledger::Close() {
  stopping_ = true;
  wake_.Wake();
  if (thread_.joinable()) thread_.join();
  {
    MutexLock lock(file_mutex_);
    if (fd_ >= 0) {
      WriteLocked();
      if (write_status_.ok() && fdatasync(fd_) != 0)
        write_status_ = absl::ErrnoToStatus(errno, absl::StrCat("ledger ", path_));
      const int64_t unwritten =
          std::count(buffer_.begin(), buffer_.end(), '\n') + static_cast<int64_t>(queue_.read_available());
      lost_rows_ += unwritten;
      if (close(fd_) != 0 && write_status_.ok())
        write_status_ = absl::ErrnoToStatus(errno, absl::StrCat("ledger ", path_));
      fd_ = -1;
    }
  }
  return status();
}

absl::Status Ledger::status() const {
  MutexLock lock(file_mutex_);
  if (!write_status_.ok()) return write_status_;
  const int64_t lost = lost_rows_.load();
  if (lost == 0) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("ledger ", path_, ": ", lost, " rows are lost"));
}

void Ledger::Run() {
  while (!stopping_) {
    wake_.Wait(kFlushEvery);
    MutexLock lock(file_mutex_);
    WriteLocked();
  }
}

void Ledger::WriteLocked() {
  if (!WriteBufferLocked()) return;
  // First what is in the queue, then the names: a row that is seen has been named before.
  for (size_t rows = queue_.read_available(); rows > 0;) {
    const size_t part = std::min(rows, kRowsPerWrite);
    TakeNamesLocked();
    FormatRowsLocked(part);
    if (!WriteBufferLocked()) return;
    rows -= part;
  }
  // Lost rows with nothing behind them: none was appended since, or Append would have taken the count.
  int64_t lost = lost_pending_.load();
  if (lost == 0 || queue_.read_available() != 0 || !lost_pending_.compare_exchange_strong(lost, 0)) return;
  FormatLocked({.time = last_time_, .lease = {static_cast<uint64_t>(lost)}, .event = LedgerEvent::kLost});
  WriteBufferLocked();
}

bool Ledger::WriteBufferLocked() {
  size_t written = 0;
  int error = 0;
  while (written < buffer_.size() && error == 0) {
    const ssize_t n = write(fd_, buffer_.data() + written, buffer_.size() - written);
    if (n >= 0) {
      written += static_cast<size_t>(n);
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  buffer_.erase(0, written);
  const bool was_ok = write_status_.ok();
  if (error == 0) {
    if (!was_ok) std::fprintf(stderr, "vramgate: ledger %s: rows are written again\n", path_.c_str());
    write_status_ = absl::OkStatus();
    return true;
  }
  if (was_ok) {
    std::fprintf(stderr, "vramgate: ledger %s: cannot write: %s; rows wait, then are lost\n", path_.c_str(),
                 std::strerror(error));
  }
  write_status_ = absl::UnavailableError(absl::StrCat("ledger ", path_, ": cannot write: ", std::strerror(error)));
  return false;
}

void Ledger::TakeNamesLocked() {
  MutexLock lock(names_mutex_);
  std::move(namings_.begin(), namings_.end(), std::back_inserter(due_));
  namings_.clear();
}

void Ledger::FormatRowsLocked(size_t rows) {
  size_t named = 0;
  for (size_t i = 0; i < rows; ++i) {
    for (; named < due_.size() && due_[named].row <= formatted_; ++named) {
      const size_t index = Index(due_[named].id);
      if (names_.size() <= index) names_.resize(index + 1);
      names_[index] = std::move(due_[named].name);
    }
    LedgerRow row;
    CHECK(queue_.pop(row), "Ledger: only the holder of file_mutex_ empties the queue");
    ++formatted_;
    FormatLocked(row);
  }
  due_.erase(due_.begin(), due_.begin() + static_cast<ptrdiff_t>(named));
}

void Ledger::FormatLocked(const LedgerRow& row) {
  last_time_ = row.time;
  const std::string_view event = LedgerEventName(row.event);
  absl::StrAppendFormat(&buffer_, "%d.%09d,%s,", row.time.ns / kNsPerSecond, row.time.ns % kNsPerSecond,
                        absl::string_view(event.data(), event.size()));
  if (row.event == LedgerEvent::kLost) {
    absl::StrAppend(&buffer_, row.lease.value, ",,0,0,0\n");
    return;
  }
  CHECK(Index(row.account) < names_.size(), "Ledger: a row of an account that has no name");
  if (row.lease.value != 0) absl::StrAppend(&buffer_, absl::Hex(row.lease.value, absl::kZeroPad16));
  absl::StrAppend(&buffer_, ",", names_[Index(row.account)], ",", row.delta_bytes, ",", row.used_bytes, ",");
  absl::StrAppend(&buffer_, row.capacity_bytes, "\n");
}

}  // namespace vramgate
