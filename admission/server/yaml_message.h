// Reads a protobuf message from a YAML tree by its schema, strictly, and prints it back: the options of config.proto
// (defaults, limits, what must be given) are all it knows of the config. What a value means beyond that is
// config_check.h's.
//
//   ErrorList errors;
//   SourceMap lines("gate.yaml");
//   FillMessage(root, config, lines, errors);          // every fault is collected, not just the first
//   if (!errors.empty()) return errors.ToStatus();
//   lines.Where("models[0].instances[0].kv_pool")      // "gate.yaml:14: models[0].instances[0].kv_pool"
//
// Thread rule: none of its own, plain values.
#pragma once

#include "admission/server/config_errors.h"
#include "admission/server/yaml_node.h"
#include "google/protobuf/message.h"

namespace vramgate {

// Sets every field that `node` gives and the defaults of the rest. Adds to `errors` what is unknown, given twice,
// missing, of the wrong kind or unit, or out of its limits; such fields stay unset.
void FillMessage(const YamlNode& node, google::protobuf::Message& message, SourceMap& lines, ErrorList& errors);

// The message as it would be written: human units, every field that is set or has a default. FillMessage of it gives
// the message.
YamlNode NodeFromMessage(const google::protobuf::Message& message);

}  // namespace vramgate
