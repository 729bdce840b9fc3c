// Typed reading of a GGUF file's keys of one architecture: every value is checked, the first error sticks and is asked
// for once at the end.
//
// Used by gguf_layers.cc. Confined to one thread. The file outlives its GgufFields.
//
//   GgufFields fields(file, "llama", "m.gguf");
//   const int64_t layers = fields.Required("block_count", kMaxLayers);        // the key llama.block_count
//   const std::vector<int64_t> heads = fields.PerLayer("attention.head_count", layers, 32, kMaxHeads);
//   if (!fields.status().ok()) return fields.status();                        // m.gguf: llama.block_count: missing
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "admission/estimator/gguf_file.h"

namespace vramgate {

class GgufFields {
 public:
  GgufFields(const GgufFile& file, std::string_view architecture, std::string_view name)
      : file_(file), architecture_(architecture), name_(name) {}

  bool Has(std::string_view key) const { return Find(key) != nullptr; }
  const GgufValue* Find(std::string_view key) const { return file_.Find(Full(key)); }

  // A whole number from 0 (Required: 1) to `max`. Absent, or not such: an error, or nullopt where absent.
  int64_t Required(std::string_view key, int64_t max);
  std::optional<int64_t> Optional(std::string_view key, int64_t max);

  // One number for each of the first `layers` layers: a list at least so long, or one number for all; `fallback` where
  // absent.
  std::vector<int64_t> PerLayer(std::string_view key, int64_t layers, int64_t fallback, int64_t max);

  // Keeps `message` as the error of `key`, unless there is one already.
  void Fail(std::string_view key, std::string_view message);
  const absl::Status& status() const { return status_; }

  const GgufFile& file() const { return file_; }

 private:
  std::string Full(std::string_view key) const;

  const GgufFile& file_;
  std::string architecture_;
  std::string name_;
  absl::Status status_;
};

}  // namespace vramgate
