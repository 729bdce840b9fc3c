#include "admission/frame_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace vramgate {
namespace {

using Result = FrameReader::Result;

void Feed(FrameReader& reader, std::string_view bytes) {
  while (!bytes.empty()) {
    const std::span<char> room = reader.Room();
    ASSERT_GE(room.size(), FrameReader::kRoomBytes);
    const size_t now = std::min(bytes.size(), room.size());
    std::copy_n(bytes.begin(), now, room.begin());
    reader.Filled(now);
    bytes.remove_prefix(now);
  }
}

std::string Frame(std::string_view text) {
  std::string frame;
  AppendFrameHead(text.size(), &frame);
  return frame.append(text);
}

TEST(FrameReaderTest, FramesComeWholeHoweverTheyAreCut) {
  const std::string large(200'000, 'x');
  const std::string stream = Frame("a") + Frame(large) + Frame("bc");
  for (const size_t piece : {size_t{1}, size_t{3}, size_t{4096}, stream.size()}) {
    FrameReader reader(1 << 20);
    std::vector<std::string> frames;
    for (size_t at = 0; at < stream.size(); at += piece) {
      Feed(reader, std::string_view(stream).substr(at, piece));
      std::string_view frame;
      while (reader.Next(&frame) == Result::kFrame) frames.emplace_back(frame);
    }
    EXPECT_EQ(frames, (std::vector<std::string>{"a", large, "bc"})) << piece;
    EXPECT_EQ(reader.pending_bytes(), 0);
  }
}

TEST(FrameReaderTest, ALengthOfNothingOrBeyondTheLimitIsRefusedAtOnce) {
  std::string_view frame;
  FrameReader limited(10);
  Feed(limited, Frame("0123456789"));
  EXPECT_EQ(limited.Next(&frame), Result::kFrame);
  Feed(limited, std::string_view("\x0b\0\0\0", 4));
  EXPECT_EQ(limited.Next(&frame), Result::kTooLong);
  EXPECT_EQ(limited.bad_length(), 11);

  FrameReader empty(10);
  Feed(empty, std::string_view("\0\0\0\0", 4));
  EXPECT_EQ(empty.Next(&frame), Result::kTooLong);

  FrameReader huge(size_t{64} << 20);
  Feed(huge, "\xff\xff\xff\xff");
  EXPECT_EQ(huge.Next(&frame), Result::kTooLong);
  EXPECT_EQ(huge.bad_length(), 0xffffffff);
}

TEST(FrameReaderTest, APromiseOfMuchTakesNoMemoryForIt) {
  FrameReader reader(size_t{64} << 20);
  std::string_view frame;
  Feed(reader, std::string_view("\0\0\0\x03", 4));  // 48 MiB to come
  EXPECT_EQ(reader.Next(&frame), Result::kMore);
  EXPECT_LE(reader.Room().size(), 4 * FrameReader::kRoomBytes);
}

TEST(FrameReaderTest, ClearForgetsAFrameThatWasBegun) {
  FrameReader reader(100);
  std::string_view frame;
  Feed(reader, std::string_view("\x05\0\0\0ab", 6));
  EXPECT_EQ(reader.Next(&frame), Result::kMore);
  reader.Clear();
  Feed(reader, Frame("new"));
  ASSERT_EQ(reader.Next(&frame), Result::kFrame);
  EXPECT_EQ(frame, "new");
}

}  // namespace
}  // namespace vramgate
