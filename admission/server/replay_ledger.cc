#include "admission/server/replay_ledger.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vramgate {
namespace {

constexpr size_t kQueueRows = 16384;
constexpr char kFirstRow[] = "0.000000000,START,";  // no machine has been up for so short a time

absl::StatusOr<std::string> MakeTemporary() {
  std::error_code error;
  const std::filesystem::path directory = std::filesystem::temp_directory_path(error);
  if (error) return absl::UnavailableError(absl::StrCat("no directory for temporary files: ", error.message()));
  std::string path = (directory / "vramgate-replay-XXXXXX").string();
  const int fd = mkstemp(path.data());
  if (fd < 0) return absl::ErrnoToStatus(errno, path);
  close(fd);
  return path;
}

absl::Status MakeRoom(const std::string& path) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0 || info.st_size == 0) return absl::OkStatus();
  std::ifstream in(path, std::ios::binary);
  const std::string begin = absl::StrCat(absl::string_view(kLedgerHeader.data(), kLedgerHeader.size()), kFirstRow);
  std::string found(begin.size(), '\0');
  in.read(found.data(), static_cast<std::streamsize>(found.size()));
  if (!S_ISREG(info.st_mode) || found != begin) {
    return absl::FailedPreconditionError(
        absl::StrCat("ledger ", path, ": exists, and is no replay's: remove it, or name another file"));
  }
  return truncate(path.c_str(), 0) == 0 ? absl::OkStatus() : absl::ErrnoToStatus(errno, path);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ReplayLedger>> ReplayLedger::Open(const std::string& path) {
  std::string file = path;
  if (path.empty()) {
    absl::StatusOr<std::string> temporary = MakeTemporary();
    if (!temporary.ok()) return temporary.status();
    file = *std::move(temporary);
  } else {
    if (absl::Status status = MakeRoom(path); !status.ok()) return status;
  }
  absl::StatusOr<std::unique_ptr<Ledger>> ledger = Ledger::Open(file, {.queue_rows = kQueueRows, .thread = false});
  if (!ledger.ok()) return ledger.status();
  return std::unique_ptr<ReplayLedger>(new ReplayLedger(std::move(file), path.empty(), *std::move(ledger)));
}

ReplayLedger::~ReplayLedger() {
  if (temporary_) unlink(path_.c_str());
}

void ReplayLedger::OnRow(const LedgerRow& row) {
  if (unwritten_ == kQueueRows / 2) {
    ledger_->Flush().IgnoreError();  // what it says, Close says too
    unwritten_ = 0;
  }
  ledger_->Append(row);
  ++unwritten_;
}

absl::StatusOr<AuditReport> ReplayLedger::Close() {
  if (absl::Status status = ledger_->Close(); !status.ok()) return status;
  return AuditLedgerFile(path_);
}

}  // namespace vramgate
