// GateModel: requests until they are decided. gate_model_run.cc has what comes after.
#include "plugin/triton/gate_model.h"

#include <cstdlib>
#include <utility>

#include "plugin/triton/gate_call.h"

namespace vramgate {
namespace {

// Outputs of the target lie in memory of ours until they are copied into the client's.
TRITONSERVER_Error* Allocate(TRITONSERVER_ResponseAllocator*, const char*, size_t bytes, TRITONSERVER_MemoryType,
                             int64_t, void*, void** buffer, void** buffer_user, TRITONSERVER_MemoryType* actual,
                             int64_t* actual_id) {
  *actual = TRITONSERVER_MEMORY_CPU;
  *actual_id = 0;
  *buffer_user = nullptr;
  *buffer = bytes == 0 ? nullptr : std::malloc(bytes);
  if (*buffer != nullptr || bytes == 0) return nullptr;
  return MakeError(TRITONSERVER_ERROR_UNAVAILABLE, "vramgate: no memory for an output").release();
}

TRITONSERVER_Error* Deallocate(TRITONSERVER_ResponseAllocator*, void* buffer, void*, size_t, TRITONSERVER_MemoryType,
                               int64_t) {
  std::free(buffer);
  return nullptr;
}

std::string SequenceOf(const RequestCopy& copy) {
  if (!copy.correlation_text.empty()) return "t" + copy.correlation_text;
  return copy.correlation_id == 0 ? std::string() : "n" + std::to_string(copy.correlation_id);
}

vg_str View(const std::string& text) {
  return {text.data(), text.size()};
}

}  // namespace

GateModel::GateModel(GateSettings settings, TRITONSERVER_Server* server, const vg_api& api, vg_client* client)
    : settings_(std::move(settings)),
      server_(server),
      api_(api),
      client_(client),
      pacer_(settings_.starts_per_second) {}

GateModel::~GateModel() = default;

std::shared_ptr<GateModel> GateModel::Make(GateSettings settings, TRITONSERVER_Server* server, const vg_api& api,
                                           vg_client* client, Error* error) {
  std::shared_ptr<GateModel> model(new GateModel(std::move(settings), server, api, client));
  error->reset(TRITONSERVER_ResponseAllocatorNew(&model->allocator_, &Allocate, &Deallocate, nullptr));
  if (*error != nullptr) return nullptr;
  model->worker_ = std::thread([worker = model.get()] { worker->Work(); });
  return model;
}

void GateModel::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  worker_.join();
  LogError("delete an allocator", TRITONSERVER_ResponseAllocatorDelete(std::exchange(allocator_, nullptr)));
}

void GateModel::Execute(TRITONBACKEND_Request** requests, uint32_t count) {
  for (uint32_t index = 0; index < count; ++index) {
    LogError("take a request", Guarded("vramgate: out of memory", [&] {
               Arrive(requests[index]);
               return Error();
             }));
    // Everything was copied, or refused.
    LogError("release a request", TRITONBACKEND_RequestRelease(requests[index], TRITONSERVER_REQUEST_RELEASE_ALL));
  }
}

void GateModel::Arrive(TRITONBACKEND_Request* request) {
  TRITONBACKEND_ResponseFactory* factory = nullptr;
  if (Error error{TRITONBACKEND_ResponseFactoryNew(&factory, request)}) {
    LogError("make a response factory", error.release());  // then nobody can be answered
    return;
  }
  const auto gated =
      std::make_shared<GatedRequest>(api_, client_, settings_, factory, std::chrono::steady_clock::now());
  Demand demand;
  Error error(Guarded("vramgate: out of memory", [&] { return Read(request, gated.get(), &demand); }));
  const bool refused = error != nullptr;
  const bool ask = Enter(gated, demand, refused);
  if (refused) {
    Decide(gated, nullptr, std::move(error));
  } else if (ask) {
    Ask(gated, demand);
  }
}

Error GateModel::Read(TRITONBACKEND_Request* request, GatedRequest* gated, Demand* demand) {
  int64_t most_bytes = 0;
  {
    const std::lock_guard lock(mutex_);
    if (static_cast<int64_t>(waiting_.size() + decided_.size() + running_.size()) >= settings_.most_held_requests) {
      return MakeError(TRITONSERVER_ERROR_UNAVAILABLE, "vramgate: HELD_REQUESTS_FULL: MAX_HELD_REQUESTS of model " +
                                                           settings_.model + " wait or run; retry later");
    }
    most_bytes = settings_.most_held_bytes - held_bytes_;
  }
  if (Error error{CopyRequest(request, most_bytes, &gated->copy)}) return error;
  return ReadDemand(gated->copy, settings_, demand);
}

bool GateModel::Enter(const Shared& gated, const Demand& demand, bool refused) {
  const std::lock_guard lock(mutex_);
  waiting_.insert(gated);
  gated->held_bytes = gated->copy.held_bytes;
  held_bytes_ += gated->held_bytes;
  if (waiting_.size() == 1) changed_.notify_all();  // the worker may have slept for want of anything to look after
  if (refused) return false;
  std::string sequence = SequenceOf(gated->copy);
  if (!sequence.empty()) {
    const auto [found, first] = sequences_.try_emplace(sequence);
    gated->sequence = std::move(sequence);
    if (!first) {
      found->second.emplace_back(gated, demand);
      return false;
    }
  }
  gated->asked = true;
  return true;
}

void GateModel::Ask(const Shared& gated, const Demand& demand) {
  vg_admit_args args = VG_ADMIT_ARGS_INIT;
  args.model = View(settings_.gate_model);
  args.instance = View(settings_.gate_instance);
  args.tenant = View(demand.tenant);
  args.priority = static_cast<int32_t>(demand.priority);
  args.sequences = static_cast<int32_t>(demand.sequences);
  args.prompt_tokens = demand.prompt_tokens;
  args.prompt_bytes = demand.prompt_bytes;
  args.max_output_tokens = demand.max_output_tokens;
  args.max_wait_ns = settings_.max_wait_ns;
  if (gated->copy.timeout_us > 0) {
    constexpr uint64_t kMostMicroseconds = uint64_t{1} << 50;
    const auto timeout_ns = static_cast<int64_t>(std::min(gated->copy.timeout_us, kMostMicroseconds) * 1000);
    args.max_wait_ns = args.max_wait_ns < 0 ? timeout_ns : std::min(args.max_wait_ns, timeout_ns);
  }
  args.revocable = settings_.revocable ? 1 : 0;
  vg_callbacks callbacks = VG_CALLBACKS_INIT;
  auto call = std::make_unique<Call>(Call{shared_from_this(), gated});
  callbacks.user = call.get();
  callbacks.on_decision = &OnDecision;
  callbacks.on_revoked = &OnRevoked;
  callbacks.on_ended = &OnEnded;
  vg_lease lease = 0;
  const vg_code code = api_.admit_async(client_, &args, &callbacks, &lease);
  if (code != VG_OK) {
    vg_decision decision = VG_DECISION_INIT;
    decision.code = code;
    Decide(gated, &decision, nullptr);
    return;
  }
  call.release();  // OnEnded's now
  vg_lease none = 0;
  gated->lease.compare_exchange_strong(none, lease);
  bool left = false;  // its client, while it was on its way to the gate
  {
    const std::lock_guard lock(mutex_);
    left = gated->stage == GatedRequest::Stage::kAnswered;
  }
  if (left) gated->EndLease();
}

void GateModel::OnDecision(void* user, vg_lease lease, const vg_decision* decision) {
  const Call& call = *static_cast<Call*>(user);
  LogError("take a decision", Guarded("vramgate: out of memory", [&] {
             call.gated->lease = decision->code == VG_OK ? lease : 0;
             if (!call.model->Decide(call.gated, decision, nullptr)) call.gated->EndLease();
             return Error();
           }));
}

void GateModel::OnRevoked(void* user, vg_lease, const vg_decision* decision) {
  const Call& call = *static_cast<Call*>(user);
  LogError("stop a request", Guarded("vramgate: out of memory", [&] {
             vg_decision revoked = *decision;
             revoked.code = VG_UNAVAILABLE;
             {
               const std::lock_guard lock(call.model->mutex_);
               if (call.gated->stage == GatedRequest::Stage::kDecided) call.gated->refusal = Refusal(revoked);
             }
             call.gated->Stop(Refusal(revoked));
             return Error();
           }));
}

void GateModel::OnEnded(void* user, vg_lease) {
  delete static_cast<Call*>(user);
}

bool GateModel::Decide(const Shared& gated, const vg_decision* decision, Error refusal) {
  {
    const std::lock_guard lock(mutex_);
    if (gated->stage != GatedRequest::Stage::kWaiting) return false;
    if (decision != nullptr) gated->decision = *decision;
    gated->refusal = std::move(refusal);
    gated->stage = GatedRequest::Stage::kDecided;
    waiting_.erase(gated);
    decided_.push_back(gated);
  }
  changed_.notify_all();
  return true;
}

}  // namespace vramgate
