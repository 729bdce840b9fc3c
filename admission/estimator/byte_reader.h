// Reads a file, or bytes in memory, from its beginning to its end, a chunk at a time, and never past the end.
//
// Used by the readers of GGUF and safetensors heads: a file may be 100 GB and only its first megabytes are looked at.
// A length that the file claims is compared with what is left before anything is allocated or read. Little-endian on
// every machine. Confined to one thread. Bytes in memory outlive their reader.
//
//   absl::StatusOr<ByteReader> in = ByteReader::Open("model.gguf");
//   const std::optional<uint64_t> magic = in->Number(4);   // nullopt: the file ends before
#pragma once

#include <cstdint>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"

namespace vramgate {

class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : chunk_(bytes), size_(bytes.size()) {}

  // A regular file. NOT_FOUND: there is none; INVALID_ARGUMENT: a directory, a pipe, or unreadable. Messages begin with
  // the path.
  static absl::StatusOr<ByteReader> Open(const std::string& path);

  uint64_t size() const { return size_; }
  uint64_t position() const { return position_; }
  uint64_t remaining() const { return size_ - position_; }

  // Each returns false or nullopt, and then is of no further use, where fewer bytes are left than asked for.
  bool Skip(uint64_t bytes);
  std::optional<std::string> Bytes(uint64_t bytes);
  // A whole number of that many bytes, 1 to 8.
  std::optional<uint64_t> Number(size_t bytes);

 private:
  ByteReader(std::ifstream stream, uint64_t size) : from_file_(true), stream_(std::move(stream)), size_(size) {}

  bool Read(void* to, size_t bytes);
  // Makes the file's next bytes the chunk. False at the end, or where the file has become shorter since it was opened.
  bool Refill();

  bool from_file_ = false;
  std::ifstream stream_;
  std::unique_ptr<char[]> buffer_;  // of a file: what the chunk points into
  std::string_view chunk_;          // not yet read of what is in memory
  uint64_t size_ = 0;
  uint64_t position_ = 0;
};

}  // namespace vramgate
