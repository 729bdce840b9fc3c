#include "admission/estimator/gpu_card.h"

#include <array>
#include <cctype>
#include <cmath>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "admission/units.h"
#include "admission/utf8.h"

namespace vramgate {
namespace {

struct Row {
  std::string_view name;
  double gib;
};

// Total memory as PyTorch and vLLM print it on these cards (ECC on where it is the default). H100-80GB: the starts in
// tests/data/models; the others from engines' public logs and error messages, where a few hundredths differ by driver.
constexpr std::array<Row, 27> kCards = {{
    {"A10-24GB", 22.06},        {"A10G-24GB", 22.05},       {"A100-40GB", 39.39},     {"A100-80GB", 79.15},
    {"A30-24GB", 23.50},        {"A40-48GB", 44.35},        {"B200-180GB", 178.35},   {"B300-288GB", 267.69},
    {"GH200-96GB", 94.50},      {"H100-80GB", 79.19},       {"H100-94GB", 93.10},     {"H200-141GB", 139.80},
    {"H20-96GB", 95.10},        {"L20-48GB", 44.42},        {"L4-24GB", 22.03},       {"L40-48GB", 44.39},
    {"L40S-48GB", 44.39},       {"MI300X-192GB", 191.98},   {"RTX3090-24GB", 23.57},  {"RTX4090-24GB", 23.52},
    {"RTX5090-32GB", 31.36},    {"RTX6000ADA-48GB", 47.37}, {"RTXA5000-24GB", 23.55}, {"RTXA6000-48GB", 47.40},
    {"RTXPRO6000-96GB", 94.97}, {"T4-16GB", 14.56},         {"V100-32GB", 31.73},
}};

// Upper case, without separators.
std::string Plain(std::string_view name) {
  std::string plain;
  for (const char c : name) {
    if (c == '-' || c == '_' || c == ' ') continue;
    plain += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return plain;
}

GpuCard CardOf(const Row& row) {
  return {row.name, static_cast<int64_t>(std::llround(row.gib * static_cast<double>(kGiB)))};
}

}  // namespace

absl::StatusOr<GpuCard> FindGpuCard(std::string_view name) {
  std::string wanted = Plain(name);
  for (const std::string_view maker : {"NVIDIA", "AMD", "TESLA", "GEFORCE"}) {
    if (wanted.rfind(maker, 0) == 0) wanted.erase(0, maker.size());
  }
  std::vector<Row> found;
  for (const Row& row : kCards) {
    const std::string plain = Plain(row.name);
    if (plain == wanted) return CardOf(row);
    const std::string series(row.name.substr(0, row.name.find('-')));
    if (!wanted.empty() && (series == wanted)) found.push_back(row);
  }
  if (found.size() == 1) return CardOf(found.front());
  return absl::NotFoundError(absl::StrCat(Quoted(name),
                                          found.empty() ? " is not a card that is known" : " is several cards",
                                          ": write its memory with --gpu-memory, or one of ", GpuCardNames()));
}

std::string GpuCardNames() {
  std::vector<std::string> names;
  for (const Row& row : kCards) names.emplace_back(row.name);
  return absl::StrJoin(names, ", ");
}

}  // namespace vramgate
