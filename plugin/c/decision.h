// Between what the client keeps and the structs of vramgate_plugin.h. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "plugin/c/leases.h"

namespace vramgate::plugin {

// Fills in all but struct_size. Text is cut to its room, between characters.
void ToDecision(const Answer& answer, vg_decision* out);

inline vg_str ToString(std::string_view text) {
  return {text.data(), text.size()};
}
std::vector<vg_str> ToStrings(const std::vector<std::string>& texts);

}  // namespace vramgate::plugin
