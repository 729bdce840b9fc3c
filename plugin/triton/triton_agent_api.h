// What the repository agent uses of Triton's repository agent API (tritonrepoagent.h, BSD-3-Clause), declared from its
// public signatures. See triton_api.h for who uses it, what weak means, and its rules.
//
//   uint32_t parameters;
//   if (TRITONSERVER_Error* error = TRITONREPOAGENT_ModelParameterCount(agent, model, &parameters)) return error;
#pragma once

#include "plugin/triton/triton_api.h"

struct TRITONREPOAGENT_Agent;
struct TRITONREPOAGENT_AgentModel;

enum TRITONREPOAGENT_ActionType : int {
  TRITONREPOAGENT_ACTION_LOAD,
  TRITONREPOAGENT_ACTION_LOAD_COMPLETE,
  TRITONREPOAGENT_ACTION_LOAD_FAIL,
  TRITONREPOAGENT_ACTION_UNLOAD,
  TRITONREPOAGENT_ACTION_UNLOAD_COMPLETE,
};
enum TRITONREPOAGENT_ArtifactType : int { TRITONREPOAGENT_ARTIFACT_FILESYSTEM };

// The version of the agent API that is declared here: its major has to be the server's, its minor at most the server's.
inline constexpr uint32_t kTritonAgentMajor = 0;
inline constexpr uint32_t kTritonAgentMinor = 1;

extern "C" {

TRITONSERVER_Error* TRITONREPOAGENT_ApiVersion(uint32_t* major, uint32_t* minor);
TRITONSERVER_Error* TRITONREPOAGENT_State(TRITONREPOAGENT_Agent*, void**);
TRITONSERVER_Error* TRITONREPOAGENT_SetState(TRITONREPOAGENT_Agent*, void*);
TRITONSERVER_Error* TRITONREPOAGENT_ModelState(TRITONREPOAGENT_AgentModel*, void**);
TRITONSERVER_Error* TRITONREPOAGENT_ModelSetState(TRITONREPOAGENT_AgentModel*, void*);
TRITONSERVER_Error* TRITONREPOAGENT_ModelParameterCount(TRITONREPOAGENT_Agent*, TRITONREPOAGENT_AgentModel*, uint32_t*);
TRITONSERVER_Error* TRITONREPOAGENT_ModelParameter(TRITONREPOAGENT_Agent*, TRITONREPOAGENT_AgentModel*, uint32_t index,
                                                   const char** key, const char** value);
TRITONSERVER_Error* TRITONREPOAGENT_ModelConfig(TRITONREPOAGENT_Agent*, TRITONREPOAGENT_AgentModel*,
                                                uint32_t config_version, TRITONSERVER_Message**);
TRITONSERVER_Error* TRITONREPOAGENT_ModelRepositoryLocation(TRITONREPOAGENT_Agent*, TRITONREPOAGENT_AgentModel*,
                                                            TRITONREPOAGENT_ArtifactType*, const char** location);

}  // extern "C"
