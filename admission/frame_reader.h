// Cuts what comes through the plugin socket into frames (proto/vramgate/v1/plugin.proto): a u32, little-endian, the
// length, and so many bytes. It is the first to touch what a peer sends.
//
//   FrameReader frames(most_bytes);
//   const std::span<char> room = frames.Room();           // read into it
//   frames.Filled(n);
//   std::string_view frame;
//   while (frames.Next(&frame) == FrameReader::Result::kFrame) ...
//
// Used by both ends of the plugin socket (server/plugin_connection, plugin/c) and the fuzzer. Memory: what has been
// read and not been taken, at most one frame and one Room. Thread rule: one thread. Lifetime rule: a frame is valid
// until the next Room.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace vramgate {

class FrameReader {
 public:
  static constexpr size_t kHeadBytes = 4;
  static constexpr size_t kRoomBytes = size_t{64} * 1024;

  // `most_bytes`: of a frame without its length. REQUIRES: below 2^32.
  explicit FrameReader(size_t most_bytes) : most_bytes_(most_bytes) {}

  // Where the next bytes go: at least kRoomBytes.
  std::span<char> Room();
  // So many of them were written. REQUIRES: no more than Room had.
  void Filled(size_t bytes);

  enum class Result : uint8_t {
    kFrame,
    kMore,     // what has come ends before its frame does
    kTooLong,  // the length is 0 or above the limit: nothing behind it can be read
  };
  Result Next(std::string_view* frame);
  // After kTooLong: the length that was given.
  uint32_t bad_length() const { return bad_length_; }
  // Forgets what has come: another peer's bytes follow.
  void Clear();
  // Read and not taken.
  size_t pending_bytes() const { return end_ - begin_; }

 private:
  const size_t most_bytes_;
  std::string buffer_;
  size_t begin_ = 0;  // of what has not been taken
  size_t end_ = 0;    // of what has come
  uint32_t bad_length_ = 0;
};

// The head of a frame of so many bytes, appended to `out`.
void AppendFrameHead(size_t bytes, std::string* out);

}  // namespace vramgate
