// What config.proto says of its fields, read from the descriptors: their kinds, limits, names and defaults.
//
// Used by yaml_message.h only. Pure functions. A mistake in config.proto itself (a limit that does not read as a value
// of its field) is a CHECK: reading any config would find it.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "google/protobuf/descriptor.h"
#include "vramgate/v1/config.pb.h"

namespace vramgate {

const v1::FieldRule& RuleOf(const google::protobuf::FieldDescriptor& field);

bool IsBytes(const google::protobuf::FieldDescriptor& field);
bool IsDuration(const google::protobuf::FieldDescriptor& field);
// A message that is written as a mapping.
bool IsPlainMessage(const google::protobuf::FieldDescriptor& field);

// A number as limits compare it: sizes in bytes, durations in seconds. INVALID_ARGUMENT says what would be right.
absl::StatusOr<long double> ParseNumber(const google::protobuf::FieldDescriptor& field, const std::string& text);

// "" or why `value`, written as `text`, is not within the field's limits. `counted`: they limit a length or a number of
// entries.
std::string OutOfLimits(const google::protobuf::FieldDescriptor& field, long double value, const std::string& text,
                        bool counted);

// What to say of a name that the message does not have: the nearest one, and all.
std::string UnknownField(const google::protobuf::Descriptor& type, std::string_view name);

// "resident, batched".
std::string EnumNames(const google::protobuf::EnumDescriptor& type);

}  // namespace vramgate
