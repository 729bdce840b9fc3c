#include "plugin/c/leases.h"

namespace vramgate::plugin {

Entry* Leases::Create() {
  if (in_use_ >= most_) return nullptr;
  if (free_.empty()) {
    const auto slot = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back().slot = slot;
    free_.push_back(slot);
  }
  Entry& entry = slots_[free_.back()];
  free_.pop_back();
  ++in_use_;
  ++entry.generation;
  if (entry.generation == 0) entry.generation = 1;  // 0 is no lease
  entry.state = Entry::State::kWaiting;
  return &entry;
}

Entry* Leases::Find(vg_lease id) {
  const uint64_t slot = id & 0xffffffff;
  if (slot >= slots_.size()) return nullptr;
  Entry& entry = slots_[slot];
  return entry.state != Entry::State::kFree && entry.id() == id ? &entry : nullptr;
}

void Leases::Erase(Entry& entry) {
  const uint32_t slot = entry.slot;
  const uint32_t generation = entry.generation;
  entry = Entry();
  entry.slot = slot;
  entry.generation = generation;
  free_.push_back(slot);
  --in_use_;
}

int32_t Prices::Model(std::string_view name) {
  for (size_t i = 0; i < known_.size(); ++i) {
    if (known_[i].name == name) return static_cast<int32_t>(i);
  }
  if (known_.size() == kMostModels) return -1;
  known_.emplace_back().name = name;
  return static_cast<int32_t>(known_.size() - 1);
}

void Prices::Remember(const Entry& entry) {
  if (entry.model < 0) return;
  Known& known = known_[static_cast<size_t>(entry.model)];
  known.instance = entry.answer.instance;
  // A price of the caller's own, or of a part, says nothing of others.
  if (entry.vram_bytes >= 0 || entry.answer.granted_tokens != 0) return;
  if (entry.prompt_tokens < 0 || entry.output_tokens < 0) return;
  const bool larger = entry.answer.vram_bytes > known.bytes ||
                      (entry.answer.vram_bytes == known.bytes && entry.prompt_tokens >= known.prompt_tokens &&
                       entry.output_tokens >= known.output_tokens);
  if (!larger) return;
  known.bytes = entry.answer.vram_bytes;
  known.prompt_tokens = entry.prompt_tokens;
  known.output_tokens = entry.output_tokens;
}

int64_t Prices::MostBytes(const Entry& entry) const {
  if (entry.vram_bytes >= 0) return entry.vram_bytes;
  if (entry.model < 0 || entry.prompt_tokens < 0 || entry.output_tokens < 0) return -1;
  const Known& known = known_[static_cast<size_t>(entry.model)];
  const bool covers = entry.prompt_tokens <= known.prompt_tokens && entry.output_tokens <= known.output_tokens;
  return covers ? known.bytes : -1;
}

}  // namespace vramgate::plugin
