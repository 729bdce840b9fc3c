#include "admission/server/http_url.h"

#include <gtest/gtest.h>

namespace vramgate {
namespace {

TEST(HttpUrlTest, TakesApart) {
  const HttpUrl url = *ParseHttpUrl("http://127.0.0.1:8000/metrics?x=1");
  EXPECT_EQ(url.host, "127.0.0.1");
  EXPECT_EQ(url.port, "8000");
  EXPECT_EQ(url.target, "/metrics?x=1");
  EXPECT_EQ(url.authority(), "127.0.0.1:8000");
  const HttpUrl v6 = *ParseHttpUrl("http://[::1]:9/");
  EXPECT_EQ(v6.host, "::1");
  EXPECT_EQ(v6.authority(), "[::1]:9");
  EXPECT_EQ(ParseHttpUrl("http://vllm.serving")->port, "80");
  EXPECT_EQ(ParseHttpUrl("http://vllm")->target, "/");
  EXPECT_EQ(ParseHttpUrl("http://vllm?a")->target, "/?a");
}

TEST(HttpUrlTest, RefusesTheRest) {
  for (const char* text :
       {"", "http://", "https://a/", "127.0.0.1:8000/metrics", "http:///metrics", "http://a:0/", "http://a:65536/",
        "http://a:-1/", "http://a:/", "http://a:8 0/", "http://user:password@a/", "http://a/\r\nX: y", "http://a/#b",
        "http://[::1/", "http://[::1]x/", "http://[]/", "http://[a.b]:1/x y", "http://a\x7f/", "http://\xc3\xa4/"}) {
    EXPECT_FALSE(ParseHttpUrl(text).ok()) << text;
  }
}

}  // namespace
}  // namespace vramgate
