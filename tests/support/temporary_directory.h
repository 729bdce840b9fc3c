// A directory that goes with the test.
//
//   TemporaryDirectory directory;
//   std::ofstream(directory.At("gate.yaml")) << "devices: ...";
//
// Short enough a path that a Unix socket fits into it. Thread rule: none of its own, it never changes.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "admission/check.h"

namespace vramgate {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "vramgate.XXXXXX").string();
    CHECK(mkdtemp(name.data()) != nullptr, "no temporary directory");
    path_ = name;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  // The path of a file in it.
  std::string At(std::string_view name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace vramgate
