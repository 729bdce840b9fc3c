#include "admission/server/config_errors.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "admission/utf8.h"

namespace vramgate {

std::string JoinPath(std::string_view path, std::string_view key) {
  const bool one_step = !key.empty() && key.find_first_of(".[]\" ") == std::string_view::npos;
  const std::string step = one_step ? std::string(key) : Quoted(key);
  return path.empty() ? step : absl::StrCat(std::string(path), ".", step);
}

std::string SourceMap::Where(std::string_view path) const {
  std::string_view step = path;
  for (;;) {
    const auto line = lines_.find(step);
    if (line != lines_.end()) return absl::StrCat(file_, ":", line->second, ": ", std::string(path));
    const size_t cut = step.find_last_of(".[");
    if (cut == std::string_view::npos) return absl::StrCat(file_, ":1: ", std::string(path));
    step = step.substr(0, cut);
  }
}

void ErrorList::Add(const std::string& where, std::string_view message) {
  if (!places_.insert(where).second) return;
  if (++count_ <= kMax) lines_.push_back(absl::StrCat(where, ": ", std::string(message)));
}

absl::Status ErrorList::ToStatus() const {
  if (empty()) return absl::OkStatus();
  const std::string rest = count_ > kMax ? absl::StrCat("\n... and ", count_ - kMax, " more") : "";
  return absl::InvalidArgumentError(absl::StrCat(absl::StrJoin(lines_, "\n"), rest));
}

}  // namespace vramgate
