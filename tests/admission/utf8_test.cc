// UTF-8 at its edges: the first and last of every length, and what lies just outside.
#include "admission/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace vramgate {
namespace {

TEST(Utf8Test, AcceptsTheFirstAndLastOfEveryLength) {
  for (const char* text : {"", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                           "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "a\xc3\xa9z"}) {
    EXPECT_TRUE(IsValidUtf8(text)) << text;
  }
}

TEST(Utf8Test, RefusesOverlongSurrogatesAndTorn) {
  for (const char* text :
       {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80", "\xff", "\xc2", "\xe2\x82", "\xf0\x9f\x98", "\xc2\x61", "\xe2\x82\x61"}) {
    EXPECT_FALSE(IsValidUtf8(text)) << text;
  }
}

TEST(Utf8Test, QuotedIsSafeToPrintAndBounded) {
  EXPECT_EQ(Quoted("a\"\n\x01"), R"("a\"\n\001")");
  EXPECT_EQ(Quoted("caf\xc3\xa9"), "\"caf\xc3\xa9\"");
  EXPECT_EQ(Quoted("\xff"), R"("\377")");
  EXPECT_EQ(Quoted("abc\xc3\xa9", 4), "\"abc\"...");
  EXPECT_EQ(Quoted(std::string(1000, 'x'), 10), "\"xxxxxxxxxx\"...");
}

}  // namespace
}  // namespace vramgate
