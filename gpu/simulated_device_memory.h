// Devices that exist only in the config: for machines without a GPU, for trying a config out, and for tests.
//
// Used by the server (`devices: [{id: "0", simulated: {total: 80GiB}}]`) and by tests. Nothing else runs on such a
// device: what its instances hold is the ledger's business, so unless told otherwise all of it is free.
//
//   SimulatedDeviceMemory memory({GiB(80)});
//   memory.SetForeign(0, GiB(10));    // another process takes 10 GiB
//   memory.SetEngines(0, GiB(55));    // the instances load: what a real device would show of them
//   memory.Fail(0, "lost");           // Read(0) is UNAVAILABLE until Recover(0)
//
// Thread rule: all methods may be called from any thread. Lifetime rule: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "gpu/device_memory.h"

namespace vramgate {

class SimulatedDeviceMemory final : public DeviceMemory {
 public:
  // One device for each of `totals_bytes`; ordinals count from 0. A negative size counts as 0, here and below.
  explicit SimulatedDeviceMemory(const std::vector<int64_t>& totals_bytes);

  const std::vector<DeviceInfo>& devices() const override { return devices_; }
  std::string_view description() const override { return description_; }

  // free = total - engines - foreign, and 0 where these exceed it. context_bytes is 0.
  absl::StatusOr<MemoryReading> Read(size_t index) override;

  // REQUIRES, of all below: index < devices().size(); else they do nothing.
  void SetTotal(size_t index, int64_t bytes);    // devices() keeps what it was made with
  void SetForeign(size_t index, int64_t bytes);  // what processes unknown to the ledger hold
  void SetEngines(size_t index, int64_t bytes);  // what the instances in the ledger hold
  void Fail(size_t index, std::string_view reason);
  void Recover(size_t index);

 private:
  struct State {
    int64_t total_bytes = 0;
    int64_t foreign_bytes = 0;
    int64_t engines_bytes = 0;
    bool failed = false;
    std::string reason;
  };

  std::vector<DeviceInfo> devices_;
  std::string description_;
  std::mutex mutex_;
  std::vector<State> states_;  // guarded by mutex_
};

}  // namespace vramgate
