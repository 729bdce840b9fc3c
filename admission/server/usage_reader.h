// What an engine's HTTP answer says of the tokens it has read and written: the `usage` in its body, found while the
// body goes by in pieces, and nothing else of it kept.
//
//   UsageReader reader;
//   for (std::string_view chunk : chunks) reader.Feed(chunk);   // cut anywhere
//   if (reader.usage().output_tokens) Learn(*reader.usage().output_tokens);
//
// Reads one JSON object, JSON lines, or a stream of events (`data: {...}`), told apart by their first byte, with the
// usage of OpenAI's chat, completions, embeddings and responses, Anthropic's messages, and SGLang's meta_info. The last
// one counts, member by member: a stream may tell the prompt first and the output last. A usage that is cut off, or
// that stands deeper than an engine would put it (in a tool's arguments, say), does not count.
//
// Used by the ext_proc service, where a gateway sends response bodies. Hostile input: any bytes are accepted, memory
// does not grow, and what is no usage yields none; a compressed body is such. Thread rule: confined to one thread at a
// time. Plain value.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace vramgate {

// The usage in one JSON value, byte by byte. No parser that the project has can be fed in pieces; this one only follows
// strings and brackets, and takes what is ill-formed as it comes.
class UsageScanner {
 public:
  static constexpr int64_t kMostTokens = int64_t{1} << 40;  // more than any engine can mean

  struct Usage {
    std::optional<int64_t> prompt_tokens;  // of all prompts of the request, cached ones too
    std::optional<int64_t> output_tokens;  // of all sequences together
  };

  // A usage that ends with this byte replaces the members of *usage that it has.
  void Byte(char c, Usage* usage);

 private:
  // Members that matter, each at its place only.
  enum class Member : uint8_t {
    kOther,
    kUsage,    // holds the counts
    kWrapper,  // holds a usage
    kPromptTokens,
    kInputTokens,
    kCacheReadTokens,
    kCacheCreationTokens,
    kOutputTokens,
  };
  static constexpr int64_t kDeepest = 3;       // body, wrapper, usage
  static constexpr size_t kMostKeyBytes = 32;  // longer than any of them

  static Member MemberOf(std::string_view key);
  void StringByte(char c);
  void Open(bool object);
  void Close(Usage* usage);
  void NumberByte(char c);
  void EndNumber();
  void Commit(Usage* usage);
  std::optional<int64_t>& count(Member member) { return counts_[static_cast<size_t>(member)]; }

  int64_t depth_ = 0;
  std::array<bool, kDeepest + 1> objects_{};    // by depth: an object, not a list
  std::array<Member, kDeepest + 1> members_{};  // by depth: whose value is being read
  bool key_next_ = false;                       // the next string is a key that may matter
  bool in_string_ = false;
  bool escaped_ = false;
  bool reading_key_ = false;
  std::array<char, kMostKeyBytes> key_{};
  size_t key_bytes_ = 0;  // may be more than are kept
  bool in_number_ = false;
  int64_t number_ = 0;  // -1: none that counts

  int64_t usage_depth_ = 0;                         // 0: not within one
  std::array<std::optional<int64_t>, 8> counts_{};  // of the usage being read, by Member
};

class UsageReader {
 public:
  using Usage = UsageScanner::Usage;

  void Feed(std::string_view chunk);
  // Of what was fed so far.
  const Usage& usage() const { return usage_; }

 private:
  enum class Framing : uint8_t { kUnknown, kJson, kEvents };

  void Begin(char c);
  void EventByte(char c);

  Usage usage_;
  UsageScanner value_;
  Framing framing_ = Framing::kUnknown;
  // Of a stream of events:
  size_t line_bytes_ = 0;  // as far as they matter
  bool of_data_ = true;    // so far the line may be one of `data`
  bool after_return_ = false;
};

}  // namespace vramgate
