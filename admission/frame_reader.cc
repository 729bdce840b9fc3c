#include "admission/frame_reader.h"

#include <algorithm>
#include <cstring>

#include "admission/check.h"

namespace vramgate {
namespace {

constexpr size_t kKeptBytes = 4 * FrameReader::kRoomBytes;  // of an empty buffer: a large frame's room is given back

uint32_t LittleEndian(const char* bytes) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

}  // namespace

std::span<char> FrameReader::Room() {
  if (begin_ == end_) {
    begin_ = end_ = 0;
    if (buffer_.size() > kKeptBytes) {
      buffer_.resize(kKeptBytes);
      buffer_.shrink_to_fit();
    }
  }
  if (buffer_.size() - end_ < kRoomBytes && begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  // Doubles, so that a large frame is moved a few times only; it grows with what has come, not with what was promised.
  if (buffer_.size() - end_ < kRoomBytes) buffer_.resize(std::max(end_ + kRoomBytes, 2 * buffer_.size()));
  return {buffer_.data() + end_, buffer_.size() - end_};
}

void FrameReader::Filled(size_t bytes) {
  CHECK(bytes <= buffer_.size() - end_, "FrameReader: more was written than there was room for");
  end_ += bytes;
}

FrameReader::Result FrameReader::Next(std::string_view* frame) {
  if (end_ - begin_ < kHeadBytes) return Result::kMore;
  const uint32_t length = LittleEndian(buffer_.data() + begin_);
  if (length == 0 || length > most_bytes_) {
    bad_length_ = length;
    return Result::kTooLong;
  }
  if (end_ - begin_ - kHeadBytes < length) return Result::kMore;
  *frame = {buffer_.data() + begin_ + kHeadBytes, length};
  begin_ += kHeadBytes + length;
  return Result::kFrame;
}

void FrameReader::Clear() {
  buffer_ = {};
  begin_ = end_ = 0;
}

void AppendFrameHead(size_t bytes, std::string* out) {
  for (int shift = 0; shift < 32; shift += 8) out->push_back(static_cast<char>(bytes >> shift & 0xff));
}

}  // namespace vramgate
