#include "admission/server/usage_reader.h"

#include <algorithm>
#include <utility>

namespace vramgate {
namespace {

constexpr std::string_view kData = "data:";

bool IsBlank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

}  // namespace

UsageScanner::Member UsageScanner::MemberOf(std::string_view key) {
  constexpr std::array<std::pair<std::string_view, Member>, 10> kMembers = {{
      {"usage", Member::kUsage},
      {"meta_info", Member::kUsage},   // SGLang's own answers
      {"response", Member::kWrapper},  // events of OpenAI's responses
      {"message", Member::kWrapper},   // Anthropic's message_start
      {"prompt_tokens", Member::kPromptTokens},
      {"completion_tokens", Member::kOutputTokens},
      {"input_tokens", Member::kInputTokens},
      {"output_tokens", Member::kOutputTokens},
      {"cache_read_input_tokens", Member::kCacheReadTokens},  // Anthropic: beside input_tokens, not within
      {"cache_creation_input_tokens", Member::kCacheCreationTokens},
  }};
  const auto it = std::find_if(kMembers.begin(), kMembers.end(), [&](const auto& m) { return m.first == key; });
  return it == kMembers.end() ? Member::kOther : it->second;
}

void UsageScanner::Byte(char c, Usage* usage) {
  if (in_string_) return StringByte(c);
  switch (c) {
    case '"':
      in_string_ = true;
      reading_key_ = std::exchange(key_next_, false);
      key_bytes_ = 0;
      break;
    case '{':
    case '[':
      EndNumber();
      Open(c == '{');
      break;
    case '}':
    case ']':
      EndNumber();
      Close(usage);
      break;
    case ',':
      EndNumber();
      key_next_ = depth_ <= kDeepest && objects_[static_cast<size_t>(depth_)];
      break;
    default:
      NumberByte(c);
  }
}

void UsageScanner::StringByte(char c) {
  if (escaped_) {
    escaped_ = false;
    key_bytes_ = kMostKeyBytes;  // no key that matters has an escape in it
  } else if (c == '\\') {
    escaped_ = true;
  } else if (c == '"') {
    in_string_ = false;
    if (!std::exchange(reading_key_, false)) return;
    const bool known = key_bytes_ < kMostKeyBytes;
    members_[static_cast<size_t>(depth_)] = known ? MemberOf({key_.data(), key_bytes_}) : Member::kOther;
  } else if (reading_key_ && key_bytes_ < kMostKeyBytes) {
    key_[key_bytes_++] = c;
  }
}

void UsageScanner::Open(bool object) {
  const bool in_body = depth_ == 1 && objects_[1];
  const bool in_wrapper = depth_ == 2 && objects_[1] && members_[1] == Member::kWrapper && objects_[2];
  const bool opens_usage = object && (in_body || in_wrapper) && members_[static_cast<size_t>(depth_)] == Member::kUsage;
  ++depth_;
  key_next_ = object && depth_ <= kDeepest;
  if (depth_ <= kDeepest) {
    objects_[static_cast<size_t>(depth_)] = object;
    members_[static_cast<size_t>(depth_)] = Member::kOther;
  }
  if (opens_usage) {
    usage_depth_ = depth_;
    counts_ = {};
  }
}

void UsageScanner::Close(Usage* usage) {
  if (depth_ == 0) return;
  if (depth_ == usage_depth_) Commit(usage);
  --depth_;
  key_next_ = false;
  if (depth_ == 0) objects_ = {};
}

void UsageScanner::Commit(Usage* usage) {
  usage_depth_ = 0;
  if (count(Member::kPromptTokens)) {
    usage->prompt_tokens = count(Member::kPromptTokens);
  } else if (count(Member::kInputTokens)) {
    usage->prompt_tokens = *count(Member::kInputTokens) + count(Member::kCacheReadTokens).value_or(0) +
                           count(Member::kCacheCreationTokens).value_or(0);
  }
  if (count(Member::kOutputTokens)) usage->output_tokens = count(Member::kOutputTokens);
}

void UsageScanner::NumberByte(char c) {
  if (IsBlank(c)) return EndNumber();
  if (c == ':' || usage_depth_ == 0 || depth_ != usage_depth_) return;
  if (!std::exchange(in_number_, true)) number_ = 0;
  if (c < '0' || c > '9' || number_ < 0) {
    number_ = -1;  // a fraction, a literal, what is below 0: no count
  } else {
    number_ = number_ * 10 + (c - '0');
    if (number_ > kMostTokens) number_ = -1;
  }
}

void UsageScanner::EndNumber() {
  if (!std::exchange(in_number_, false) || number_ < 0) return;
  count(members_[static_cast<size_t>(depth_)]) = number_;
}

void UsageReader::Feed(std::string_view chunk) {
  for (const char c : chunk) {
    switch (framing_) {
      case Framing::kUnknown:
        Begin(c);
        break;
      case Framing::kJson:
        value_.Byte(c, &usage_);
        break;
      case Framing::kEvents:
        EventByte(c);
        break;
    }
  }
}

void UsageReader::Begin(char c) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (IsBlank(c) || kByteOrderMark.find(c) != std::string_view::npos) return;
  framing_ = c == '{' || c == '[' ? Framing::kJson : Framing::kEvents;
  if (framing_ == Framing::kJson) {
    value_.Byte(c, &usage_);
  } else {
    EventByte(c);
  }
}

// A blank line ends an event; its lines of `data` together are one JSON value.
void UsageReader::EventByte(char c) {
  const bool after_return = std::exchange(after_return_, c == '\r');
  if (c == '\n' && after_return) return;
  if (c == '\n' || c == '\r') {
    if (line_bytes_ == 0) value_ = UsageScanner();
    if (of_data_ && line_bytes_ == kData.size()) value_.Byte('\n', &usage_);
    line_bytes_ = 0;
    of_data_ = true;
  } else if (line_bytes_ < kData.size()) {
    of_data_ = of_data_ && c == kData[line_bytes_++];
    if (!of_data_) line_bytes_ = kData.size();
  } else if (of_data_) {
    value_.Byte(c, &usage_);
  }
}

}  // namespace vramgate
