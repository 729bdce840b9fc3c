#include "admission/estimator/model_families.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_join.h"

namespace vramgate {
namespace {

const std::vector<FamilyReader>& AllFamilies() {
  static const auto* const all = [] {
    auto* families = new std::vector<FamilyReader>;
    for (const auto* list : {&DenseFamilies(), &ExpertFamilies(), &WindowFamilies(), &LatentFamilies(),
                             &MambaFamilies(), &LinearFamilies(), &OtherFamilies()}) {
      families->insert(families->end(), list->begin(), list->end());
    }
    return families;
  }();
  return *all;
}

}  // namespace

ReadFamily FindFamily(std::string_view model_type) {
  for (const FamilyReader& family : AllFamilies()) {
    if (family.model_type == model_type) return family.read;
  }
  return nullptr;
}

std::string KnownFamilies() {
  std::vector<std::string> names;
  for (const FamilyReader& family : AllFamilies()) names.emplace_back(family.model_type);
  std::sort(names.begin(), names.end());
  return absl::StrJoin(names, ", ");
}

}  // namespace vramgate
