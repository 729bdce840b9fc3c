// Whether bytes are well-formed UTF-8 (Unicode 15, table 3-7: no overlong forms, no surrogates, nothing above
// U+10FFFF).
//
//   if (!IsValidUtf8(name)) return absl::InvalidArgumentError("name: not valid UTF-8");
//
// Used wherever text from outside enters or is shown back: the config, callers' ids, flags, models' files. Thread-safe.
#pragma once

#include <string>
#include <string_view>

namespace vramgate {

// Allocates nothing.
bool IsValidUtf8(std::string_view text);

// `text` in quotes for a message to people: at most `max_bytes` of it, control and ill-formed bytes escaped.
std::string Quoted(std::string_view text, size_t max_bytes = 64);

}  // namespace vramgate
