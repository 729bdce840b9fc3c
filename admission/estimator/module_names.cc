#include "admission/estimator/module_names.h"

#include <fnmatch.h>
#include <re2/re2.h>

#include <algorithm>
#include <array>

namespace vramgate {
namespace {

constexpr std::array<std::string_view, 4> kPrefixes = {"model.", "language_model.", "text_model.", "llm."};
constexpr std::string_view kExpression = "re:";
constexpr int64_t kExpressionMemory = int64_t{1} << 20;

}  // namespace

std::string_view FromRoot(std::string_view module) {
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view prefix : kPrefixes) {
      if (module.substr(0, prefix.size()) == prefix) {
        module.remove_prefix(prefix.size());
        again = true;
      }
    }
  }
  return module;
}

ModuleNames::ModuleNames(const std::vector<std::string>& patterns) {
  for (const std::string& pattern : patterns) {
    if (pattern.rfind(kExpression, 0) == 0) {
      re2::RE2::Options options;
      options.set_max_mem(kExpressionMemory);
      options.set_log_errors(false);
      auto expression = std::make_unique<re2::RE2>(pattern.substr(kExpression.size()), options);
      if (expression->ok()) expressions_.push_back(std::move(expression));
    } else if (pattern.find('*') != std::string::npos) {
      globs_.emplace_back(FromRoot(pattern));
    } else {
      names_.emplace_back(FromRoot(pattern));
    }
  }
  std::sort(names_.begin(), names_.end());
}

ModuleNames::ModuleNames(ModuleNames&&) noexcept = default;
ModuleNames::~ModuleNames() = default;

bool ModuleNames::Matches(std::string_view module) const {
  // Every module that contains this one, and every component of its name, is looked up.
  for (size_t end = 0; end != std::string_view::npos;) {
    end = module.find('.', end + (end > 0 ? 1 : 0));
    const std::string outer(module.substr(0, end));
    if (std::binary_search(names_.begin(), names_.end(), outer)) return true;
    const size_t dot = outer.rfind('.');
    const std::string component = dot == std::string::npos ? outer : outer.substr(dot + 1);
    if (std::binary_search(names_.begin(), names_.end(), component)) return true;
    if (end == std::string_view::npos) break;
  }
  const std::string name(module);
  const auto is_glob = [&](const std::string& glob) { return fnmatch(glob.c_str(), name.c_str(), 0) == 0; };
  if (std::any_of(globs_.begin(), globs_.end(), is_glob)) return true;
  const std::string full = "model." + name;
  return std::any_of(expressions_.begin(), expressions_.end(),
                     [&](const auto& e) { return re2::RE2::FullMatch(full, *e); });
}

}  // namespace vramgate
