// What callbacks of the gate, and of the target, get as their user: who they are about, kept until the last of them has
// come.
//
// Used by gate_model.cc and gate_model_run.cc only.
//
//   const GateModel::Call& call = *static_cast<GateModel::Call*>(user);
//
// Thread rule: read only. Lifetime rule: made for one set of callbacks, deleted by the last of them.
#pragma once

#include "plugin/triton/gate_model.h"

namespace vramgate {

struct GateModel::Call {
  std::shared_ptr<GateModel> model;
  Shared gated;
};

}  // namespace vramgate
