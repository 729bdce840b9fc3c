#include "admission/utf8.h"

#include <cstdint>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace vramgate {
namespace {

// Bytes of the sequence that begins with `lead`, and the range its second byte must lie in. 0: no sequence begins so.
struct Sequence {
  size_t size = 0;
  uint8_t low = 0x80;
  uint8_t high = 0xbf;
};

Sequence SequenceOf(uint8_t lead) {
  if (lead < 0x80) return {1};
  if (lead < 0xc2) return {0};  // continuation bytes and overlong forms
  if (lead < 0xe0) return {2};
  if (lead == 0xe0) return {3, 0xa0, 0xbf};
  if (lead == 0xed) return {3, 0x80, 0x9f};  // no surrogates
  if (lead < 0xf0) return {3};
  if (lead == 0xf0) return {4, 0x90, 0xbf};
  if (lead < 0xf4) return {4};
  if (lead == 0xf4) return {4, 0x80, 0x8f};  // not above U+10FFFF
  return {0};
}

}  // namespace

bool IsValidUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const Sequence sequence = SequenceOf(static_cast<uint8_t>(text[i]));
    if (sequence.size == 0 || text.size() - i < sequence.size) return false;
    for (size_t k = 1; k < sequence.size; ++k) {
      const auto byte = static_cast<uint8_t>(text[i + k]);
      if (byte < (k == 1 ? sequence.low : 0x80) || byte > (k == 1 ? sequence.high : 0xbf)) return false;
    }
    i += sequence.size;
  }
  return true;
}

std::string Quoted(std::string_view text, size_t max_bytes) {
  std::string_view shown = text.substr(0, max_bytes);
  if (shown.size() < text.size()) {  // not in the middle of a character
    while (!shown.empty() && (static_cast<uint8_t>(text[shown.size()]) & 0xc0) == 0x80) shown.remove_suffix(1);
  }
  const absl::string_view bytes(shown.data(), shown.size());
  return absl::StrCat("\"", IsValidUtf8(shown) ? absl::Utf8SafeCEscape(bytes) : absl::CEscape(bytes),
                      shown.size() < text.size() ? "\"..." : "\"");
}

}  // namespace vramgate
