// What is known of a model's outputs, by class: one for the whole model, and one for what each tenant asks by each
// route, once there was enough of it. Tables of their survival are kept for FutureUsage, in two versions: a holder
// keeps the one that it was added with, so that it can be taken out to the bit.
//
//   const uint64_t id = LengthClasses::ClassOf(tenant, route);
//   const LengthClasses::Table table = classes.Use(id);          // a reference: Drop it when the holder goes
//   classes.Ended(id, 211, OutputLengths::End::kStopped);
//   classes.Refresh();                                           // now and then: what has ended goes into the tables
//
// Used by the Outlooks of a model's instances. Thread rule: the Gate's thread. A new class allocates, once; at most
// kMostClasses are kept, further ones count for the model only.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "admission/gate/output_lengths.h"

namespace vramgate {

class LengthClasses {
 public:
  static constexpr int64_t kTable = 2048;      // entries of a table: 4 x the buckets of FutureUsage
  static constexpr int64_t kEnoughEnds = 200;  // before a class's own lengths are used
  static constexpr size_t kMostClasses = 64;

  // `bucket_tokens`: one entry of a table.
  LengthClasses(int64_t cap_tokens, int64_t bucket_tokens);

  // What stands for a tenant and a route. Of this process alone.
  static uint64_t ClassOf(std::string_view tenant, std::string_view route);

  struct Table {
    int16_t index = -1;
    int8_t version = 0;
  };
  // The newest table of the class. Peek: without a reference.
  Table Use(uint64_t id);
  std::span<const float> Peek(uint64_t id) const;
  std::span<const float> survival(const Table& table) const;
  void Drop(const Table& table);

  // A holder of `table` that has emitted so many tokens so far: counted in its class and in the model's.
  void Enter(const Table& table, int64_t tokens);
  void Leave(const Table& table, int64_t tokens);
  void Ended(uint64_t id, int64_t tokens, OutputLengths::End end);
  // Brings one class's table up to date, the next one in turn that has changed and is not in use in both versions.
  void Refresh();

 private:
  struct Class {
    explicit Class(int64_t cap_tokens) : lengths(cap_tokens) {}
    OutputLengths lengths;
    std::array<std::vector<float>, 2> tables;
    std::array<int64_t, 2> users = {0, 0};
    int8_t current = 0;
    bool changed = false;
  };
  Class& Make();
  size_t IndexOf(uint64_t id) const;

  const int64_t cap_tokens_;
  const int64_t bucket_tokens_;
  std::vector<std::unique_ptr<Class>> classes_;  // [0]: the model
  absl::flat_hash_map<uint64_t, size_t> by_id_;
  size_t next_ = 0;
};

}  // namespace vramgate
