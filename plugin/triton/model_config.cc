#include "plugin/triton/model_config.h"

#include <nlohmann/json.hpp>
#include <string>

namespace vramgate {
namespace {

using nlohmann::json;

bool Lacks(const json& config, const char* key) {
  const auto found = config.find(key);
  return found == config.end() || found->empty();
}

// A tensor as the client sees it. A reshape is the target's own affair, and so are labels, whose file lies in its
// directory.
json Outward(const json& tensors) {
  json out = json::array();
  for (const json& tensor : tensors) {
    json kept = json::object();
    for (const char* key :
         {"name", "data_type", "format", "dims", "is_shape_tensor", "allow_ragged_batch", "optional"}) {
      const auto found = tensor.find(key);
      if (found != tensor.end()) kept[key] = *found;
    }
    out.push_back(std::move(kept));
  }
  return out;
}

}  // namespace

Error TakeJson(TRITONSERVER_Message* owned, json* out) {
  const char* base = nullptr;
  size_t bytes = 0;
  Error error{TRITONSERVER_MessageSerializeToJson(owned, &base, &bytes)};
  if (error == nullptr) {
    *out = json::parse(base, base + bytes, nullptr, /*allow_exceptions=*/false);
    if (!out->is_object())
      error = MakeError(TRITONSERVER_ERROR_INTERNAL, "vramgate: a model's config is no JSON object");
  }
  LogError("delete a message", TRITONSERVER_MessageDelete(owned));
  return error;
}

Error MakeMessage(const json& config, TRITONSERVER_Message** out) {
  const std::string text = config.dump();
  return Error(TRITONSERVER_MessageNewFromSerializedJson(out, text.data(), text.size()));
}

bool NeedsCompletion(const json& config) {
  return Lacks(config, "input") || Lacks(config, "output");
}

json Complete(json config, const json& target) {
  for (const char* key : {"input", "output"}) {
    const auto found = target.find(key);
    if (Lacks(config, key) && found != target.end() && found->is_array()) config[key] = Outward(*found);
  }
  // With the inputs go their batch dimension and how many responses there are.
  for (const char* key : {"max_batch_size", "model_transaction_policy"}) {
    const auto found = target.find(key);
    if (found != target.end()) config[key] = *found;
  }
  if (Lacks(config, "instance_group")) {
    config["instance_group"] = json::array({{{"kind", "KIND_CPU"}, {"count", 1}}});
  }
  return config;
}

}  // namespace vramgate
