#include "admission/server/chat_body.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace vramgate {
namespace {

using nlohmann::json;

constexpr int kMostDepth = 64;
constexpr size_t kMostModelBytes = 1024;                  // longer than limits.request_id_bytes may be
constexpr int64_t kWholeContextBytes = int64_t{1} << 40;  // more than any model's length: the prompt may be that long
constexpr int64_t kMostCount = int64_t{1} << 40;

enum class Member : uint8_t { kOther, kModel, kMessages, kPrompt, kMaxTokens, kMaxCompletionTokens, kN, kBestOf };
constexpr std::array<std::string_view, 8> kMembers = {
    "", "model", "messages", "prompt", "max_tokens", "max_completion_tokens", "n", "best_of"};

Member MemberOf(std::string_view key) {
  const auto it = std::find(kMembers.begin() + 1, kMembers.end(), key);
  return it == kMembers.end() ? Member::kOther : static_cast<Member>(it - kMembers.begin());
}

// The key under which a part of a message carries what is no text: image_url, input_audio, video_url, file, ...
bool IsMedia(std::string_view key) {
  constexpr std::array<std::string_view, 4> kWords = {"image", "audio", "video", "file"};
  return std::any_of(kWords.begin(), kWords.end(),
                     [&](std::string_view word) { return key.find(word) != std::string_view::npos; });
}

// Hears the tokens of one body in order. A handler that returns false ends the parse; refusal() then says why.
class BodyReader final : public nlohmann::json_sax<json> {
 public:
  explicit BodyReader(ChatBody* out) : out_(*out) {}

  bool null() override { return Value("null") && Literal(); }
  bool boolean(bool) override { return Value("a boolean") && NotANumber("a boolean"); }
  bool number_integer(number_integer_t value) override { return Number(value); }
  bool number_unsigned(number_unsigned_t value) override {
    return Number(static_cast<int64_t>(std::min<uint64_t>(value, std::numeric_limits<int64_t>::max())));
  }
  bool number_float(number_float_t value, const string_t&) override {
    const bool whole = std::trunc(value) == value && std::abs(value) <= static_cast<double>(kMostCount);
    if (!whole && depth_ == 1 && IsCount()) return Fail("must be a whole number");
    return Number(whole ? static_cast<int64_t>(value) : 0);
  }
  bool string(string_t& value) override;
  bool binary(binary_t&) override { return Fail("binary"); }  // not of JSON text
  bool key(string_t& name) override;
  bool start_object(std::size_t) override { return Value("an object") && Open(); }
  bool end_object() override { return Close(); }
  bool start_array(std::size_t) override;
  bool end_array() override;
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    member_ = Member::kOther;
    return Fail(absl::StrCat("not well-formed JSON at byte ", position));
  }

  void Finish();
  std::optional<Refusal> refusal() && { return std::move(refusal_); }

 private:
  bool Fail(std::string_view why) {
    refusal_ = {Outcome::kRejectedInvalidRequest, std::string(kMembers[static_cast<size_t>(member_)]),
                std::string(why)};
    return false;
  }
  // Before every value: whether one of this kind may stand here at all.
  bool Value(std::string_view kind) {
    if (depth_ == 0 && kind != "an object")
      return Fail(absl::StrCat("the body is ", std::string(kind), ", not an object"));
    if (depth_ == 1 && member_ == Member::kModel && kind != "a string") {
      return Fail(absl::StrCat("must be a string, not ", std::string(kind)));
    }
    return true;
  }
  bool IsCount() const { return member_ >= Member::kMaxTokens; }
  bool NotANumber(std::string_view kind) {
    if (depth_ == 1 && IsCount()) return Fail(absl::StrCat("must be a whole number, not ", std::string(kind)));
    return Literal();
  }
  bool Literal() {
    bytes_ += 1;
    return true;
  }
  bool Open() {
    if (depth_ == 1 && IsCount()) return NotANumber("a list or an object");
    if (++depth_ > kMostDepth) return Fail(absl::StrCat("nested deeper than ", kMostDepth));
    return Literal();
  }
  bool Close() {
    --depth_;
    return Literal();
  }
  bool Number(int64_t value);
  // One of several prompts has ended.
  void EndPrompt(int64_t bytes) {
    prompts_ += 1;
    prompts_bytes_ += bytes;
    longest_bytes_ = std::max(longest_bytes_, bytes);
  }

  ChatBody& out_;
  std::optional<Refusal> refusal_;
  int depth_ = 0;
  Member member_ = Member::kOther;  // of the body itself; the one being read
  std::array<bool, kMembers.size()> seen_{};
  int64_t bytes_ = 0;  // that count so far
  int64_t n_ = 1;
  int64_t best_of_ = 1;
  int64_t prompts_ = 0;
  int64_t prompts_bytes_ = 0;
  int64_t longest_bytes_ = 0;
  int64_t prompt_began_ = 0;
  bool media_ = false;
};

bool BodyReader::key(string_t& name) {
  bytes_ += static_cast<int64_t>(name.size());
  if (depth_ > 1) {
    media_ = media_ || (member_ == Member::kMessages && IsMedia(name));
    return true;
  }
  member_ = MemberOf(name);
  bool& seen = seen_[static_cast<size_t>(member_)];
  if (seen && member_ != Member::kOther) return Fail("given twice");
  seen = true;
  return true;
}

bool BodyReader::string(string_t& value) {
  if (!Value("a string")) return false;
  const auto size = static_cast<int64_t>(value.size());
  if (depth_ == 1 && IsCount()) return NotANumber("a string");
  if (depth_ == 1 && member_ == Member::kModel) {
    if (value.size() > kMostModelBytes) return Fail(absl::StrCat(size, " bytes are too long for a name"));
    out_.model = value;
  }
  bytes_ += size;
  if (depth_ == 2 && member_ == Member::kPrompt) EndPrompt(size);
  return true;
}

bool BodyReader::start_array(std::size_t) {
  if (!Value("a list")) return false;
  if (depth_ == 2 && member_ == Member::kPrompt) prompt_began_ = bytes_;
  return Open();
}

bool BodyReader::end_array() {
  Close();
  if (depth_ == 2 && member_ == Member::kPrompt) EndPrompt(bytes_ - prompt_began_);
  return true;
}

bool BodyReader::Number(int64_t value) {
  if (!Value("a number")) return false;
  if (depth_ == 1 && IsCount()) {
    // 0 output tokens: the engine only reads the prompt, or refuses.
    const bool tokens = member_ == Member::kMaxTokens || member_ == Member::kMaxCompletionTokens;
    const int64_t least = tokens ? 0 : 1;
    if (value < least || value > kMostCount) {
      return Fail(absl::StrCat(value, " is not within ", least, " and ", kMostCount));
    }
    if (tokens) out_.max_output_tokens = std::max({int64_t{1}, value, out_.max_output_tokens.value_or(0)});
    if (member_ == Member::kN) n_ = value;
    if (member_ == Member::kBestOf) best_of_ = value;
  }
  return Literal();
}

void BodyReader::Finish() {
  out_.prompt_bytes = media_ ? kWholeContextBytes : bytes_ - prompts_bytes_ + longest_bytes_;
  const int64_t each = std::max(n_, best_of_);  // <= 2^40, and there are fewer prompts than bytes
  const int64_t most = std::numeric_limits<int32_t>::max();
  const int64_t prompts = std::min(std::max<int64_t>(1, prompts_), most);
  out_.sequences = static_cast<int32_t>(each > most / prompts ? most : each * prompts);
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::optional<Refusal> ReadChatBody(std::string_view text, ChatBody* out) {
  *out = ChatBody();
  BodyReader reader(out);
  if (!json::sax_parse(text.begin(), text.end(), &reader)) return std::move(reader).refusal();
  reader.Finish();
  return std::nullopt;
}

bool IsGeneration(std::string_view method, std::string_view path) {
  constexpr std::string_view kChat = "/v1/chat/completions";
  constexpr std::string_view kText = "/v1/completions";
  if (method != "POST") return false;
  path = path.substr(0, path.find_first_of("?#"));
  if (path.size() > 3 * kChat.size()) return false;  // even with every byte encoded
  std::string plain;
  for (size_t i = 0; i < path.size(); ++i) {
    const int high = path[i] == '%' && i + 2 < path.size() ? HexDigit(path[i + 1]) : -1;
    const int low = high >= 0 ? HexDigit(path[i + 2]) : -1;
    plain += low >= 0 ? static_cast<char>(high * 16 + low) : path[i];
    i += low >= 0 ? 2 : 0;
  }
  return plain == kChat || plain == kText;
}

}  // namespace vramgate
