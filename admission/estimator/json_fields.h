// Typed reading of one JSON object from outside: every value is checked, the first error sticks and is asked for once
// at the end.
//
// Used by the readers of model configs. Confined to one thread. The JSON document outlives its JsonFields.
//
//   absl::StatusOr<nlohmann::json> document = ParseJsonObject(text, "config.json");
//   JsonFields fields(*document, "config.json");
//   shape.layers = fields.Required({"num_hidden_layers", "n_layer"});   // the first name that is present
//   if (!fields.status().ok()) return fields.status();                  // config.json: num_hidden_layers: -3 must be
//   ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vramgate {

inline constexpr size_t kMaxConfigBytes = size_t{4} << 20;
inline constexpr int kMaxConfigDepth = 32;

// A JSON object of at most kMaxConfigBytes and kMaxConfigDepth, or INVALID_ARGUMENT that begins with `name`.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text, std::string_view name);

class JsonFields {
 public:
  // What a size may be at most, so that a product of two cannot overflow; ModelShape::Validate has narrower limits for
  // each.
  static constexpr int64_t kMaxCount = int64_t{1} << 30;

  // REQUIRES: `object` is a JSON object.
  JsonFields(const nlohmann::json& object, std::string_view name) : object_(&object), name_(name) {}

  // Present and not null.
  bool Has(const char* key) const { return Find(key) != nullptr; }

  // The first key that is present: a whole number from 1 (Optional: `min`) to kMaxCount. Absent or null: an error, or
  // nullopt.
  int64_t Required(std::initializer_list<const char*> keys);
  std::optional<int64_t> Optional(std::initializer_list<const char*> keys, int64_t min = 1);

  // A number from `min` to `max` / true or false / a string; `fallback` where absent or null.
  double Number(const char* key, double fallback, double min = 0, double max = 1);
  bool Bool(const char* key, bool fallback);
  std::string String(const char* key, std::string_view fallback);

  // A list of whole numbers from 0 to kMaxCount (`nulls`: null reads as 0) / of strings; empty where absent or null.
  std::vector<int64_t> Counts(const char* key, bool nulls = false);
  std::vector<std::string> Strings(const char* key);

  // The object at `key`; null where absent, and an error where it is none.
  const nlohmann::json* Object(const char* key);

  // The value, or null where absent. For what has a shape of its own: lists, nested objects.
  const nlohmann::json* Find(const char* key) const;

  // Keeps `message` as the error of `key`, unless there is one already.
  void Fail(const char* key, std::string_view message);
  // Keeps another reader's error, unless there is one already.
  void Adopt(const absl::Status& status) {
    if (status_.ok()) status_ = status;
  }
  const absl::Status& status() const { return status_; }
  const std::string& name() const { return name_; }

 private:
  const nlohmann::json* object_;
  std::string name_;
  absl::Status status_;
};

}  // namespace vramgate
