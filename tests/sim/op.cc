#include "tests/sim/op.h"

#include "absl/strings/str_cat.h"

namespace vramgate::sim {
namespace {

std::string_view Name(Op::Kind kind) {
  switch (kind) {
    case Op::Kind::kAdmit:
      return "admit";
    case Op::Kind::kReattach:
      return "reattach";
    case Op::Kind::kCancel:
      return "cancel";
    case Op::Kind::kEnd:
      return "end";
    case Op::Kind::kRelease:
      return "release";
    case Op::Kind::kRenew:
      return "renew";
    case Op::Kind::kProgress:
      return "progress";
    case Op::Kind::kRevoke:
      return "revoke";
    case Op::Kind::kRevokeAck:
      return "revoke_ack";
    case Op::Kind::kReading:
      return "reading";
    case Op::Kind::kAdvance:
      return "advance";
    case Op::Kind::kDrain:
      return "drain";
  }
  return "?";
}

absl::string_view Absl(std::string_view s) {
  return {s.data(), s.size()};
}

}  // namespace

Op Op::Admit(Instant now, const Request& request) {
  Op op = Of(Kind::kAdmit, now);
  op.request = request;
  op.request_id = request.request_id;
  op.tenant = request.tenant;
  op.request.request_id = op.request.tenant = {};
  return op;
}

Op Op::End(Instant now, LeaseRef lease, Gate::EndKind kind) {
  Op op = Of(Kind::kEnd, now, lease);
  op.end = kind;
  return op;
}

Op Op::Of(Kind kind, Instant now, LeaseRef lease, uint32_t caller) {
  Op op;
  op.kind = kind;
  op.now = now;
  op.lease = lease;
  op.caller = caller;
  return op;
}

Request Op::ToRequest() const {
  Request r = request;
  r.request_id = request_id;
  r.tenant = tenant;
  return r;
}

OpResult ApplyToGate(const Op& op, Gate& gate, Effects& out) {
  OpResult result;
  switch (op.kind) {
    case Op::Kind::kAdmit: {
      const Gate::Admission admission = gate.Admit(op.ToRequest(), op.now, out);
      return {.lease = admission.lease, .waiting = admission.waiting};
    }
    case Op::Kind::kReattach:
      result.code = gate.Reattach(op.lease.id, op.caller, op.now, out, &result.lease);
      break;
    case Op::Kind::kCancel:
      gate.Cancel(op.lease, op.now, out);
      break;
    case Op::Kind::kEnd:
      gate.End(op.lease, op.end, op.now, out);
      break;
    case Op::Kind::kRelease:
      result.code = gate.Release(op.lease.id, op.caller, op.end, op.now, out);
      break;
    case Op::Kind::kRenew:
      result.code = static_cast<int>(gate.Renew(op.lease.id, op.caller, op.now, out));
      break;
    case Op::Kind::kProgress:
      gate.Progress(op.lease.id, op.used, op.now, out);
      break;
    case Op::Kind::kRevoke:
      result.code = gate.Revoke(op.lease.id, op.grace, "", op.now, out);
      break;
    case Op::Kind::kRevokeAck:
      gate.RevokeAck(op.lease.id, op.now, out);
      break;
    case Op::Kind::kReading:
      gate.SetReading(op.device, op.reading, op.now, out);
      break;
    case Op::Kind::kAdvance:
      gate.Advance(op.now, out);
      break;
    case Op::Kind::kDrain:
      gate.Drain(op.now, out);
      break;
  }
  return result;
}

std::string ToString(const Op& op) {
  std::string s = absl::StrCat(Absl(Name(op.kind)), " at ", op.now.ns, " ns");
  if (op.lease.id.value != 0) absl::StrAppend(&s, " ", LeaseName(op.lease.id), "#", op.lease.attachment);
  if (op.kind == Op::Kind::kAdmit) {
    absl::StrAppend(&s, " \"", op.request_id, "\" of \"", op.tenant, "\" model ", Index(op.request.model), " instance ",
                    static_cast<int>(op.request.instance), " kv ", op.request.costs[0].kv_bytes, " activation ",
                    op.request.costs[0].activation_bytes, " priority ", op.request.priority);
  }
  if (op.kind == Op::Kind::kReading) {
    absl::StrAppend(&s, " device ", Index(op.device), " capacity ", op.reading.capacity_bytes,
                    op.reading.stale ? " stale" : "");
  }
  return s;
}

std::string ToString(const Decision& d) {
  const absl::string_view kind = d.kind == Decision::Kind::kAnswer ? "answer"
                                 : d.kind == Decision::Kind::kEnd  ? "end"
                                                                   : "stop";
  return absl::StrCat(kind, " ", Absl(OutcomeName(d.outcome)), " lease ", d.lease.id.value, "#", d.lease.attachment,
                      " instance ", static_cast<int>(d.instance), " kv ", d.cost.kv_bytes, " waited ",
                      absl::FormatDuration(d.waited));
}

}  // namespace vramgate::sim
