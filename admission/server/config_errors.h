// Where in a file something stands, and what is wrong there: the two halves of "gate.yaml:14: models[0].name: ...".
//
//   SourceMap lines("gate.yaml");
//   lines.Set("models[0].name", 14);
//   ErrorList errors;
//   errors.Add(lines.Where("models[0].name"), "given twice");
//   return errors.ToStatus();
//
// Used by all who read or judge the config. Plain values, no thread rule.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace vramgate {

// The path of `key` within `path`: "queue.max_wait". A key that would read as several steps is quoted.
std::string JoinPath(std::string_view path, std::string_view key);

// Which line of the file a field's value comes from.
class SourceMap {
 public:
  SourceMap() = default;
  explicit SourceMap(std::string file) : file_(std::move(file)) {}

  void Set(const std::string& path, int line) { lines_[path] = line; }
  const std::string& file() const { return file_; }
  // Whether the file gives a value for it.
  bool Has(std::string_view path) const { return lines_.contains(path); }
  // "file:line: path", for a field that was left out with the line of the nearest one that it would stand in.
  std::string Where(std::string_view path) const;

 private:
  std::string file_;
  std::map<std::string, int, std::less<>> lines_;
};

// What is wrong with a file: one line each, in the order found, at most kMax of them.
class ErrorList {
 public:
  static constexpr size_t kMax = 50;

  // `where` as of SourceMap::Where. The first word on a place is kept: what follows from it is not said as well.
  void Add(const std::string& where, std::string_view message);
  bool Has(const std::string& where) const { return places_.contains(where); }
  bool empty() const { return count_ == 0; }
  size_t size() const { return count_; }
  // INVALID_ARGUMENT with all of them, or OK.
  absl::Status ToStatus() const;

 private:
  std::vector<std::string> lines_;
  std::set<std::string> places_;
  size_t count_ = 0;
};

}  // namespace vramgate
