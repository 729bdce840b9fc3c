// Both ends of the plugin socket: bytes cut into frames, and frames read as what a sidecar says. Frames are within
// their bounds, and what is read points into them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "admission/check.h"
#include "admission/frame_reader.h"
#include "plugin/c/wire.h"

namespace {

constexpr size_t kMostBytes = 4096;

void Within(std::string_view frame, std::string_view text) {
  const bool within = text.data() >= frame.data() && text.data() + text.size() <= frame.data() + frame.size();
  CHECK(text.empty() || within, "text from outside of its frame");
}

void Check(std::string_view frame) {
  CHECK(!frame.empty() && frame.size() <= kMostBytes, "a frame beyond the limit");
  vramgate::plugin::Response response;
  if (!vramgate::plugin::Decode(frame, &response)) return;
  for (const std::string_view text : {response.lease, response.instance, response.reason, response.message})
    Within(frame, text);
  for (const std::string_view lease : response.stop) Within(frame, lease);
  for (const std::string_view lease : response.lost) Within(frame, lease);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  vramgate::FrameReader reader(kMostBytes);
  while (!rest.empty()) {
    // The first byte of each piece says how long it is.
    const size_t piece = std::min(rest.size(), size_t{1} + static_cast<unsigned char>(rest.front()));
    const std::span<char> room = reader.Room();
    std::copy_n(rest.begin(), piece, room.begin());
    reader.Filled(piece);
    rest.remove_prefix(piece);
    std::string_view frame;
    vramgate::FrameReader::Result result;
    while ((result = reader.Next(&frame)) == vramgate::FrameReader::Result::kFrame) Check(frame);
    if (result == vramgate::FrameReader::Result::kTooLong) return 0;
    CHECK(reader.pending_bytes() < kMostBytes + vramgate::FrameReader::kHeadBytes, "a whole frame was left");
  }
  return 0;
}
