// How each known `model_type` of Hugging Face configs is laid out: one reader a family, found by the type and by
// nothing else.
//
// Used by ParseModelConfig. Pure functions: no thread rule. To add a family: a reader and a line in the table, and a
// test with a parameter count that someone else has published.
//
//   if (ReadFamily read = FindFamily("llama")) read(fields, shape);   // errors stick to `fields`
#pragma once

#include <string>
#include <string_view>

#include "admission/estimator/json_fields.h"
#include "admission/estimator/model_shape.h"

namespace vramgate {

using ReadFamily = void (*)(JsonFields& fields, ModelShape& shape);

// The reader of `model_type`; null where it is not known.
ReadFamily FindFamily(std::string_view model_type);

// "bloom, falcon, ...", for errors.
std::string KnownFamilies();

}  // namespace vramgate
