// libtritonrepoagent_vramgate.so: the functions by which Triton runs the repository agent "vramgate", which asks the
// gate before a model is loaded. docs/triton.md is its manual.
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "plugin/triton/model_config.h"
#include "plugin/triton/model_loads.h"
#include "plugin/triton/triton_agent_api.h"

namespace vramgate {
namespace {

constexpr uint32_t kConfigVersion = 1;

// One model from LOAD to UNLOAD_COMPLETE or LOAD_FAIL.
struct AgentModel {
  LoadTarget target;
  ModelLoads::Copy copy = 0;  // not 0: admitted
};

Error Initialize(TRITONREPOAGENT_Agent* agent) {
  uint32_t major = 0;
  uint32_t minor = 0;
  if (Error error{TRITONREPOAGENT_ApiVersion(&major, &minor)}) return error;
  if (major != kTritonAgentMajor || minor < kTritonAgentMinor) {
    return MakeError(TRITONSERVER_ERROR_UNSUPPORTED, "vramgate: this server's repository agent API is " +
                                                         std::to_string(major) + "." + std::to_string(minor) +
                                                         "; needed is " + std::to_string(kTritonAgentMajor) + "." +
                                                         std::to_string(kTritonAgentMinor) + " or a later minor");
  }
  const vg_api* api = nullptr;
  if (Error error = FindGateApi(&api)) return error;
  auto loads = std::make_unique<ModelLoads>(api);
  if (Error error{TRITONREPOAGENT_SetState(agent, loads.get())}) return error;
  loads.release();  // Finalize's
  return nullptr;
}

Error LoadsOf(TRITONREPOAGENT_Agent* agent, ModelLoads** loads) {
  void* state = nullptr;
  if (Error error{TRITONREPOAGENT_State(agent, &state)}) return error;
  *loads = static_cast<ModelLoads*>(state);
  return nullptr;
}

Error Finalize(TRITONREPOAGENT_Agent* agent) {
  ModelLoads* loads = nullptr;
  if (Error error = LoadsOf(agent, &loads)) return error;
  delete loads;
  return nullptr;
}

// The model's name: its config's, or its directory's.
Error NameOf(TRITONREPOAGENT_Agent* agent, TRITONREPOAGENT_AgentModel* model, std::string* name) {
  TRITONSERVER_Message* message = nullptr;
  if (Error error{TRITONREPOAGENT_ModelConfig(agent, model, kConfigVersion, &message)}) return error;
  nlohmann::json config;
  if (Error error = TakeJson(message, &config)) return error;
  *name = config.value("name", "");
  if (!name->empty()) return nullptr;
  TRITONREPOAGENT_ArtifactType type{};
  const char* location = nullptr;
  if (Error error{TRITONREPOAGENT_ModelRepositoryLocation(agent, model, &type, &location)}) return error;
  *name = location;
  while (!name->empty() && name->back() == '/') name->pop_back();
  name->erase(0, name->rfind('/') + 1);
  return nullptr;
}

Error InitializeModel(TRITONREPOAGENT_Agent* agent, TRITONREPOAGENT_AgentModel* model) {
  uint32_t count = 0;
  if (Error error{TRITONREPOAGENT_ModelParameterCount(agent, model, &count)}) return error;
  std::map<std::string, std::string> parameters;
  for (uint32_t index = 0; index < count; ++index) {
    const char* key = nullptr;
    const char* value = nullptr;
    if (Error error{TRITONREPOAGENT_ModelParameter(agent, model, index, &key, &value)}) return error;
    parameters[key] = value;
  }
  std::string name;
  if (Error error = NameOf(agent, model, &name)) return error;
  auto loaded = std::make_unique<AgentModel>();
  if (Error error = ReadLoadTarget(parameters, name, &loaded->target)) return error;
  if (Error error{TRITONREPOAGENT_ModelSetState(model, loaded.get())}) return error;
  loaded.release();  // FinalizeModel's
  return nullptr;
}

Error StateOf(TRITONREPOAGENT_AgentModel* model, AgentModel** loaded) {
  void* state = nullptr;
  if (Error error{TRITONREPOAGENT_ModelState(model, &state)}) return error;
  *loaded = static_cast<AgentModel*>(state);
  return nullptr;
}

void Unload(ModelLoads* loads, AgentModel* loaded) {
  loads->Unload(std::exchange(loaded->copy, 0));
}

Error FinalizeModel(TRITONREPOAGENT_Agent* agent, TRITONREPOAGENT_AgentModel* model) {
  AgentModel* loaded = nullptr;
  if (Error error = StateOf(model, &loaded)) return error;
  const std::unique_ptr<AgentModel> owned(loaded);
  ModelLoads* loads = nullptr;
  if (Error error = LoadsOf(agent, &loads)) return error;
  if (owned != nullptr) Unload(loads, owned.get());  // Triton said neither that it was loaded nor that it failed
  return nullptr;
}

Error Act(TRITONREPOAGENT_Agent* agent, TRITONREPOAGENT_AgentModel* model, TRITONREPOAGENT_ActionType action) {
  ModelLoads* loads = nullptr;
  AgentModel* loaded = nullptr;
  if (Error error = LoadsOf(agent, &loads)) return error;
  if (Error error = StateOf(model, &loaded)) return error;
  if (loaded == nullptr) return MakeError(TRITONSERVER_ERROR_INTERNAL, "vramgate: a model was not initialized");
  switch (action) {
    case TRITONREPOAGENT_ACTION_LOAD: {
      Error error = loads->Load(loaded->target, &loaded->copy);
      // Triton tells its client that the load failed, and the reason to nobody.
      if (error != nullptr) {
        Log(TRITONSERVER_LOG_ERROR,
            "vramgate: " + loaded->target.model + " is not loaded: " + TRITONSERVER_ErrorMessage(error.get()));
      }
      return error;
    }
    case TRITONREPOAGENT_ACTION_LOAD_COMPLETE:
      loads->Complete(loaded->copy);
      return nullptr;
    case TRITONREPOAGENT_ACTION_UNLOAD:
      return nullptr;
    case TRITONREPOAGENT_ACTION_LOAD_FAIL:
    case TRITONREPOAGENT_ACTION_UNLOAD_COMPLETE:
      Unload(loads, loaded);
      return nullptr;
  }
  return nullptr;
}

}  // namespace
}  // namespace vramgate

VRAMGATE_TRITON_EXPORT TRITONSERVER_Error* TRITONREPOAGENT_Initialize(TRITONREPOAGENT_Agent* agent) {
  return vramgate::Guarded("vramgate: the agent could not start", [&] { return vramgate::Initialize(agent); });
}

VRAMGATE_TRITON_EXPORT TRITONSERVER_Error* TRITONREPOAGENT_Finalize(TRITONREPOAGENT_Agent* agent) {
  return vramgate::Guarded("vramgate: the agent could not end", [&] { return vramgate::Finalize(agent); });
}

VRAMGATE_TRITON_EXPORT TRITONSERVER_Error* TRITONREPOAGENT_ModelInitialize(TRITONREPOAGENT_Agent* agent,
                                                                           TRITONREPOAGENT_AgentModel* model) {
  return vramgate::Guarded("vramgate: out of memory", [&] { return vramgate::InitializeModel(agent, model); });
}

VRAMGATE_TRITON_EXPORT TRITONSERVER_Error* TRITONREPOAGENT_ModelFinalize(TRITONREPOAGENT_Agent* agent,
                                                                         TRITONREPOAGENT_AgentModel* model) {
  return vramgate::Guarded("vramgate: out of memory", [&] { return vramgate::FinalizeModel(agent, model); });
}

VRAMGATE_TRITON_EXPORT TRITONSERVER_Error* TRITONREPOAGENT_ModelAction(TRITONREPOAGENT_Agent* agent,
                                                                       TRITONREPOAGENT_AgentModel* model,
                                                                       const TRITONREPOAGENT_ActionType action) {
  return vramgate::Guarded("vramgate: out of memory", [&] { return vramgate::Act(agent, model, action); });
}
