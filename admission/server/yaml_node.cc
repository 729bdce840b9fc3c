#include "admission/server/yaml_node.h"

#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <charconv>
#include <optional>
#include <sstream>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "admission/utf8.h"

namespace vramgate {
namespace {

// Builds the tree from yaml-cpp's events. After the first error it only lets the events pass.
class TreeBuilder : public YAML::EventHandler {
 public:
  const std::optional<std::pair<int, std::string>>& error() const { return error_; }
  YamlNode Take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (Accept(mark, anchor, "")) Add(YamlNode{.line = mark.line + 1}, mark);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Fail(mark, "aliases (*name) are not read: write the value out");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    if (!Accept(mark, anchor, tag)) return;
    Add({.kind = YamlNode::Kind::kScalar, .quoted = tag == "!", .line = mark.line + 1, .text = value}, mark);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    if (Accept(mark, anchor, tag)) Open(YamlNode::Kind::kList, mark);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    if (Accept(mark, anchor, tag)) Open(YamlNode::Kind::kMap, mark);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Frame {
    YamlNode node;
    std::optional<std::pair<std::string, int>> key;  // read, its value not yet
  };

  void Fail(const YAML::Mark& mark, std::string message) {
    if (!error_) error_ = {mark.line + 1, std::move(message)};
  }
  bool Accept(const YAML::Mark& mark, YAML::anchor_t anchor, const std::string& tag) {
    if (anchor != YAML::NullAnchor) Fail(mark, "anchors (&name) are not read: write the value out");
    if (!tag.empty() && tag != "?" && tag != "!") Fail(mark, "tags (!name) are not read: leave it out");
    return !error_;
  }
  bool WantsKey() const {
    return !frames_.empty() && frames_.back().node.kind == YamlNode::Kind::kMap && !frames_.back().key;
  }
  void Open(YamlNode::Kind kind, const YAML::Mark& mark) {
    if (WantsKey()) return Fail(mark, "a key must be a plain name");
    if (frames_.size() >= kMaxYamlDepth) return Fail(mark, absl::StrCat("nested deeper than ", kMaxYamlDepth));
    frames_.push_back({.node = {.kind = kind, .line = mark.line + 1}});
  }
  void Close() {
    if (error_) return;
    YamlNode node = std::move(frames_.back().node);
    frames_.pop_back();
    Put(std::move(node));
  }
  void Add(YamlNode node, const YAML::Mark& mark) {
    if (!WantsKey()) return Put(std::move(node));
    if (node.kind == YamlNode::Kind::kNull) return Fail(mark, "a key must be a plain name");
    frames_.back().key = {std::move(node.text), node.line};
  }
  // A whole value: into the list or map that is open, or it is the document.
  void Put(YamlNode node) {
    if (frames_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& frame = frames_.back();
    if (frame.key) {
      node.key = std::move(frame.key->first);
      node.line = frame.key->second;
      frame.key.reset();
    }
    frame.node.items.push_back(std::move(node));
  }

  YamlNode root_ = YamlNode::Map();
  std::vector<Frame> frames_;
  std::optional<std::pair<int, std::string>> error_;
};

absl::Status At(std::string_view name, int line, std::string_view message) {
  return absl::InvalidArgumentError(absl::StrFormat("%s:%d: %s", std::string(name), line, std::string(message)));
}

std::string JsonText(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppendFormat(&out, "\\u%04x", byte);
    } else {
      out += c;
    }
  }
  return out + "\"";
}

bool IsJsonLiteral(std::string_view text) {
  double number = 0;
  if (text == "true" || text == "false") return true;
  if (text.empty() || std::string_view("0123456789-").find(text.front()) == std::string_view::npos) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

// A key needs no quotes where no YAML reader takes it for anything but a name.
std::string YamlKey(const std::string& key) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
  const bool name =
      key.size() > 3 && kLetters.find(key.front()) != std::string_view::npos &&
      key.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-0123456789") == std::string::npos &&
      key != "null" && key != "true" && key != "false";
  return name || key == "id" || key == "max" || key == "ttl" || key == "log" ? key : JsonText(key);
}

void AppendYaml(const YamlNode& node, size_t indent, std::string& out) {
  const std::string margin(indent, ' ');
  switch (node.kind) {
    case YamlNode::Kind::kNull:
    case YamlNode::Kind::kScalar:
      absl::StrAppend(&out,
                      node.kind == YamlNode::Kind::kNull ? "null"
                      : node.quoted                      ? JsonText(node.text)
                                                         : node.text,
                      "\n");
      return;
    case YamlNode::Kind::kList:
    case YamlNode::Kind::kMap:
      break;
  }
  const bool is_map = node.kind == YamlNode::Kind::kMap;
  if (node.items.empty()) {
    out += is_map ? "{}\n" : "[]\n";
    return;
  }
  bool first = true;
  for (const YamlNode& item : node.items) {
    const bool nested = !item.items.empty();
    out += first && indent > 0 ? "" : margin;  // the caller has written the first line's margin
    first = false;
    out += is_map ? YamlKey(item.key) + ":" : "-";
    if (is_map && nested) {
      absl::StrAppend(&out, "\n", margin, "  ");
    } else {
      out += " ";
    }
    AppendYaml(item, indent + 2, out);
  }
}

void AppendJson(const YamlNode& node, size_t indent, std::string& out) {
  if (node.kind == YamlNode::Kind::kNull) {
    out += "null";
  } else if (node.kind == YamlNode::Kind::kScalar) {
    out += !node.quoted && IsJsonLiteral(node.text) ? node.text : JsonText(node.text);
  } else {
    const bool is_map = node.kind == YamlNode::Kind::kMap;
    out += is_map ? "{" : "[";
    for (size_t i = 0; i < node.items.size(); ++i) {
      absl::StrAppend(&out, i == 0 ? "\n" : ",\n", std::string(indent + 2, ' '));
      if (is_map) absl::StrAppend(&out, JsonText(node.items[i].key), ": ");
      AppendJson(node.items[i], indent + 2, out);
    }
    if (!node.items.empty()) absl::StrAppend(&out, "\n", std::string(indent, ' '));
    out += is_map ? "}" : "]";
  }
}

}  // namespace

absl::StatusOr<YamlNode> ParseYaml(std::string_view text, std::string_view name) {
  if (text.size() > kMaxYamlBytes) return At(name, 1, absl::StrCat("larger than ", kMaxYamlBytes, " bytes"));
  for (size_t begin = 0, line = 1; begin < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view row = text.substr(begin, end - begin);
    if (!IsValidUtf8(row) || row.find('\0') != std::string_view::npos) {
      return At(name, static_cast<int>(line), "not valid UTF-8 text");
    }
    begin = end + 1;
  }
  TreeBuilder builder;
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    parser.HandleNextDocument(builder);
    if (!builder.error() && parser.HandleNextDocument(builder)) return At(name, 1, "holds more than one YAML document");
  } catch (const YAML::Exception& e) {
    return At(name, std::max(0, e.mark.line) + 1, absl::StrCat("not YAML: ", e.msg));
  }
  if (builder.error()) return At(name, builder.error()->first, builder.error()->second);
  return builder.Take();
}

std::string WriteYaml(const YamlNode& node) {
  std::string out;
  AppendYaml(node, 0, out);
  return out;
}

std::string WriteJson(const YamlNode& node) {
  std::string out;
  AppendJson(node, 0, out);
  return out + "\n";
}

}  // namespace vramgate
