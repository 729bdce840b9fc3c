// GateModel: requests that are decided, and the worker.
#include <algorithm>
#include <utility>

#include "plugin/triton/gate_call.h"
#include "plugin/triton/gate_model.h"

namespace vramgate {
namespace {

using Stage = GatedRequest::Stage;

// How often clients and the target are asked after: Triton has no callback for either.
constexpr std::chrono::milliseconds kLookEvery(50);
// Started without looking at the clock again.
constexpr size_t kMostAtOnce = 16;

Error ClientLeft() {
  return MakeError(TRITONSERVER_ERROR_CANCELLED, "vramgate: the client has left");
}

}  // namespace

void GateModel::Work() {
  bool ended = false;
  while (!ended) {
    LogError("look after requests", Guarded("vramgate: out of memory", [&] {
               WorkUntilStopped();
               ended = true;
               return Error();
             }));
  }
}

void GateModel::WorkUntilStopped() {
  Instant look = Instant::min();
  std::unique_lock lock(mutex_);
  while (true) {
    if (waiting_.empty() && decided_.empty() && running_.empty() && to_ask_.empty()) {
      if (stopping_) return;
      changed_.wait(lock);
      continue;
    }
    const Instant now = std::chrono::steady_clock::now();
    const std::vector<Shared> due = TakeDueLocked(now);
    const bool looks = now >= look;
    if (due.empty() && !looks && to_ask_.empty()) {
      changed_.wait_until(lock, decided_.empty() ? look : std::min(look, pacer_.next()));
      continue;
    }
    lock.unlock();
    for (const Shared& gated : due) {
      LogError("answer a request", Guarded("vramgate: out of memory", [&] {
                 Start(gated);
                 return Error();
               }));
    }
    AskNext();
    if (looks) {
      look = now + kLookEvery;
      DropThoseWhoLeft();
      RefuseWithoutTarget();
    }
    lock.lock();
  }
}

std::vector<GateModel::Shared> GateModel::TakeDueLocked(Instant now) {
  std::vector<Shared> due;
  while (!decided_.empty() && due.size() < kMostAtOnce && pacer_.Due(now)) {
    pacer_.Take(now);
    due.push_back(std::move(decided_.front()));
    decided_.pop_front();
    due.back()->stage = Stage::kRunning;
    running_.insert(due.back());
  }
  return due;
}

void GateModel::Start(const Shared& gated) {
  // Not decided any more, so a revocation that comes now goes to the inner request, or to nobody where there is none
  // yet.
  Error error = std::move(gated->refusal);
  if (error == nullptr && gated->decision.code != VG_OK) error = Refusal(gated->decision);
  if (error == nullptr && gated->ClientHasLeft()) error = ClientLeft();
  if (error == nullptr) error.reset(Guarded("vramgate: out of memory", [&] { return Launch(gated); }));
  if (error != nullptr) Answer(gated, error);
}

Error GateModel::Launch(const Shared& gated) {
  uint32_t flags = 0;
  void* reserved = nullptr;
  const char* target = settings_.target_model.c_str();
  if (Error error{TRITONSERVER_ServerModelTransactionProperties(server_, target, settings_.target_version, &flags,
                                                                &reserved)}) {
    return error;
  }
  if ((flags & TRITONSERVER_TXN_DECOUPLED) != 0 && !settings_.decoupled) {
    return MakeError(TRITONSERVER_ERROR_INVALID_ARG,
                     "vramgate: target " + settings_.target_model + " is decoupled and " + settings_.model +
                         " is not: add model_transaction_policy { decoupled: true } to its config.pbtxt");
  }
  auto call = std::make_unique<Call>(Call{shared_from_this(), gated});
  const Instant now = std::chrono::steady_clock::now();
  if (Error error = gated->MakeInner(server_, allocator_, &OnRelease, &OnResponse, call.get(), now)) return error;
  gated->owed = 2;
  // The target's from here on: callbacks may come before the call returns, and free all of it.
  Call* const owned = call.release();
  if (Error error{TRITONSERVER_ServerInferAsync(server_, gated->inner(), nullptr)}) {
    delete owned;
    gated->DropInner();
    return error;
  }
  gated->Launched();
  {
    const std::lock_guard lock(mutex_);
    NextOfSequenceLocked(gated);
  }
  return nullptr;
}

void GateModel::Answer(const Shared& gated, const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    LeaveLocked(gated);
  }
  gated->EndLease();  // after that, so that Ask, should it only now learn of the lease, sees that nobody wants it
  gated->Refuse(error);
  gated->Finish();
}

void GateModel::OnRelease(TRITONSERVER_InferenceRequest*, uint32_t flags, void* user) {
  if ((flags & TRITONSERVER_REQUEST_RELEASE_ALL) != 0) Settle(static_cast<Call*>(user));
}

void GateModel::OnResponse(TRITONSERVER_InferenceResponse* response, uint32_t flags, void* user) {
  Call* const call = static_cast<Call*>(user);
  bool last = (flags & TRITONSERVER_RESPONSE_COMPLETE_FINAL) != 0;
  LogError("forward a response", Guarded("vramgate: out of memory", [&] {
             GatedRequest& gated = *call->gated;
             if (!last && gated.ClientHasLeft()) gated.Stop(ClientLeft());
             gated.Forward(response, flags);
             return Error();
           }));
  if (!last) return;
  call->gated->EndLease();
  Settle(call);
}

void GateModel::Settle(Call* call) {
  if (--call->gated->owed > 0) return;
  const std::unique_ptr<Call> owned(call);
  {
    const std::lock_guard lock(owned->model->mutex_);
    owned->model->LeaveLocked(owned->gated);
  }
  owned->gated->DropInner();
  owned->gated->Finish();
}

void GateModel::LeaveLocked(const Shared& gated) {
  if (gated->stage == Stage::kDecided) std::erase(decided_, gated);
  gated->stage = Stage::kAnswered;
  waiting_.erase(gated);
  running_.erase(gated);
  held_bytes_ -= std::exchange(gated->held_bytes, 0);
  NextOfSequenceLocked(gated);
  changed_.notify_all();
}

void GateModel::NextOfSequenceLocked(const Shared& gated) {
  // Only who was asked for holds its sequence up, and only once.
  if (gated->sequence.empty() || !std::exchange(gated->asked, false)) return;
  const auto found = sequences_.find(gated->sequence);
  if (found == sequences_.end()) return;
  std::deque<std::pair<Shared, Demand>>& later = found->second;
  while (!later.empty() && later.front().first->stage != Stage::kWaiting) later.pop_front();  // their clients have left
  if (later.empty()) {
    sequences_.erase(found);
    return;
  }
  later.front().first->asked = true;
  to_ask_.push_back(std::move(later.front()));
  later.pop_front();
  changed_.notify_all();
}

void GateModel::AskNext() {
  while (true) {
    std::pair<Shared, Demand> next;
    {
      const std::lock_guard lock(mutex_);
      if (to_ask_.empty()) return;
      next = std::move(to_ask_.front());
      to_ask_.pop_front();
      if (next.first->stage != Stage::kWaiting) continue;
    }
    Ask(next.first, next.second);
  }
}

void GateModel::DropThoseWhoLeft() {
  std::vector<Shared> all;
  {
    const std::lock_guard lock(mutex_);
    all.reserve(waiting_.size() + decided_.size() + running_.size());
    all.assign(waiting_.begin(), waiting_.end());
    all.insert(all.end(), decided_.begin(), decided_.end());
    all.insert(all.end(), running_.begin(), running_.end());
  }
  for (const Shared& gated : all) {
    if (!gated->ClientHasLeft()) continue;
    bool before_start = false;
    {
      const std::lock_guard lock(mutex_);
      before_start = gated->stage == Stage::kWaiting || gated->stage == Stage::kDecided;
      if (before_start) LeaveLocked(gated);
    }
    if (!before_start) {
      gated->Stop(ClientLeft());
      continue;
    }
    gated->EndLease();
    gated->Refuse(ClientLeft());
    gated->Finish();
  }
}

void GateModel::RefuseWithoutTarget() {
  std::vector<Shared> queue;
  {
    const std::lock_guard lock(mutex_);
    queue.assign(waiting_.begin(), waiting_.end());
  }
  if (queue.empty()) return;
  bool ready = false;
  const Error unknown(TRITONSERVER_ServerModelIsReady(server_, settings_.target_model.c_str(), settings_.target_version,
                                                      &ready));  // while the server stops
  if (unknown == nullptr && ready) return;
  for (const Shared& gated : queue) {
    Decide(gated, nullptr,
           MakeError(TRITONSERVER_ERROR_UNAVAILABLE, "vramgate: TARGET_NOT_READY: model " + settings_.target_model +
                                                         " is unloaded or the server stops"));
    gated->EndLease();  // a place in the gate's queue is of no use; the answer has its turn
  }
}

}  // namespace vramgate
