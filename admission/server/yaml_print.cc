#include <algorithm>
#include <charconv>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "admission/check.h"
#include "admission/server/config_schema.h"
#include "admission/server/yaml_message.h"
#include "admission/units.h"
#include "google/protobuf/duration.pb.h"

namespace vramgate {
namespace {

namespace pb = google::protobuf;
using Field = pb::FieldDescriptor;

// The human form where it reads back as the same, else plain bytes.
std::string ExactBytes(int64_t bytes) {
  std::string human = FormatBytes(bytes);
  const absl::StatusOr<int64_t> again = ParseBytes(human);
  return again.ok() && *again == bytes ? human : absl::StrCat(bytes);
}

std::string ShortestDouble(double value) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  CHECK(error == std::errc(), "to_chars needs at most 24 characters for a double");
  return {buffer, end};
}

YamlNode NodeOfMessage(const pb::Message& message) {
  if (message.GetDescriptor() == v1::Bytes::descriptor()) {
    return YamlNode::Plain(ExactBytes(pb::DynamicCastToGenerated<const v1::Bytes>(&message)->value()));
  }
  if (message.GetDescriptor() == pb::Duration::descriptor()) {
    const auto& duration = *pb::DynamicCastToGenerated<const pb::Duration>(&message);
    return YamlNode::Plain(
        absl::FormatDuration(absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos())));
  }
  return NodeFromMessage(message);
}

YamlNode NodeOfValue(const pb::Message& message, const Field& field) {
  const pb::Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case Field::CPPTYPE_MESSAGE:
      return NodeOfMessage(reflection.GetMessage(message, &field));
    case Field::CPPTYPE_STRING:
      return YamlNode::Text(reflection.GetString(message, &field));
    case Field::CPPTYPE_BOOL:
      return YamlNode::Plain(reflection.GetBool(message, &field) ? "true" : "false");
    case Field::CPPTYPE_ENUM:
      return YamlNode::Plain(absl::AsciiStrToLower(reflection.GetEnum(message, &field)->name()));
    case Field::CPPTYPE_INT64:
      return YamlNode::Plain(absl::StrCat(reflection.GetInt64(message, &field)));
    case Field::CPPTYPE_INT32:
      return YamlNode::Plain(absl::StrCat(reflection.GetInt32(message, &field)));
    case Field::CPPTYPE_DOUBLE:
      return YamlNode::Plain(ShortestDouble(reflection.GetDouble(message, &field)));
    case Field::CPPTYPE_UINT32:
    case Field::CPPTYPE_UINT64:
    case Field::CPPTYPE_FLOAT:
      break;
  }
  CHECK(false, "config.proto: a field's type has no YAML form");
}

YamlNode NodeOfList(const pb::Message& message, const Field& field) {
  YamlNode list = YamlNode::List();
  const pb::Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    list.items.push_back(field.cpp_type() == Field::CPPTYPE_STRING
                             ? YamlNode::Text(reflection.GetRepeatedString(message, &field, i))
                             : NodeOfMessage(reflection.GetRepeatedMessage(message, &field, i)));
  }
  return list;
}

// In the order of the keys: a protobuf map has none of its own.
YamlNode NodeOfMap(const pb::Message& message, const Field& field) {
  YamlNode map = YamlNode::Map();
  const pb::Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const pb::Message& entry = reflection.GetRepeatedMessage(message, &field, i);
    map.items.push_back(NodeOfValue(entry, *field.message_type()->map_value()));
    map.items.back().key = entry.GetReflection()->GetString(entry, field.message_type()->map_key());
  }
  std::sort(map.items.begin(), map.items.end(), [](const YamlNode& a, const YamlNode& b) { return a.key < b.key; });
  return map;
}

}  // namespace

YamlNode NodeFromMessage(const pb::Message& message) {
  YamlNode node = YamlNode::Map();
  const pb::Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const Field& field = *type.field(i);
    if (!field.is_repeated() && field.has_presence() && !message.GetReflection()->HasField(message, &field)) continue;
    node.items.push_back(field.is_map()        ? NodeOfMap(message, field)
                         : field.is_repeated() ? NodeOfList(message, field)
                                               : NodeOfValue(message, field));
    node.items.back().key = field.name();
  }
  return node;
}

}  // namespace vramgate
