// libtriton_vramgate.so: the functions by which Triton loads and runs the backend "vramgate". docs/triton.md is its
// manual.
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "plugin/triton/gate_clients.h"
#include "plugin/triton/gate_model.h"
#include "plugin/triton/model_config.h"
#include "plugin/triton/triton_backend_api.h"

namespace vramgate {
namespace {

constexpr uint32_t kConfigVersion = 1;

Error CheckVersion() {
  uint32_t major = 0;
  uint32_t minor = 0;
  if (Error error{TRITONBACKEND_ApiVersion(&major, &minor)}) return error;
  if (major == kTritonBackendMajor && minor >= kTritonBackendMinor) return nullptr;
  return MakeError(TRITONSERVER_ERROR_UNSUPPORTED,
                   "vramgate: this server's backend API is " + std::to_string(major) + "." + std::to_string(minor) +
                       "; needed is " + std::to_string(kTritonBackendMajor) + "." +
                       std::to_string(kTritonBackendMinor) + " or a later minor (Triton 2.39)");
}

Error Initialize(TRITONBACKEND_Backend* backend) {
  if (Error error = CheckVersion()) return error;
  const vg_api* api = nullptr;
  if (Error error = FindGateApi(&api)) return error;
  auto clients = std::make_unique<GateClients>(api);
  if (Error error{TRITONBACKEND_BackendSetState(backend, clients.get())}) return error;
  clients.release();  // Finalize's
  return nullptr;
}

Error Finalize(TRITONBACKEND_Backend* backend) {
  void* state = nullptr;
  if (Error error{TRITONBACKEND_BackendState(backend, &state)}) return error;
  delete static_cast<GateClients*>(state);
  return nullptr;
}

Error ReadConfig(TRITONBACKEND_Model* model, nlohmann::json* config) {
  TRITONSERVER_Message* message = nullptr;
  if (Error error{TRITONBACKEND_ModelConfig(model, kConfigVersion, &message)}) return error;
  return TakeJson(message, config);
}

// Fills in what the config leaves to the target.
Error CompleteConfig(TRITONBACKEND_Model* model, TRITONSERVER_Server* server, const GateSettings& settings,
                     nlohmann::json* config) {
  if (!NeedsCompletion(*config)) return nullptr;
  constexpr std::string_view kWayOut =
      "; write input, output, max_batch_size and model_transaction_policy into config.pbtxt "
      "(plugin/triton/make_config.py "
      "does), or load this model by the repository API once its target is ready";
  bool completes = false;
  if (Error error{TRITONBACKEND_ModelAutoCompleteConfig(model, &completes)}) return error;
  const std::string what = "vramgate: " + settings.model + " has no inputs or outputs of its own";
  if (!completes) {
    return MakeError(TRITONSERVER_ERROR_INVALID_ARG,
                     what + ", and this server completes no configs" + std::string(kWayOut));
  }
  TRITONSERVER_Message* message = nullptr;
  if (const Error error{TRITONSERVER_ServerModelConfig(server, settings.target_model.c_str(), settings.target_version,
                                                       kConfigVersion, &message)}) {
    return MakeError(TRITONSERVER_ERROR_UNAVAILABLE,
                     what + ", and those of its target " + settings.target_model + " cannot be had now (" +
                         TRITONSERVER_ErrorMessage(error.get()) + ")" + std::string(kWayOut));
  }
  nlohmann::json target;
  if (Error error = TakeJson(message, &target)) return error;
  *config = Complete(std::move(*config), target);
  if (Error error = MakeMessage(*config, &message)) return error;
  Error error{TRITONBACKEND_ModelSetConfig(model, kConfigVersion, message)};
  LogError("delete a message", TRITONSERVER_MessageDelete(message));
  return error;
}

Error InitializeModel(TRITONBACKEND_Model* model) {
  TRITONBACKEND_Backend* backend = nullptr;
  void* state = nullptr;
  if (Error error{TRITONBACKEND_ModelBackend(model, &backend)}) return error;
  if (Error error{TRITONBACKEND_BackendState(backend, &state)}) return error;
  auto* const clients = static_cast<GateClients*>(state);
  TRITONSERVER_Server* server = nullptr;
  if (Error error{TRITONBACKEND_ModelServer(model, &server)}) return error;

  nlohmann::json config;
  if (Error error = ReadConfig(model, &config)) return error;
  GateSettings settings;
  if (Error error = ReadSettings(config, &settings)) return error;
  if (Error error = CompleteConfig(model, server, settings, &config)) return error;
  settings = GateSettings();
  if (Error error = ReadSettings(config, &settings)) return error;

  vg_client* client = nullptr;
  if (Error error = clients->Get({settings.gate, settings.when_away, settings.local_share_bytes}, &client))
    return error;
  Error error;
  auto gate = GateModel::Make(std::move(settings), server, clients->api(), client, &error);
  if (gate == nullptr) return error;
  auto owned = std::make_unique<std::shared_ptr<GateModel>>(gate);
  error.reset(TRITONBACKEND_ModelSetState(model, owned.get()));
  if (error != nullptr) {
    gate->Stop();
    return error;
  }
  owned.release();  // FinalizeModel's
  return nullptr;
}

Error StateOf(TRITONBACKEND_Model* model, std::shared_ptr<GateModel>** gate) {
  void* state = nullptr;
  if (Error error{TRITONBACKEND_ModelState(model, &state)}) return error;
  *gate = static_cast<std::shared_ptr<GateModel>*>(state);
  return nullptr;
}

Error FinalizeModel(TRITONBACKEND_Model* model) {
  std::shared_ptr<GateModel>* gate = nullptr;
  if (Error error = StateOf(model, &gate)) return error;
  if (gate == nullptr) return nullptr;  // it could not be loaded
  const std::unique_ptr<std::shared_ptr<GateModel>> owned(gate);
  (*owned)->Stop();
  return nullptr;
}

Error Execute(TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Request** requests, uint32_t count) {
  TRITONBACKEND_Model* model = nullptr;
  if (Error error{TRITONBACKEND_ModelInstanceModel(instance, &model)}) return error;
  std::shared_ptr<GateModel>* gate = nullptr;
  if (Error error = StateOf(model, &gate)) return error;
  (*gate)->Execute(requests, count);
  return nullptr;
}

}  // namespace
}  // namespace vramgate

VRAMGATE_TRITON_EXPORT TRITONSERVER_Error* TRITONBACKEND_Initialize(TRITONBACKEND_Backend* backend) {
  return vramgate::Guarded("vramgate: the backend could not start", [&] { return vramgate::Initialize(backend); });
}

VRAMGATE_TRITON_EXPORT TRITONSERVER_Error* TRITONBACKEND_Finalize(TRITONBACKEND_Backend* backend) {
  return vramgate::Guarded("vramgate: the backend could not end", [&] { return vramgate::Finalize(backend); });
}

VRAMGATE_TRITON_EXPORT TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* model) {
  return vramgate::Guarded("vramgate: the model's config could not be read",
                           [&] { return vramgate::InitializeModel(model); });
}

VRAMGATE_TRITON_EXPORT TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model* model) {
  return vramgate::Guarded("vramgate: the model could not end", [&] { return vramgate::FinalizeModel(model); });
}

VRAMGATE_TRITON_EXPORT TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance* instance,
                                                                              TRITONBACKEND_Request** requests,
                                                                              const uint32_t count) {
  return vramgate::Guarded("vramgate: out of memory", [&] { return vramgate::Execute(instance, requests, count); });
}
