// A GateModel is one model of the backend vramgate: it asks the gate for every request, and forwards what is granted to
// the target model of the same server.
//
// Used by backend.cc, one for each model that Triton loads. Requests wait without a thread: the gate's client calls
// back when one is decided, the target calls back with responses, and one worker for the model does what has to wait
// for a moment: it spreads starts and refusals (Pacer), and asks twenty times a second which clients have left and
// whether the target is still there, since Triton tells neither.
//
//   std::shared_ptr<GateModel> model = GateModel::Make(settings, server, api, client, &error);
//   model->Execute(requests, count);                                        answers later; never fails as a whole
//   model->Stop();                                                          TRITONBACKEND_ModelFinalize
//
// Thread rule: Execute from any thread, Stop once, from a thread of Triton's. One lock; neither the gate nor Triton is
// called under it. Lifetime rule: shared, since callbacks of the gate may come after Stop; they do nothing then.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "plugin/triton/demand.h"
#include "plugin/triton/gated_request.h"
#include "plugin/triton/pacer.h"

namespace vramgate {

class GateModel : public std::enable_shared_from_this<GateModel> {
 public:
  using Instant = GatedRequest::Instant;

  // Null, and `error` set, where Triton refuses something. `api`, `client` and `server` outlive it.
  static std::shared_ptr<GateModel> Make(GateSettings settings, TRITONSERVER_Server* server, const vg_api& api,
                                         vg_client* client, Error* error);
  ~GateModel();

  // Takes the requests: each is answered, now or later.
  void Execute(TRITONBACKEND_Request** requests, uint32_t count);
  // Ends the worker. REQUIRES: every request was answered (Triton finalizes a model only then).
  void Stop();

 private:
  using Shared = std::shared_ptr<GatedRequest>;
  struct Call;  // what callbacks of the gate and of the target get as their user

  GateModel(GateSettings settings, TRITONSERVER_Server* server, const vg_api& api, vg_client* client);

  // Before the gate.
  void Arrive(TRITONBACKEND_Request* request);
  Error Read(TRITONBACKEND_Request* request, GatedRequest* gated, Demand* demand);
  // Counts it, and says whether it goes to the gate at once, or after others of its sequence.
  bool Enter(const Shared& gated, const Demand& demand, bool refused);
  void Ask(const Shared& gated, const Demand& demand);

  // The gate's callbacks.
  static void OnDecision(void* user, vg_lease lease, const vg_decision* decision);
  static void OnRevoked(void* user, vg_lease lease, const vg_decision* decision);
  static void OnEnded(void* user, vg_lease lease);
  // It is not waiting for the gate any more: the worker answers or starts it. `refusal` null: as `decision` says.
  // False: it was not waiting before (its client has left, or the target has), and nothing changes.
  bool Decide(const Shared& gated, const vg_decision* decision, Error refusal);

  // The target's callbacks.
  static void OnRelease(TRITONSERVER_InferenceRequest* request, uint32_t flags, void* user);
  static void OnResponse(TRITONSERVER_InferenceResponse* response, uint32_t flags, void* user);
  static void Settle(Call* call);

  // The worker.
  void Work();
  void WorkUntilStopped();
  std::vector<Shared> TakeDueLocked(Instant now);
  void Start(const Shared& gated);
  Error Launch(const Shared& gated);
  // Answers with an error and forgets it.
  void Answer(const Shared& gated, const Error& error);
  void DropThoseWhoLeft();
  void RefuseWithoutTarget();
  // Takes it off all lists; its sequence's next one, if that may go now.
  void LeaveLocked(const Shared& gated);
  void NextOfSequenceLocked(const Shared& gated);
  void AskNext();

  const GateSettings settings_;
  TRITONSERVER_Server* const server_;
  const vg_api& api_;
  vg_client* const client_;
  TRITONSERVER_ResponseAllocator* allocator_ = nullptr;
  std::thread worker_;

  // Guarded by mutex_.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_set<Shared> waiting_;  // for the gate, or for others of their sequence
  std::deque<Shared> decided_;          // in the order of decisions
  std::unordered_set<Shared> running_;
  // A sequence that somebody waits in, and those who come after the one that the gate was asked for.
  std::unordered_map<std::string, std::deque<std::pair<Shared, Demand>>> sequences_;
  std::deque<std::pair<Shared, Demand>> to_ask_;
  int64_t held_bytes_ = 0;
  bool stopping_ = false;
  Pacer pacer_;
};

}  // namespace vramgate
