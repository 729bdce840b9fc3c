#include "admission/server/yaml_message.h"

#include <algorithm>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "admission/check.h"
#include "admission/server/config_schema.h"
#include "admission/units.h"
#include "admission/utf8.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/duration.pb.h"
#include "vramgate/v1/config.pb.h"

namespace vramgate {
namespace {

namespace pb = google::protobuf;
using Field = pb::FieldDescriptor;

constexpr size_t kMaxTextBytes = 4096;
constexpr size_t kMaxKeyBytes = 256;

class Reader {
 public:
  Reader(SourceMap& lines, ErrorList& errors) : lines_(lines), errors_(errors) {}

  void ReadMessage(const YamlNode& node, pb::Message& message, const std::string& path) {
    const pb::Descriptor& type = *message.GetDescriptor();
    const std::string& scalar_field = type.options().GetExtension(v1::scalar_field);
    YamlNode wrapped = YamlNode::Map();
    if (node.kind == YamlNode::Kind::kScalar && !scalar_field.empty()) {
      wrapped.items.push_back(node);
      wrapped.items.back().key = scalar_field;
      return ReadFields(wrapped, message, path);
    }
    if (node.kind != YamlNode::Kind::kMap) return Fail(path, WrongKind(node, "a mapping (key: value)"));
    ReadFields(node, message, path);
  }

 private:
  void Fail(const std::string& path, std::string_view message) { errors_.Add(lines_.Where(path), message); }

  static std::string WrongKind(const YamlNode& node, std::string_view wanted) {
    std::string expected = absl::StrCat("expected ", std::string(wanted));
    switch (node.kind) {
      case YamlNode::Kind::kNull:
        return absl::StrCat("has no value: ", expected, ", or leave the key out");
      case YamlNode::Kind::kScalar:
        return absl::StrCat(Quoted(node.text), ": ", expected);
      case YamlNode::Kind::kList:
        return absl::StrCat("is a list: ", expected);
      case YamlNode::Kind::kMap:
        return absl::StrCat("is a mapping: ", expected);
    }
    return expected;
  }

  void SetLine(const std::string& path, int line) {
    if (line > 0) lines_.Set(path, line);
  }

  void ReadFields(const YamlNode& node, pb::Message& message, const std::string& path) {
    const pb::Descriptor& type = *message.GetDescriptor();
    std::map<const Field*, int> seen;
    for (const YamlNode& item : node.items) {
      const Field* field = type.FindFieldByName(item.key);
      const std::string item_path = JoinPath(path, item.key);
      if (field == nullptr) {
        SourceMap here = SourceMap(lines_.file());
        here.Set(item_path, item.line);
        errors_.Add(here.Where(item_path), UnknownField(type, item.key));
      } else if (const auto [first, is_new] = seen.emplace(field, item.line); !is_new) {
        Fail(item_path, absl::StrCat("given twice, again on line ", item.line));
      } else {
        SetLine(item_path, item.line);
        ReadField(item, message, *field, item_path);
      }
    }
    for (int i = 0; i < type.field_count(); ++i)
      FillDefault(*type.field(i), seen.contains(type.field(i)), message, path);
  }

  void FillDefault(const Field& field, bool given, pb::Message& message, const std::string& path) {
    const v1::FieldRule& rule = RuleOf(field);
    if (!given && rule.required()) return Fail(JoinPath(path, field.name()), "missing: it has no default");
    if (rule.default_value().empty() || (given && !field.is_map())) return;
    YamlNode value = YamlNode::Plain(rule.default_value());
    if (field.is_repeated() || IsPlainMessage(field)) {
      absl::StatusOr<YamlNode> parsed = ParseYaml(rule.default_value(), field.full_name());
      CHECK(parsed.ok(), "config.proto: a default is not YAML");
      value = *std::move(parsed);
    }
    ClearLines(value);
    ReadField(value, message, field, JoinPath(path, field.name()));
  }

  static void ClearLines(YamlNode& node) {
    node.line = 0;
    for (YamlNode& item : node.items) ClearLines(item);
  }

  void ReadField(const YamlNode& node, pb::Message& message, const Field& field, const std::string& path) {
    if (field.is_map()) return ReadMap(node, message, field, path);
    if (!field.is_repeated()) return ReadValue(node, message, field, path);
    if (node.kind != YamlNode::Kind::kList) return Fail(path, WrongKind(node, "a list ([a, b], or one \"- \" a line)"));
    if (!CheckCount(node, field, path)) return;
    for (size_t i = 0; i < node.items.size(); ++i) {
      const std::string item_path = absl::StrCat(path, "[", i, "]");
      SetLine(item_path, node.items[i].line);
      ReadValue(node.items[i], message, field, item_path);
    }
  }

  bool CheckCount(const YamlNode& node, const Field& field, const std::string& path) {
    const size_t count = node.items.size();
    const std::string wrong =
        OutOfLimits(field, static_cast<long double>(count), absl::StrCat(count, " entries: that"), true);
    if (!wrong.empty()) Fail(path, wrong);
    return wrong.empty();
  }

  // Entries are added behind those that are there; a key that is there stays as it is (so given entries go before
  // defaults).
  void ReadMap(const YamlNode& node, pb::Message& message, const Field& field, const std::string& path) {
    if (node.kind != YamlNode::Kind::kMap) return Fail(path, WrongKind(node, "a mapping (key: value)"));
    if (!CheckCount(node, field, path)) return;
    const pb::Reflection& reflection = *message.GetReflection();
    const Field& key_field = *field.message_type()->map_key();
    const Field& value_field = *field.message_type()->map_value();
    std::map<std::string, bool> taken;  // true: by this mapping
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      const pb::Message& entry = reflection.GetRepeatedMessage(message, &field, i);
      taken[entry.GetReflection()->GetString(entry, &key_field)] = false;
    }
    for (const YamlNode& item : node.items) {
      const std::string item_path = JoinPath(path, item.key);
      const auto [before, is_new] = taken.emplace(item.key, true);
      if (!is_new && before->second) Fail(item_path, absl::StrCat("given twice, again on line ", item.line));
      if (!is_new) continue;
      SetLine(item_path, item.line);
      if (item.key.size() > kMaxKeyBytes || HasControl(item.key)) {
        Fail(item_path, absl::StrCat("a key has at most ", kMaxKeyBytes, " bytes and no control characters"));
        continue;
      }
      pb::Message& entry = *reflection.AddMessage(&message, &field);
      entry.GetReflection()->SetString(&entry, &key_field, item.key);
      ReadValue(item, entry, value_field, item_path);
    }
  }

  static bool HasControl(std::string_view text) {
    return std::any_of(text.begin(), text.end(),
                       [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  }

  // One value: of a singular field, of a map's entry, or behind those of a repeated one.
  void ReadValue(const YamlNode& node, pb::Message& message, const Field& field, const std::string& path) {
    const pb::Reflection& reflection = *message.GetReflection();
    if (IsPlainMessage(field)) {
      return ReadMessage(
          node,
          field.is_repeated() ? *reflection.AddMessage(&message, &field) : *reflection.MutableMessage(&message, &field),
          path);
    }
    if (node.kind != YamlNode::Kind::kScalar) return Fail(path, WrongKind(node, "one value"));
    const std::string& text = node.text;
    if (field.cpp_type() == Field::CPPTYPE_STRING) {
      return ReadText(text, message, field, path);
    }
    CHECK(!field.is_repeated(), "config.proto: a repeated field holds strings or messages");
    if (field.cpp_type() == Field::CPPTYPE_BOOL) {
      if (text != "true" && text != "false")
        return Fail(path, absl::StrCat(Quoted(text), " is neither true nor false"));
      reflection.SetBool(&message, &field, text == "true");
    } else if (field.cpp_type() == Field::CPPTYPE_ENUM) {
      const pb::EnumValueDescriptor* value = field.enum_type()->FindValueByName(absl::AsciiStrToUpper(text));
      if (value == nullptr || value->number() == 0 || absl::AsciiStrToLower(text) != text) {
        return Fail(path,
                    absl::StrCat(Quoted(text), " is not possible here; possible: ", EnumNames(*field.enum_type())));
      }
      reflection.SetEnum(&message, &field, value);
    } else {
      ReadNumber(text, message, field, path);
    }
  }

  void ReadText(const std::string& text, pb::Message& message, const Field& field, const std::string& path) {
    if (text.size() > kMaxTextBytes || HasControl(text)) {
      return Fail(
          path, absl::StrCat(Quoted(text), ": a text has at most ", kMaxTextBytes, " bytes and no control characters"));
    }
    if (field.is_repeated()) return message.GetReflection()->AddString(&message, &field, text);
    const std::string wrong = OutOfLimits(field, static_cast<long double>(text.size()),
                                          absl::StrCat(Quoted(text), " has ", text.size(), " bytes: that"), true);
    if (!wrong.empty()) return Fail(path, wrong);
    message.GetReflection()->SetString(&message, &field, text);
  }

  void ReadNumber(const std::string& text, pb::Message& message, const Field& field, const std::string& path) {
    const absl::StatusOr<long double> number = ParseNumber(field, text);
    if (!number.ok()) return Fail(path, std::string(number.status().message()));
    const std::string wrong = OutOfLimits(field, *number, Quoted(text), false);
    if (!wrong.empty()) return Fail(path, wrong);
    const pb::Reflection& reflection = *message.GetReflection();
    if (IsBytes(field)) {
      pb::DynamicCastToGenerated<v1::Bytes>(reflection.MutableMessage(&message, &field))->set_value(*ParseBytes(text));
    } else if (IsDuration(field)) {
      const int64_t ns = absl::ToInt64Nanoseconds(*ParseDuration(text));
      auto* duration = pb::DynamicCastToGenerated<pb::Duration>(reflection.MutableMessage(&message, &field));
      duration->set_seconds(ns / 1'000'000'000);
      duration->set_nanos(static_cast<int32_t>(ns % 1'000'000'000));
    } else if (field.cpp_type() == Field::CPPTYPE_DOUBLE) {
      reflection.SetDouble(&message, &field, static_cast<double>(*number));
    } else if (field.type() == Field::TYPE_SINT32) {
      reflection.SetInt32(&message, &field, static_cast<int32_t>(*number));
    } else if (field.cpp_type() == Field::CPPTYPE_INT64) {
      reflection.SetInt64(&message, &field, *ParseCount(text));
    } else {
      CHECK(field.cpp_type() == Field::CPPTYPE_INT32, "config.proto: a field's type has no YAML form");
      const int64_t count = *ParseCount(text);
      if (count > std::numeric_limits<int32_t>::max()) return Fail(path, absl::StrCat(Quoted(text), " is too large"));
      reflection.SetInt32(&message, &field, static_cast<int32_t>(count));
    }
  }

  SourceMap& lines_;
  ErrorList& errors_;
};

}  // namespace

void FillMessage(const YamlNode& node, pb::Message& message, SourceMap& lines, ErrorList& errors) {
  Reader(lines, errors).ReadMessage(node, message, "");
}

}  // namespace vramgate
