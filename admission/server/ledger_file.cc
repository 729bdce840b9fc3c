// Opening a ledger file: what it must be before a row may be written to it.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "admission/server/ledger.h"

namespace vramgate {
namespace {

constexpr off_t kMaxRowBytes = 64 * 1024;

// Closes what was not handed on.
class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  int Take() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

absl::Status Unusable(const std::string& path, const char* why) {
  return absl::FailedPreconditionError(absl::StrCat("ledger ", path, ": ", why));
}

absl::StatusOr<std::string> ReadAt(const std::string& path, int fd, off_t offset, off_t size) {
  std::string bytes(static_cast<size_t>(size), '\0');
  const ssize_t n = pread(fd, bytes.data(), bytes.size(), offset);
  if (n < 0) return absl::ErrnoToStatus(errno, absl::StrCat("ledger ", path));
  if (n != size) return Unusable(path, "shrank while it was opened");
  return bytes;
}

// Cuts off what stands behind the last whole row. True: something did.
absl::StatusOr<bool> CutTornRow(const std::string& path, int fd, off_t size) {
  const off_t tail_size = std::min(size, kMaxRowBytes);
  absl::StatusOr<std::string> tail = ReadAt(path, fd, size - tail_size, tail_size);
  if (!tail.ok()) return tail.status();
  const size_t last = tail->rfind('\n');
  if (last == std::string::npos) return Unusable(path, "ends in a row without an end: move it away");
  const off_t whole = size - tail_size + static_cast<off_t>(last) + 1;
  if (whole == size) return false;
  if (ftruncate(fd, whole) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("ledger ", path));
  return true;
}

// Makes sure of the header. True: the last row of an earlier run was torn.
absl::StatusOr<bool> Prepare(const std::string& path, int fd) {
  struct stat info{};
  if (fstat(fd, &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("ledger ", path));
  if (!S_ISREG(info.st_mode)) return Unusable(path, "is not a regular file");
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) return Unusable(path, "another process writes it");
  if (fstat(fd, &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("ledger ", path));
  const off_t header_size = std::min(info.st_size, static_cast<off_t>(kLedgerHeader.size()));
  absl::StatusOr<std::string> header = ReadAt(path, fd, 0, header_size);
  if (!header.ok()) return header.status();
  if (!kLedgerHeader.starts_with(*header))
    return Unusable(path, "holds something else than a ledger: name another file");
  if (header->size() == kLedgerHeader.size()) return CutTornRow(path, fd, info.st_size);
  const std::string_view rest = kLedgerHeader.substr(header->size());
  const ssize_t n = write(fd, rest.data(), rest.size());
  if (n < 0) return absl::ErrnoToStatus(errno, absl::StrCat("ledger ", path));
  if (n != static_cast<ssize_t>(rest.size()))
    return absl::ResourceExhaustedError(absl::StrCat("ledger ", path, ": the disk is full"));
  return false;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Ledger>> Ledger::Open(const std::string& path, Options options) {
  if (options.queue_rows < 2) return absl::InvalidArgumentError("a ledger's queue holds at least 2 rows");
  File file(open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640));
  if (file.get() < 0) return absl::ErrnoToStatus(errno, absl::StrCat("ledger ", path));
  const absl::StatusOr<bool> torn = Prepare(path, file.get());
  if (!torn.ok()) return torn.status();
  return std::unique_ptr<Ledger>(new Ledger(path, file.Take(), *torn, options));
}

}  // namespace vramgate
