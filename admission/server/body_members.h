// Which members of a JSON body say how large a request is, by endpoint. Names are those that engines read: a name that
// only another endpoint knows is text like any other, since the engine will not read it.
//
// Used by the readers of bodies. Constants, and a plain value; any thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "admission/check.h"
#include "admission/server/endpoint.h"

namespace vramgate {

enum class BodyMember : uint8_t {
  kOther,         // text
  kModel,         //
  kText,          // text of the prompt, which may hold an image or the like
  kPrompts,       // a prompt, or a list of them: texts or token ids
  kTools,         // "type" of each: only a function's is all in the body
  kOutputTokens,  // most tokens to generate
  kEndless,       // the same; below 0: no limit
  kSequences,     // for each prompt
  kBestOf,        // the same, of which the best are kept
  kParams,        // an object with more of these, a list of such, or JSON text of one
  kUnbounded,     // anything in it makes the prompt as long as it likes
  kTensors,       // KServe's inputs
  kBackground,    // true: the request goes on after its answer
};

struct BodyField {
  std::string_view name;
  BodyMember member;
};

inline constexpr size_t kMostBodyFields = 24;

struct BodyFields {
  std::span<const BodyField> top;     // of the body
  std::span<const BodyField> params;  // of what kParams hold
};

BodyFields FieldsOf(Endpoint endpoint);

// The members of one object: which of them is being read, and which have been.
class BodyLevel {
 public:
  // REQUIRES: at most kMostBodyFields.
  explicit BodyLevel(std::span<const BodyField> fields) : fields_(fields) {
    CHECK(fields.size() <= kMostBodyFields, "more members than are kept track of");
  }

  // An object begins.
  void Begin() {
    seen_ = {};
    Leave();
  }
  // False: it matters, and was there before.
  [[nodiscard]] bool Key(std::string_view name) {
    const auto it = std::find_if(fields_.begin(), fields_.end(), [&](const BodyField& f) { return f.name == name; });
    at_ = static_cast<size_t>(it - fields_.begin());
    return it == fields_.end() || !std::exchange(seen_[at_], true);
  }
  void Leave() { at_ = fields_.size(); }
  BodyMember member() const { return at_ < fields_.size() ? fields_[at_].member : BodyMember::kOther; }
  // "" where it is none of them.
  std::string_view name() const { return at_ < fields_.size() ? fields_[at_].name : ""; }

 private:
  std::span<const BodyField> fields_;
  size_t at_ = fields_.size();
  std::array<bool, kMostBodyFields> seen_{};
};

}  // namespace vramgate
