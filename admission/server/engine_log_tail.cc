#include "admission/server/engine_log_tail.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace vramgate {
namespace {

class Descriptor {
 public:
  explicit Descriptor(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

}  // namespace

absl::Status EngineLogTail::Poll() {
  const Descriptor file(path_);
  if (file.get() < 0) return absl::ErrnoToStatus(errno, path_);
  struct stat status{};
  if (fstat(file.get(), &status) != 0) return absl::ErrnoToStatus(errno, path_);
  if (!S_ISREG(status.st_mode)) return absl::FailedPreconditionError(absl::StrCat(path_, ": not a regular file"));
  if (status.st_ino != inode_ || status.st_dev != device_ || status.st_size < read_bytes_) {
    inode_ = status.st_ino;
    device_ = status.st_dev;
    read_bytes_ = 0;
    line_.clear();
    reader_ = {};
  }
  std::string chunk(EngineLogReader::kMaxLineBytes, '\0');
  for (int64_t left = kMostBytesAPoll; left > 0;) {
    const ssize_t n = pread(file.get(), chunk.data(), chunk.size(), read_bytes_);
    if (n < 0) return absl::ErrnoToStatus(errno, path_);
    if (n == 0) break;
    read_bytes_ += n;
    left -= n;
    std::string_view rest(chunk.data(), static_cast<size_t>(n));
    for (size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
      if (line_.size() < EngineLogReader::kMaxLineBytes) line_.append(rest.substr(0, end));
      reader_.Line(line_);
      line_.clear();
      rest.remove_prefix(end + 1);
    }
    if (line_.size() < EngineLogReader::kMaxLineBytes) line_.append(rest);
  }
  return absl::OkStatus();
}

}  // namespace vramgate
