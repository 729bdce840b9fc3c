#include "admission/server/gateways_check.h"

#include <algorithm>
#include <map>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "admission/server/config_schema.h"
#include "admission/types.h"
#include "admission/utf8.h"

namespace vramgate {
namespace {

bool IsHeaderName(std::string_view name) {
  constexpr std::string_view kSigns = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::all_of(name.begin(), name.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || kSigns.find(c) != std::string_view::npos;
  });
}

// As a request's path is compared: decoded, and without what it does not need.
bool IsPath(std::string_view path) {
  if (path.starts_with('*')) path.remove_prefix(1);
  return path.size() > 1 && path.starts_with('/') && !path.ends_with('/') &&
         path.find_first_of("?#%*") == std::string_view::npos && path.find("//") == std::string_view::npos;
}

template <typename Names>
void CheckHeaders(std::string_view key, const Names& names, const SourceMap& lines, ErrorList& errors) {
  for (int i = 0; i < names.size(); ++i) {
    if (IsHeaderName(names[i])) continue;
    errors.Add(lines.Where(absl::StrCat("gateways.", std::string(key), "[", i, "]")),
               absl::StrCat(Quoted(names[i]), " is no header's name in lower case, such as x-tenant"));
  }
}

}  // namespace

void CheckGateways(const v1::Gateways& config, const SourceMap& lines, ErrorList& errors) {
  std::map<std::string, int32_t> paths(config.paths().begin(), config.paths().end());  // in order
  for (const auto& [path, api] : paths) {
    if (IsPath(path)) continue;
    errors.Add(lines.Where(JoinPath("gateways.paths", path)),
               absl::StrCat(Quoted(path), " is no path such as /my/chat, or */chat for all that end so"));
  }
  CheckHeaders("tenant_headers", config.tenant_headers(), lines, errors);
  CheckHeaders("priority_headers", config.priority_headers(), lines, errors);
  CheckHeaders("timeout_headers", config.timeout_headers(), lines, errors);
  CheckHeaders("prompt_tokens_headers", config.prompt_tokens_headers(), lines, errors);
  const std::map<std::string, int32_t> priorities(config.priorities().begin(), config.priorities().end());
  for (const auto& [name, priority] : priorities) {
    if (priority >= -kMaxPriority && priority <= kMaxPriority) continue;
    errors.Add(lines.Where(JoinPath("gateways.priorities", name)),
               absl::StrCat(priority, " is not within -", kMaxPriority, " and ", kMaxPriority));
  }
}

}  // namespace vramgate
