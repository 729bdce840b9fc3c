#include "admission/estimator/byte_reader.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "admission/check.h"

namespace vramgate {
namespace {

constexpr size_t kChunkBytes = size_t{64} << 10;

}  // namespace

absl::StatusOr<ByteReader> ByteReader::Open(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) return absl::NotFoundError(absl::StrCat(path, ": no such file"));
  if (!std::filesystem::is_regular_file(status)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  }
  const uint64_t size = std::filesystem::file_size(path, error);
  std::ifstream stream(path, std::ios::binary);
  if (error || !stream.is_open()) return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read"));
  return ByteReader(std::move(stream), size);
}

bool ByteReader::Skip(uint64_t bytes) {
  if (bytes > remaining()) return false;
  position_ += bytes;
  if (bytes <= chunk_.size()) {
    chunk_.remove_prefix(bytes);
    return true;
  }
  chunk_ = {};
  return static_cast<bool>(stream_.seekg(static_cast<std::streamoff>(position_)));
}

std::optional<std::string> ByteReader::Bytes(uint64_t bytes) {
  if (bytes > remaining()) return std::nullopt;
  std::string result(bytes, '\0');
  if (!Read(result.data(), result.size())) return std::nullopt;
  return result;
}

std::optional<uint64_t> ByteReader::Number(size_t bytes) {
  unsigned char raw[sizeof(uint64_t)] = {};
  CHECK(bytes <= sizeof(raw), "ByteReader: a number of more than 8 bytes");
  if (!Read(raw, bytes)) return std::nullopt;
  uint64_t value = 0;
  for (size_t i = 0; i < bytes; ++i) value |= uint64_t{raw[i]} << (8 * i);
  return value;
}

bool ByteReader::Read(void* to, size_t bytes) {
  if (bytes > remaining()) return false;
  char* out = static_cast<char*>(to);
  while (bytes > 0) {
    if (chunk_.empty() && !Refill()) return false;
    const size_t now = std::min(bytes, chunk_.size());
    std::memcpy(out, chunk_.data(), now);
    chunk_.remove_prefix(now);
    position_ += now;
    out += now;
    bytes -= now;
  }
  return true;
}

bool ByteReader::Refill() {
  if (!from_file_ || remaining() == 0) return false;
  if (buffer_ == nullptr) buffer_ = std::make_unique<char[]>(kChunkBytes);
  const uint64_t wanted = std::min<uint64_t>(kChunkBytes, remaining());
  stream_.read(buffer_.get(), static_cast<std::streamsize>(wanted));
  chunk_ = {buffer_.get(), static_cast<size_t>(stream_.gcount())};
  return !chunk_.empty();
}

}  // namespace vramgate
