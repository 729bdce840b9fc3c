#include "admission/server/json_body.h"

#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "admission/check.h"
#include "admission/server/body_members.h"
#include "nlohmann/json.hpp"

namespace vramgate {
namespace {

using enum BodyMember;
using nlohmann::json;

// Hears the tokens of one body in order. A handler that returns false ends the parse; refusal() then says why.
class BodyReader final : public nlohmann::json_sax<json> {
 public:
  BodyReader(Endpoint endpoint, RequestBody* out)
      : endpoint_(endpoint), top_(FieldsOf(endpoint).top), params_(FieldsOf(endpoint).params), out_(out) {}
  // Of parameters alone.
  BodyReader(std::string_view name, std::span<const BodyField> fields)
      : prefix_(name), top_(fields), params_({}), texts_count_(true) {}

  bool null() override { return Value("null") && Literal(); }
  bool boolean(bool value) override;
  bool number_integer(number_integer_t value) override { return Number(value); }
  bool number_unsigned(number_unsigned_t value) override {
    return Number(static_cast<int64_t>(std::min<uint64_t>(value, std::numeric_limits<int64_t>::max())));
  }
  bool number_float(number_float_t value, const string_t&) override;
  bool string(string_t& value) override;
  bool binary(binary_t&) override { return Fail("binary"); }  // not of JSON text
  bool key(string_t& name) override;
  bool start_object(std::size_t) override;
  bool end_object() override;
  bool start_array(std::size_t) override;
  bool end_array() override;
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    top_.Leave();
    params_.Leave();
    return Fail(absl::StrCat("not well-formed JSON at byte ", position));
  }

  OutputLimits limits() const;
  void Finish();
  std::optional<Refusal> refusal() && { return std::move(refusal_); }

 private:
  bool Fail(std::string_view why);
  bool AtTop() const { return depth_ == 1; }
  bool InParams() const { return params_depth_ != 0 && depth_ == params_depth_; }
  // Whose value comes now; kOther within others.
  BodyMember Here() const { return AtTop() ? top_.member() : InParams() ? params_.member() : kOther; }
  static bool IsCount(BodyMember m) { return m == kOutputTokens || m == kEndless || m == kSequences || m == kBestOf; }
  bool Within(BodyMember m) const { return depth_ >= 1 && top_.member() == m; }

  // Before every value: whether one of this kind may stand here at all.
  bool Value(std::string_view kind);
  bool Literal() {
    bytes_ += 1;
    return true;
  }
  bool Open(bool object);
  bool Number(int64_t value);
  bool Count(BodyMember member, int64_t value);
  void EndPrompt(int64_t bytes);

  const Endpoint endpoint_ = Endpoint::kNone;
  const std::string_view prefix_;
  BodyLevel top_;
  BodyLevel params_;
  const bool texts_count_ = false;
  RequestBody* const out_ = nullptr;
  std::optional<Refusal> refusal_;

  int depth_ = 0;
  int params_depth_ = 0;    // where the members of kParams are; 0: not within
  bool type_next_ = false;  // the next value is of a nested key "type"
  int64_t bytes_ = 0;       // that count so far
  OutputLimits limits_;     // of the body itself
  OutputLimits in_params_;  // of what kParams hold
  OutputLimits in_text_;    // the same, written as text: where given, it is what the engine reads
  bool has_text_params_ = false;
  bool unbounded_ = false;  // no byte count bounds the prompt

  int64_t prompts_ = 0;
  int64_t prompts_bytes_ = 0;  // of those in lists
  int64_t longest_bytes_ = 0;
  int64_t prompt_began_ = 0;
  int64_t ids_ = 0;  // of the prompt being read
  int64_t longest_ids_ = 0;
  bool only_ids_ = true;
};

bool BodyReader::Fail(std::string_view why) {
  const std::string_view inner = InParams() ? params_.name() : "";
  std::string field = absl::StrCat(std::string(prefix_), prefix_.empty() || top_.name().empty() ? "" : ".",
                                   std::string(top_.name()), inner.empty() ? "" : ".", std::string(inner));
  refusal_ = {Outcome::kRejectedInvalidRequest, std::move(field), std::string(why)};
  return false;
}

bool BodyReader::Value(std::string_view kind) {
  const auto is = [&](std::string_view other) { return kind == other; };
  if (depth_ == 0 && !is("an object")) {
    return Fail(absl::StrCat(prefix_.empty() ? "the body is " : "is ", std::string(kind), ", not an object"));
  }
  const BodyMember here = Here();
  if (here == kModel && !is("a string")) return Fail(absl::StrCat("must be a string, not ", std::string(kind)));
  const bool written = texts_count_ && is("a string");
  if (IsCount(here) && !is("null") && !is("a number") && !written) {
    return Fail(absl::StrCat("must be a whole number, not ", std::string(kind)));
  }
  const bool scalar = !is("an object") && !is("a list");
  if (Within(kUnbounded) && scalar && !is("null")) unbounded_ = true;
  if (Within(kPrompts) && !is("a number") && !is("a list") && !is("null")) only_ids_ = false;
  if (Within(kText) && scalar && !is("null")) only_ids_ = false;
  if (here == kPrompts && is("a number")) only_ids_ = false;
  if (Within(kPrompts) && depth_ > 2 && is("a list")) only_ids_ = false;
  type_next_ = type_next_ && is("a string");
  return true;
}

bool BodyReader::boolean(bool value) {
  if (value && Here() == kBackground) {
    return Fail("true: it would go on after its HTTP request, where nobody can follow its memory. Leave it out");
  }
  if (!value && Here() == kUnbounded) return Literal();
  return Value("a boolean") && Literal();
}

bool BodyReader::number_float(number_float_t value, const string_t&) {
  const bool whole = std::trunc(value) == value && std::abs(value) <= static_cast<double>(kMostCount);
  if (!whole && IsCount(Here())) return Fail("must be a whole number");
  if (Within(kPrompts)) only_ids_ = false;
  return Number(whole ? static_cast<int64_t>(value) : 0);
}

bool BodyReader::Number(int64_t value) {
  if (!Value("a number")) return false;
  const BodyMember here = Here();
  if (IsCount(here)) return Count(here, value) && Literal();
  if (Within(kPrompts) && depth_ <= 3) ids_ += 1;
  return Literal();
}

bool BodyReader::Count(BodyMember member, int64_t value) {
  const bool tokens = member == kOutputTokens || member == kEndless;
  if (member == kEndless && value < 0) value = kMostCount;
  const int64_t least = tokens ? 0 : 1;
  if (value < least || value > kMostCount) {
    return Fail(absl::StrCat(value, " is not within ", least, " and ", kMostCount));
  }
  OutputLimits& limits = InParams() ? in_params_ : limits_;
  // 0 output tokens: the engine only reads the prompt, or refuses.
  if (tokens) limits.tokens = std::max({int64_t{1}, value, limits.tokens.value_or(0)});
  if (member == kSequences) limits.n = std::max(limits.n, value);
  if (member == kBestOf) limits.best_of = std::max(limits.best_of, value);
  return true;
}

bool BodyReader::key(string_t& name) {
  bytes_ += static_cast<int64_t>(name.size());
  if (AtTop()) return top_.Key(name) || Fail("given twice");
  if (InParams()) return params_.Key(name) || Fail("given twice");
  const bool may_hold_media = Within(kText) || Within(kPrompts);
  unbounded_ = unbounded_ || (may_hold_media && IsMedia(name));
  type_next_ = name == "type" && (may_hold_media || (Within(kTools) && depth_ == 3));
  return true;
}

bool BodyReader::string(string_t& value) {
  const bool of_type = type_next_;
  const auto size = static_cast<int64_t>(value.size());
  const BodyMember here = Here();
  if (here == kUnbounded && value.empty()) return Literal();
  if (!Value("a string")) return false;
  type_next_ = false;
  bytes_ += size;
  if (IsCount(here)) {  // written as text: Value has let it pass
    int64_t count = 0;
    return absl::SimpleAtoi(value, &count) ? Count(here, count) : Fail("must be a whole number");
  }
  if (here == kModel) {
    if (value.size() > kMostModelBytes) return Fail(absl::StrCat(size, " bytes are too long for a name"));
    if (out_ != nullptr) out_->model = value;
  }
  if (of_type && Within(kTools)) {
    unbounded_ = unbounded_ || (value != "function" && value != "custom");
  } else if (of_type) {
    unbounded_ = unbounded_ || IsMedia(value) || value == "document";
  }
  // TGI fetches what Markdown shows.
  if (endpoint_ == Endpoint::kGenerate && Within(kPrompts) && value.find("![") != string_t::npos) unbounded_ = true;
  if (here == kPrompts) prompts_ += 1;  // the only one of its member
  if (depth_ == 2 && Within(kPrompts)) EndPrompt(size);
  if (here == kParams && AtTop() && !value.empty()) {
    has_text_params_ = true;
    if (auto refusal = ReadParams(endpoint_, top_.name(), value, &in_text_)) {
      refusal_ = std::move(refusal);
      return false;
    }
  }
  return true;
}

bool BodyReader::Open(bool object) {
  const bool params = Here() == kParams || (depth_ == 2 && Within(kParams));
  if (++depth_ > kMostBodyDepth) return Fail(absl::StrCat("nested deeper than ", kMostBodyDepth));
  if (object && params && params_depth_ == 0) {
    params_depth_ = depth_;
    params_.Begin();
  }
  return Literal();
}

bool BodyReader::start_object(std::size_t) {
  if (!Value("an object")) return false;
  if (depth_ == 2 && Within(kPrompts)) prompt_began_ = bytes_;
  return Open(true);
}

bool BodyReader::end_object() {
  if (InParams()) params_depth_ = 0;
  --depth_;
  if (depth_ == 2 && Within(kPrompts)) EndPrompt(bytes_ - prompt_began_);
  return Literal();
}

bool BodyReader::start_array(std::size_t) {
  if (!Value("a list")) return false;
  if (depth_ == 2 && Within(kPrompts)) {
    prompt_began_ = bytes_;
    longest_ids_ = std::max(longest_ids_, std::exchange(ids_, 0));
  }
  return Open(false);
}

bool BodyReader::end_array() {
  --depth_;
  Literal();
  if (Within(kPrompts) && depth_ == 2) EndPrompt(bytes_ - prompt_began_);
  if (Within(kPrompts) && depth_ == 1) {
    if (ids_ > 0) prompts_ += 1;  // a list of ids is one
    longest_ids_ = std::max(longest_ids_, std::exchange(ids_, 0));
  }
  return true;
}

// One of several prompts has ended.
void BodyReader::EndPrompt(int64_t bytes) {
  prompts_ += 1;
  prompts_bytes_ += bytes;
  longest_bytes_ = std::max(longest_bytes_, bytes);
  longest_ids_ = std::max(longest_ids_, std::exchange(ids_, 0));
}

OutputLimits BodyReader::limits() const {
  OutputLimits all = limits_;
  all.Add(has_text_params_ ? in_text_ : in_params_);
  return all;
}

void BodyReader::Finish() {
  const OutputLimits all = limits();
  out_->prompt_bytes = unbounded_ ? kUnboundedPromptBytes : bytes_ - prompts_bytes_ + longest_bytes_;
  if (only_ids_ && !unbounded_ && longest_ids_ > 0) out_->prompt_tokens = longest_ids_;
  out_->max_output_tokens = all.tokens;
  out_->prompts = Sequences(std::max<int64_t>(1, prompts_), 1);
  out_->sequences = Sequences(out_->prompts, std::max(all.n, all.best_of));
  if (endpoint_ != Endpoint::kEmbeddings) return;
  out_->max_output_tokens = 1;
  if (out_->prompt_tokens) out_->prompt_tokens = std::max<int64_t>(1, *out_->prompt_tokens - 1);
}

}  // namespace

bool IsMedia(std::string_view word) {
  constexpr std::array<std::string_view, 4> kWords = {"image", "audio", "video", "file"};
  return std::any_of(kWords.begin(), kWords.end(),
                     [&](std::string_view media) { return word.find(media) != std::string_view::npos; });
}

std::optional<Refusal> ReadJsonBody(Endpoint endpoint, std::string_view text, RequestBody* out) {
  BodyReader reader(endpoint, out);
  if (!json::sax_parse(text.begin(), text.end(), &reader)) return std::move(reader).refusal();
  reader.Finish();
  return std::nullopt;
}

std::optional<Refusal> ReadParams(Endpoint endpoint, std::string_view name, std::string_view text, OutputLimits* out) {
  BodyReader reader(name, FieldsOf(endpoint).params);
  if (!json::sax_parse(text.begin(), text.end(), &reader)) return std::move(reader).refusal();
  out->Add(reader.limits());
  return std::nullopt;
}

}  // namespace vramgate
