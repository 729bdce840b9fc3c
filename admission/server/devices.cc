#include "admission/server/devices.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "admission/server/durations.h"
#include "admission/units.h"
#include "gpu/cuda_device_memory.h"
#include "gpu/simulated_device_memory.h"

namespace vramgate {

absl::StatusOr<std::unique_ptr<Devices>> Devices::Open(const LoadedConfig& loaded) {
  auto devices = std::make_unique<Devices>();
  std::vector<int64_t> totals;
  for (const v1::Device& config : loaded.config.devices()) {
    if (config.has_simulated()) totals.push_back(config.simulated().total().value());
  }
  if (!totals.empty()) devices->simulated_ = std::make_unique<SimulatedDeviceMemory>(totals);
  std::vector<std::string> errors;
  size_t next_simulated = 0;
  for (int d = 0; d < loaded.config.devices_size(); ++d) {
    const v1::Device& config = loaded.config.devices(d);
    Device device{.id = config.id(), .simulated = config.has_simulated(), .headroom_bytes = config.headroom().value()};
    device.poll_interval = FromProto(config.poll_interval());
    device.stale_after = FromProto(config.stale_after());
    const auto fail = [&](std::string_view message) {
      errors.push_back(absl::StrCat(loaded.Where(absl::StrFormat("devices[%d].id", d)), ": \"", config.id(),
                                    "\": ", absl::string_view(message.data(), message.size())));
    };
    if (device.simulated) {
      device.source = devices->simulated_.get();
      device.index = next_simulated++;
    } else {
      if (devices->cuda_ == nullptr) devices->cuda_ = std::make_unique<CudaDeviceMemory>();
      device.source = devices->cuda_.get();
      const absl::StatusOr<size_t> found = FindDevice(*device.source, config.id());
      if (!found.ok()) {
        fail(
            absl::StrCat(found.status().message(), ". To try vramgate without a GPU, add `simulated: {total: 80GiB}`"));
        continue;
      }
      device.index = *found;
      // Two accounts of one device would give it out twice.
      const auto same = std::find_if(devices->devices_.begin(), devices->devices_.end(),
                                     [&](const Device& d) { return !d.simulated && d.index == device.index; });
      if (same != devices->devices_.end()) {
        fail(absl::StrCat("is the same device as \"", same->id, "\": list it once"));
        continue;
      }
    }
    const absl::StatusOr<MemoryReading> reading = device.source->Read(device.index);
    if (!reading.ok()) {
      fail(std::string(reading.status().message()));
      continue;
    }
    device.first = *reading;
    devices->devices_.push_back(std::move(device));
  }
  if (!errors.empty()) return absl::InvalidArgumentError(absl::StrJoin(errors, "\n"));
  return devices;
}

std::vector<int64_t> Devices::budgets() const {
  std::vector<int64_t> budgets;
  for (const Device& device : devices_) {
    budgets.push_back(
        std::max<int64_t>(0, device.first.total_bytes - device.headroom_bytes - device.first.context_bytes));
  }
  return budgets;
}

std::string Devices::Describe(size_t index) const {
  const Device& device = devices_[index];
  if (device.simulated) {
    return absl::StrCat("device ", device.id, ": SIMULATED, ", FormatBytes(device.first.total_bytes),
                        ": no GPU is read, decisions are as they would be on one");
  }
  return absl::StrCat("device ", device.id, ": ", device.source->devices()[device.index].name, ", ",
                      FormatBytes(device.first.total_bytes), " of which ", FormatBytes(device.first.free_bytes),
                      " are free; reading it costs ", FormatBytes(device.first.context_bytes), " of context");
}

absl::StatusOr<Gate::DeviceReading> Devices::Read(size_t index, const DeviceLedger& ledger, Instant now) {
  const Device& device = devices_[index];
  const absl::StatusOr<MemoryReading> reading = device.source->Read(device.index);
  if (!reading.ok()) return reading.status();
  const Capacity capacity = CapacityOf(*reading, ledger, device.headroom_bytes);
  Gate::DeviceReading out;
  out.capacity_bytes = capacity.capacity_bytes;
  out.ceiling_bytes = std::max<int64_t>(0, capacity.total_bytes - device.headroom_bytes - capacity.context_bytes);
  out.foreign_bytes = capacity.foreign_bytes;
  out.context_bytes = capacity.context_bytes;
  out.total_bytes = capacity.total_bytes;
  out.read_at = now;
  return out;
}

}  // namespace vramgate
