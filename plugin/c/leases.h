// The leases of a client, and what each has said last. An id is a slot and its generation, so that one that is late is
// told from one that is meant; as the number of its stream on the wire it is never below kFirstId.
//
//   Entry* entry = leases.Create();                // null: as many as are allowed
//   Entry* same = leases.Find(entry->id());        // null: gone
//   leases.Erase(*entry);
//
// Used by Client, under its lock. Memory: slots are made as they are needed and used again.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "plugin/c/vramgate_plugin.h"

namespace vramgate::plugin {

inline constexpr uint64_t kFirstId = uint64_t{1} << 32;
inline constexpr int64_t kNever = INT64_MAX;

// What a vg_decision is filled in from.
struct Answer {
  int32_t code = VG_PENDING;
  uint32_t flags = 0;
  int64_t vram_bytes = 0;
  int64_t granted_tokens = 0;
  int64_t retry_after_ns = -1;
  int64_t estimated_wait_ns = -1;
  int64_t grace_ns = -1;
  int32_t queue_position = 0;
  int32_t ahead_total = 0;
  std::string lease_name;
  std::string instance;
  std::string reason;
  std::string message;
};

struct Entry {
  enum class State : uint8_t {
    kFree,
    kWaiting,  // not answered
    kHeld,
    kEnding,  // over for its caller; the gate has not said so
    kDone,    // over, and nobody has asked yet: no callbacks
  };
  enum class Caller : uint8_t { kCallbacks, kPolls, kTries };

  uint32_t slot = 0;
  uint32_t generation = 0;
  State state = State::kFree;
  Caller caller = Caller::kPolls;
  bool asked = false;          // its admit went down this connection, and its stream there has not ended
  bool known = false;          // HELD: the gate has it, or had when the connection broke
  bool resumed = false;        // asked for again, on a later connection
  bool dirty = false;          // usage is to be told
  uint64_t order = 0;          // of arrival
  int32_t model = -1;          // in Prices
  int64_t prompt_tokens = -1;  // of all sequences; -1: not said
  int64_t output_tokens = -1;
  int64_t vram_bytes = -1;   // as asked for
  int64_t local_bytes = 0;   // charged to the local share
  int64_t max_wait_ns = -1;  // as asked for
  int64_t wait_ends_ns = kNever;
  int64_t extend_to = -1;  // tokens asked for and not told
  vg_usage usage = VG_USAGE_INIT;
  vg_callbacks callbacks = VG_CALLBACKS_INIT;
  std::string admit;     // encoded
  std::string instance;  // as asked for
  Answer answer;

  vg_lease id() const { return (uint64_t{generation} << 32) | slot; }
};

class Leases {
 public:
  explicit Leases(uint32_t most) : most_(most) {}

  Entry* Create();
  Entry* Find(vg_lease id);
  void Erase(Entry& entry);
  uint32_t in_use() const { return in_use_; }

  template <typename Visit>
  void ForEach(Visit visit) {
    for (Entry& entry : slots_) {
      if (entry.state != Entry::State::kFree) visit(entry);
    }
  }

 private:
  const uint32_t most_;
  std::deque<Entry> slots_;  // never moved
  std::vector<uint32_t> free_;
  uint32_t in_use_ = 0;
};

// What the gate has charged this client: what a request may be taken to cost while the gate is away.
class Prices {
 public:
  // The model's number; -1: more models than are kept.
  int32_t Model(std::string_view name);
  // A grant of all of a request.
  void Remember(const Entry& entry);
  // At most this: as much as a request cost that was as large or larger. -1: none such is known.
  int64_t MostBytes(const Entry& entry) const;
  const std::string& instance(int32_t model) const { return known_[static_cast<size_t>(model)].instance; }

 private:
  static constexpr size_t kMostModels = 1024;
  struct Known {
    std::string name;
    std::string instance;  // of the newest grant
    int64_t prompt_tokens = -1;
    int64_t output_tokens = -1;
    int64_t bytes = -1;
  };
  std::vector<Known> known_;
};

}  // namespace vramgate::plugin
