#include "admission/server/replay_ledger.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vramgate {
namespace {

constexpr size_t kQueueRows = 16384;

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

}  // namespace

absl::StatusOr<std::unique_ptr<ReplayLedger>> ReplayLedger::Open(const std::string& path) {
  std::string file = path;
  if (path.empty()) {
    absl::StatusOr<std::string> temporary = MakeTemporary();
    if (!temporary.ok()) return temporary.status();
    file = *std::move(temporary);
  } else {
    struct stat info{};
    if (stat(path.c_str(), &info) == 0 && info.st_size > 0)
      return absl::FailedPreconditionError(absl::StrCat("ledger ", path, ": exists: remove it, or name another file"));
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
