#include "plugin/c/decision.h"

#include <algorithm>
#include <cstring>

namespace vramgate::plugin {
namespace {

template <size_t N>
void Copy(std::string_view text, char (&out)[N]) {
  size_t size = std::min(text.size(), N - 1);
  // Not in the middle of a character: its later bytes begin with 10.
  if (size < text.size()) {
    while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) --size;
  }
  std::memcpy(out, text.data(), size);
  std::memset(out + size, 0, N - size);
}

}  // namespace

void ToDecision(const Answer& answer, vg_decision* out) {
  out->code = answer.code;
  out->flags = answer.flags;
  out->vram_bytes = answer.vram_bytes;
  out->granted_tokens = answer.granted_tokens;
  out->retry_after_ns = answer.retry_after_ns;
  out->estimated_wait_ns = answer.estimated_wait_ns;
  out->grace_ns = answer.grace_ns;
  out->queue_position = answer.queue_position;
  out->ahead_total = answer.ahead_total;
  Copy(answer.lease_name, out->lease_name);
  Copy(answer.instance, out->instance);
  Copy(answer.reason, out->reason);
  Copy(answer.message, out->message);
}

std::vector<vg_str> ToStrings(const std::vector<std::string>& texts) {
  std::vector<vg_str> out;
  out.reserve(texts.size());
  for (const std::string& text : texts) out.push_back(ToString(text));
  return out;
}

}  // namespace vramgate::plugin
