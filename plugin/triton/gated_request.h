// A GatedRequest is one request of a gate model, from Execute to its last response: its copy, its lease, the factory
// that answers the client, and the inner request while the target works on it.
//
//   waiting for the gate -> granted or refused, until the pacer lets it go -> running in the target -> answered
//
// Used by GateModel, which owns the order of these steps; this is what each step does to one request.
//
// Thread rule: each method says which threads. Lifetime rule: shared; the gate's callbacks and the target's each keep
// it until they owe nothing more. The factory, and with it Triton's model, lives until Finish.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>

#include "plugin/triton/gate_clients.h"
#include "plugin/triton/request_copy.h"
#include "plugin/triton/settings.h"

namespace vramgate {

class GatedRequest {
 public:
  using Instant = std::chrono::steady_clock::time_point;
  // How far it is; changed under GateModel's lock only.
  enum class Stage { kWaiting, kDecided, kRunning, kAnswered };

  // `api`, `client` and `settings` outlive it. Takes the factory.
  GatedRequest(const vg_api& api, vg_client* client, const GateSettings& settings,
               TRITONBACKEND_ResponseFactory* factory, Instant now);
  ~GatedRequest();
  GatedRequest(const GatedRequest&) = delete;
  GatedRequest& operator=(const GatedRequest&) = delete;

  // Whether its client has left. Any thread.
  bool ClientHasLeft();

  // Answers with an error, as the last response. One thread, once, and not after a last response has been forwarded.
  void Refuse(const Error& error);
  // Forwards one response of the target, or what comes without one (flags only). The target's threads, in order.
  void Forward(TRITONSERVER_InferenceResponse* owned, uint32_t flags);
  // The lease is not needed any more; the gate learns how it came out. Any thread, idempotent.
  void EndLease();
  // Gives the factory back: the client has its last response (or gets an error as one). Nothing of Triton's may be
  // touched afterwards.
  void Finish();

  // Makes the inner request. The worker.
  [[nodiscard]] Error MakeInner(TRITONSERVER_Server* server, TRITONSERVER_ResponseAllocator* allocator,
                                TRITONSERVER_InferenceRequestReleaseFn_t on_release,
                                TRITONSERVER_InferenceResponseCompleteFn_t on_response, void* user, Instant now);
  TRITONSERVER_InferenceRequest* inner() const { return inner_.get(); }
  // The target has it: it can be stopped from here on, and is, where Stop has come before.
  void Launched();
  // Deletes it. REQUIRES: the target has released it, or never had it.
  void DropInner();
  // Asks the target to stop, once; `why` is what the client is told then. Any thread.
  void Stop(Error why);

  RequestCopy copy;
  Stage stage = Stage::kWaiting;            // GateModel's lock
  vg_decision decision = VG_DECISION_INIT;  // kDecided on: what the gate said
  Error refusal;                            // kDecided on: instead of a decision, where it was never asked
  bool asked = false;                       // GateModel's lock: the gate was asked, so its sequence waits for this one
  std::string sequence;                     // which sequence it is of; empty: of none
  int64_t held_bytes = 0;                   // counted for it by GateModel
  std::atomic<vg_lease> lease{0};
  std::atomic<int> owed{0};  // callbacks of the target that have not come: its release, its last response

 private:
  Error CopyResponse(TRITONSERVER_InferenceResponse* from, TRITONBACKEND_Response* to);

  const vg_api& api_;
  vg_client* const client_;
  const GateSettings& settings_;
  TRITONBACKEND_ResponseFactory* factory_;
  const Instant arrived_;
  bool answered_ = false;  // the last response has gone to the client
  int64_t responses_ = 0;  // forwarded with outputs
  std::atomic<int> outcome_{VG_COMPLETED};

  std::mutex mutex_;  // between Stop, Launched and DropInner, ClientHasLeft and Finish
  InnerRequest inner_;
  bool launched_ = false;
  bool stopped_ = false;
  Error stop_reason_;
};

}  // namespace vramgate
