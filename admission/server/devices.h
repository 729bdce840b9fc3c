// The config's devices, opened: where each is read, how large it is, and what may be given out of it.
//
//   absl::StatusOr<std::unique_ptr<Devices>> devices = Devices::Open(loaded);   // every fault names file, line and
//   field devices->budgets();                                                        // before anything runs: total -
//   headroom - context devices->Read(0, ledger)                                                   // a reading for the
//   gate, now
//
// Used by serve. Thread rule: Read of different devices from different threads; of one device, one thread at a time. A
// device that is declared `simulated` opens no CUDA context.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "admission/clock.h"
#include "admission/gate/gate.h"
#include "admission/server/config.h"
#include "gpu/capacity.h"
#include "gpu/device_memory.h"

namespace vramgate {

class Devices {
 public:
  static absl::StatusOr<std::unique_ptr<Devices>> Open(const LoadedConfig& loaded);

  size_t size() const { return devices_.size(); }
  // What each could give out if nobody else used it, in the config's order [B].
  std::vector<int64_t> budgets() const;
  const std::string& id(size_t device) const { return devices_[device].id; }
  absl::Duration poll_interval(size_t device) const { return devices_[device].poll_interval; }
  absl::Duration stale_after(size_t device) const { return devices_[device].stale_after; }
  bool simulated(size_t device) const { return devices_[device].simulated; }
  // One line for the log: what it is and how large.
  std::string Describe(size_t device) const;

  // Asks the device. UNAVAILABLE: it cannot be read now.
  absl::StatusOr<Gate::DeviceReading> Read(size_t device, const DeviceLedger& ledger, Instant now);

 private:
  struct Device {
    std::string id;
    DeviceMemory* source = nullptr;
    size_t index = 0;  // in the source
    bool simulated = false;
    int64_t headroom_bytes = 0;
    MemoryReading first;  // at the start
    absl::Duration poll_interval;
    absl::Duration stale_after;
  };

  std::unique_ptr<DeviceMemory> cuda_;       // null: no real device is named
  std::unique_ptr<DeviceMemory> simulated_;  // null: no simulated one is
  std::vector<Device> devices_;
};

}  // namespace vramgate
