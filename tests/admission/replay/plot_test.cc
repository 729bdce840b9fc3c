#include "admission/replay/plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/admission/replay/inputs.h"

namespace vramgate {
namespace {

using testing::HasSubstr;
using testing::Not;

size_t Count(const std::string& text, const std::string& what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST(PlotTest, ThreePanelsWithALineForEachPolicy) {
  const ReplayInput input = InputOf(Slice("azure2023_conv_1500", 300), 20'000, 1024, 4);
  const std::string svg = PlotSvg("a <trace> & \"more\"", input.engine.pool_bytes,
                                  {Replayed("worst_case", input), Replayed("oracle", input)});
  EXPECT_THAT(svg, testing::StartsWith("<svg xmlns="));
  EXPECT_THAT(svg, testing::EndsWith("</svg>\n"));
  EXPECT_EQ(Count(svg, "<path "), 6u);
  EXPECT_EQ(Count(svg, "class=\"budget\""), 1u);
  EXPECT_THAT(svg, HasSubstr("prefers-color-scheme: dark"));
  EXPECT_THAT(svg, HasSubstr("a &#60;trace&#62; &#38; &#34;more&#34;"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
}

TEST(PlotTest, ARunOfNothingIsAPictureToo) {
  const std::string svg = PlotSvg("", 1, {ReplayResult{}});
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, testing::EndsWith("</svg>\n"));
}

}  // namespace
}  // namespace vramgate
