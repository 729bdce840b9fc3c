// Reads one part of a GGUF file from a ByteReader; gguf_file.h is the interface, this is its inside.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "admission/estimator/byte_reader.h"
#include "admission/estimator/gguf_file.h"

namespace vramgate {

// The part that `in` begins with. Its tensors are sorted by name. Messages begin with `name`.
absl::StatusOr<GgufFile> ReadGgufHead(ByteReader& in, std::string_view name);

}  // namespace vramgate
