// A YAML document as a plain tree, with the line of every node: what the config is read from and printed through.
//
//   absl::StatusOr<YamlNode> root = ParseYaml(text, "gate.yaml");   // errors begin "gate.yaml:14: "
//   std::string again = WriteYaml(*root);
//
// A strict subset of YAML: one document, keys are scalars, no anchors, aliases or tags, so that what is read is what is
// written and no input grows while it is read. yaml-cpp parses; it goes no further than this file. Plain values, no
// thread rule.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace vramgate {

struct YamlNode {
  enum class Kind : uint8_t { kNull, kScalar, kList, kMap };

  static YamlNode Text(std::string text) { return {.kind = Kind::kScalar, .quoted = true, .text = std::move(text)}; }
  static YamlNode Plain(std::string text) { return {.kind = Kind::kScalar, .text = std::move(text)}; }
  static YamlNode List() { return {.kind = Kind::kList}; }
  static YamlNode Map() { return {.kind = Kind::kMap}; }

  Kind kind = Kind::kNull;
  bool quoted = false;          // a scalar in quotes (or a block): text, never a number
  int line = 0;                 // 1-based: of the key, where it has one. 0: from no file
  std::string key;              // within a map
  std::string text;             // of a scalar
  std::vector<YamlNode> items;  // of a list or a map, in the order written; a key may stand twice
};

inline constexpr size_t kMaxYamlBytes = size_t{1} << 20;
inline constexpr size_t kMaxYamlDepth = 32;

// INVALID_ARGUMENT, with `name` and the line: not YAML, or not of the subset above, or over the limits. An empty text
// is an empty map.
absl::StatusOr<YamlNode> ParseYaml(std::string_view text, std::string_view name);

// Texts come out in double quotes, plain scalars as they are (JSON: in quotes, unless a number or a boolean). End with
// a newline.
std::string WriteYaml(const YamlNode& node);
std::string WriteJson(const YamlNode& node);

}  // namespace vramgate
