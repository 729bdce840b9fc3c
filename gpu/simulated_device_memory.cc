#include "gpu/simulated_device_memory.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace vramgate {

SimulatedDeviceMemory::SimulatedDeviceMemory(const std::vector<int64_t>& totals_bytes) {
  for (const int64_t total : totals_bytes) {
    const int64_t total_bytes = std::max<int64_t>(0, total);
    DeviceInfo info;
    info.ordinal = static_cast<int>(devices_.size());
    info.name = "simulated device";
    info.total_bytes = total_bytes;
    devices_.push_back(std::move(info));
    State state;
    state.total_bytes = total_bytes;
    states_.push_back(std::move(state));
  }
  description_ = devices_.empty()
                     ? "no devices: none is simulated"
                     : absl::StrCat(devices_.size(), devices_.size() == 1 ? " simulated device" : " simulated devices");
}

absl::StatusOr<MemoryReading> SimulatedDeviceMemory::Read(size_t index) {
  if (index >= devices_.size()) {
    return absl::OutOfRangeError(absl::StrCat("no device at index ", index, " of ", devices_.size()));
  }
  const std::lock_guard lock(mutex_);
  const State& state = states_[index];
  if (state.failed) return absl::UnavailableError(absl::StrCat("simulated device ", index, ": ", state.reason));
  const int64_t left_bytes = std::max<int64_t>(0, state.total_bytes - state.engines_bytes);
  return MemoryReading{.total_bytes = state.total_bytes,
                       .free_bytes = std::max<int64_t>(0, left_bytes - state.foreign_bytes),
                       .context_bytes = 0};
}

void SimulatedDeviceMemory::SetTotal(size_t index, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (index < states_.size()) states_[index].total_bytes = std::max<int64_t>(0, bytes);
}

void SimulatedDeviceMemory::SetForeign(size_t index, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (index < states_.size()) states_[index].foreign_bytes = std::max<int64_t>(0, bytes);
}

void SimulatedDeviceMemory::SetEngines(size_t index, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (index < states_.size()) states_[index].engines_bytes = std::max<int64_t>(0, bytes);
}

void SimulatedDeviceMemory::Fail(size_t index, std::string_view reason) {
  const std::lock_guard lock(mutex_);
  if (index >= states_.size()) return;
  states_[index].failed = true;
  states_[index].reason = std::string(reason);
}

void SimulatedDeviceMemory::Recover(size_t index) {
  const std::lock_guard lock(mutex_);
  if (index < states_.size()) states_[index].failed = false;
}

}  // namespace vramgate
