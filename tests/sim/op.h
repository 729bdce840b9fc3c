// One call of the gate as a value, so that the gate and the reference can be given the same one, and a failure can be
// printed.
//
//   Op op = Op::Admit(now, request);
//   OpResult result = ApplyToGate(op, gate, effects);
//
// Lease references in an Op are the gate's; the Conformance translates them for the reference.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "admission/decision.h"
#include "admission/gate/gate.h"
#include "admission/types.h"

namespace vramgate::sim {

struct Op {
  enum class Kind : uint8_t {
    kAdmit,
    kReattach,
    kCancel,
    kEnd,
    kRelease,
    kRenew,
    kProgress,
    kRevoke,
    kRevokeAck,
    kReading,
    kAdvance,
    kDrain,
  };
  Kind kind = Kind::kAdvance;
  Instant now;
  Request request;                                // kAdmit; its views are not used, the two strings below are
  std::string request_id;                         // kAdmit
  std::string tenant;                             // kAdmit
  LeaseRef lease;                                 // all that name a lease; only the id where no attachment is asked for
  uint32_t caller = 0;                            // kReattach, kRelease, kRenew
  Gate::EndKind end = Gate::EndKind::kCompleted;  // kEnd, kRelease
  Costs used;                                     // kProgress
  absl::Duration grace;                           // kRevoke
  AccountId device{0};                            // kReading
  Gate::DeviceReading reading;                    // kReading

  static Op Admit(Instant now, const Request& request);
  static Op End(Instant now, LeaseRef lease, Gate::EndKind kind);
  static Op Of(Kind kind, Instant now, LeaseRef lease = {}, uint32_t caller = 0);

  // The request with its views set to this Op's strings, which must outlive it.
  Request ToRequest() const;
};

// What a call returned, whichever it was.
struct OpResult {
  LeaseRef lease;        // kAdmit, kReattach
  bool waiting = false;  // kAdmit
  int code = 0;          // kReattach, kRelease, kRevoke: true or false; kRenew: the Renewal
};

OpResult ApplyToGate(const Op& op, Gate& gate, Effects& out);

// One line for people.
std::string ToString(const Op& op);
std::string ToString(const Decision& decision);

}  // namespace vramgate::sim
