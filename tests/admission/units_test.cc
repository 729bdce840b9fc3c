#include "admission/units.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vramgate {
namespace {

TEST(ParseBytesTest, ReadsBinaryDecimalAndPlain) {
  EXPECT_EQ(*ParseBytes("80GiB"), 80 * kGiB);
  EXPECT_EQ(*ParseBytes("72GB"), 72'000'000'000);
  EXPECT_EQ(*ParseBytes("1024"), 1024);
  EXPECT_EQ(*ParseBytes("0"), 0);
  EXPECT_EQ(*ParseBytes("63.2 GiB"), 67860483277);  // rounds up
  EXPECT_EQ(*ParseBytes("1.5KiB"), 1536);
}

TEST(ParseBytesTest, RefusesWhatIsNoSize) {
  for (const char* text :
       {"", "GiB", "-1GiB", "80Gib", "80 gigabytes", "1e3", "1.2.3GiB", "9999999999TiB", "nan", "inf", " 8GiB"}) {
    EXPECT_FALSE(ParseBytes(text).ok()) << text;
  }
  EXPECT_THAT(ParseBytes("80gb").status().message(), testing::HasSubstr("\"80gb\" is not a size"));
}

TEST(ParseCountTest, ReadsScientificNotation) {
  EXPECT_EQ(*ParseCount("72e9"), 72'000'000'000);
  EXPECT_EQ(*ParseCount("8030261248"), 8030261248);
  for (const char* text : {"", "-1", "1.5", "1e30", "0x10", "nan", "inf", "12k"})
    EXPECT_FALSE(ParseCount(text).ok()) << text;
}

TEST(ParseDurationTest, ReadsUnits) {
  EXPECT_EQ(*ParseDuration("30s"), absl::Seconds(30));
  EXPECT_EQ(*ParseDuration("1m30s"), absl::Seconds(90));
  EXPECT_EQ(*ParseDuration("0"), absl::ZeroDuration());
  for (const char* text : {"", "30", "-1s", "inf", "30 s", "abc"}) EXPECT_FALSE(ParseDuration(text).ok()) << text;
}

TEST(FormatBytesTest, SaysItShort) {
  EXPECT_EQ(FormatBytes(80 * kGiB), "80GiB");
  EXPECT_EQ(FormatBytes(16060522496), "14.96GiB");
  EXPECT_EQ(FormatBytes(17), "17B");
  EXPECT_EQ(FormatBytes(std::numeric_limits<int64_t>::max()), "unlimited");
}

}  // namespace
}  // namespace vramgate
