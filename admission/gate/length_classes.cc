#include "admission/gate/length_classes.h"

#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"
#include "admission/check.h"

namespace vramgate {
namespace {

absl::string_view Absl(std::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace

uint64_t LengthClasses::ClassOf(std::string_view tenant, std::string_view route) {
  return absl::HashOf(Absl(tenant), Absl(route));
}

LengthClasses::LengthClasses(int64_t cap_tokens, int64_t bucket_tokens)
    : cap_tokens_(cap_tokens), bucket_tokens_(bucket_tokens) {
  classes_.reserve(kMostClasses);
  Make();
}

LengthClasses::Class& LengthClasses::Make() {
  Class& made = *classes_.emplace_back(std::make_unique<Class>(cap_tokens_));
  for (std::vector<float>& table : made.tables) {
    table.resize(kTable);
    made.lengths.Tabulate(bucket_tokens_, table);
  }
  return made;
}

size_t LengthClasses::IndexOf(uint64_t id) const {
  const auto it = by_id_.find(id);
  return it != by_id_.end() && classes_[it->second]->lengths.samples() >= kEnoughEnds ? it->second : 0;
}

LengthClasses::Table LengthClasses::Use(uint64_t id) {
  const size_t index = IndexOf(id);
  Class& c = *classes_[index];
  ++c.users[static_cast<size_t>(c.current)];
  return {static_cast<int16_t>(index), c.current};
}

std::span<const float> LengthClasses::Peek(uint64_t id) const {
  const Class& c = *classes_[IndexOf(id)];
  return c.tables[static_cast<size_t>(c.current)];
}

std::span<const float> LengthClasses::survival(const Table& table) const {
  return classes_[static_cast<size_t>(table.index)]->tables[static_cast<size_t>(table.version)];
}

void LengthClasses::Drop(const Table& table) {
  int64_t& users = classes_[static_cast<size_t>(table.index)]->users[static_cast<size_t>(table.version)];
  CHECK(--users >= 0, "LengthClasses: a table was dropped more often than used");
}

void LengthClasses::Enter(const Table& table, int64_t tokens) {
  classes_[0]->lengths.Enter(tokens);
  if (table.index > 0) classes_[static_cast<size_t>(table.index)]->lengths.Enter(tokens);
}

void LengthClasses::Leave(const Table& table, int64_t tokens) {
  classes_[0]->lengths.Leave(tokens);
  if (table.index > 0) classes_[static_cast<size_t>(table.index)]->lengths.Leave(tokens);
}

void LengthClasses::Ended(uint64_t id, int64_t tokens, OutputLengths::End end) {
  const auto count = [&](Class& c) {
    c.lengths.Ended(tokens, end);
    c.changed = true;
  };
  count(*classes_[0]);
  const auto it = by_id_.find(id);
  if (it != by_id_.end()) return count(*classes_[it->second]);
  if (classes_.size() == kMostClasses) return;
  by_id_.emplace(id, classes_.size());
  count(Make());
}

void LengthClasses::Refresh() {
  for (size_t tried = 0; tried < classes_.size(); ++tried) {
    Class& c = *classes_[next_];
    next_ = (next_ + 1) % classes_.size();
    const auto other = static_cast<size_t>(1 - c.current);
    if (!c.changed || c.users[other] > 0) continue;
    c.lengths.Tabulate(bucket_tokens_, c.tables[other]);
    c.current = static_cast<int8_t>(other);
    c.changed = false;
    return;
  }
}

}  // namespace vramgate
