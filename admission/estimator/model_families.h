// The readers of model families: from a config's model_type to the reader that knows its keys and defaults.
//
// Adding a family: a function in the families_*.cc it resembles most, a line in that file's table, a row or a published
// parameter count in the tests. Nothing is looked up by a model's name.
//
//   if (const ReadFamily read = FindFamily("llama")) read(fields, shape);
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "admission/estimator/json_fields.h"
#include "admission/estimator/model_shape.h"

namespace vramgate {

// Fills `shape` from the text model's config; errors stick to `fields`.
using ReadFamily = void (*)(JsonFields& fields, ModelShape& shape);

struct FamilyReader {
  std::string_view model_type;
  ReadFamily read;
};

const std::vector<FamilyReader>& DenseFamilies();
const std::vector<FamilyReader>& ExpertFamilies();
const std::vector<FamilyReader>& WindowFamilies();
const std::vector<FamilyReader>& LatentFamilies();
const std::vector<FamilyReader>& MambaFamilies();
const std::vector<FamilyReader>& LinearFamilies();
const std::vector<FamilyReader>& OtherFamilies();

// The reader of `model_type`; null where it is not known.
ReadFamily FindFamily(std::string_view model_type);

// "bloom, falcon, ...", for errors.
std::string KnownFamilies();

// What lets a model in that is not known.
inline constexpr char kOverrideHint[] =
    "set kv_bytes_per_token (and state_bytes) and weights_bytes (or parameters) to price it by hand";

}  // namespace vramgate
