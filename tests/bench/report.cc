#include "tests/bench/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <thread>

namespace vramgate {
namespace {

std::string Machine() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  std::string line;
  std::string model = "unknown processor";
  while (std::getline(cpuinfo, line)) {
    if (line.rfind("model name", 0) == 0) {
      model = line.substr(line.find(':') + 2);
      break;
    }
  }
  return model + ", " + std::to_string(std::thread::hardware_concurrency()) + " cores";
}

std::string Commit() {
  FILE* git = popen("git rev-parse --short=10 HEAD 2>/dev/null", "r");
  char text[64] = "";
  if (git == nullptr) return "unknown";
  const bool read = std::fgets(text, sizeof(text), git) != nullptr;
  pclose(git);
  std::string commit = read ? text : "unknown";
  while (!commit.empty() && commit.back() == '\n') commit.pop_back();
  return commit;
}

}  // namespace

double Quantile(std::vector<double> values, double q) {
  const auto rank = static_cast<size_t>(std::ceil(q * static_cast<double>(values.size())));
  const size_t index = std::min(values.size() - 1, rank == 0 ? 0 : rank - 1);
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(index), values.end());
  return values[index];
}

Report::Report(int rounds) {
  json_["machine"] = Machine();
  json_["commit"] = Commit();
  json_["rounds"] = rounds;
}

void Report::Ratio(const std::string& key, const std::vector<double>& rounds) {
  json_[key] = Median(rounds);
  json_[key + "_min"] = *std::min_element(rounds.begin(), rounds.end());
  json_[key + "_max"] = *std::max_element(rounds.begin(), rounds.end());
}

int Report::Write(const std::string& path) const {
  for (const auto& [key, value] : json_.items()) {
    if (value.is_number_float()) {
      std::printf("%-48s %12.3f\n", key.c_str(), value.get<double>());
    } else {
      std::printf("%-48s %s\n", key.c_str(), value.dump().c_str());
    }
  }
  if (path.empty()) return 0;
  std::ofstream file(path);
  file << json_.dump(2) << "\n";
  file.close();
  if (file) return 0;
  std::cerr << "--json " << path << ": cannot be written\n";
  return 1;
}

}  // namespace vramgate
