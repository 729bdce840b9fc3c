// The least config that is good, and changes to it: for the tests of the config.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "admission/server/config.h"

namespace vramgate {

// The least there is: one device, one model.
inline constexpr char kLeast[] = R"(devices:
  - {id: "0", simulated: {total: 80GiB}}
models:
  - name: m
    source: m/config.json
    instances:
      - {name: a, devices: ["0"], kv_pool: 40GiB}
)";

// kLeast with more lines.
inline std::string With(std::string_view more) {
  return absl::StrCat(kLeast, std::string(more));
}
// kLeast with `from` replaced.
inline std::string But(std::string_view from, std::string_view to) {
  const std::string text = absl::StrReplaceAll(kLeast, {{std::string(from), std::string(to)}});
  EXPECT_NE(text, kLeast) << from;
  return text;
}

// What is said of a config that is refused.
inline std::string Error(const std::string& yaml) {
  const absl::StatusOr<LoadedConfig> loaded = ParseConfig(yaml, "f.yaml");
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument) << yaml;
  return std::string(loaded.status().message());
}

}  // namespace vramgate
