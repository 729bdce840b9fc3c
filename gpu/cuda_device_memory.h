// The devices that the CUDA runtime shows this process. Its source is the only one that includes CUDA.
//
// Used by the server. The runtime is linked statically and opens the driver when it runs, so one program serves
// machines with and without a GPU: no driver, or no device, leaves devices() empty and description() says why.
//
//   CudaDeviceMemory memory;
//   LOG << memory.description();   // "CUDA runtime 13.5, driver for CUDA 13.0, 2 devices", or "no devices: ..."
//
// The sidecar's own context. Listing opens none, but CUDA tells free memory only inside a context, so the first Read()
// of a device opens one there, and it stays: 107 MiB were seen on a small card and 555 MiB on a large one (it grows
// with the number of multiprocessors). Its exact size is not to be had from the runtime: there is no reading before the
// context exists. So MemoryReading::context_bytes is an upper bound: the least memory ever seen in use on the device,
// of which the context is a part, and `context_bound_bytes` at most. Started on an idle device, it is thereby measured.
// A bound that is too high costs capacity by the difference, at most; one that is too low shows the rest as foreign
// use. An operator who wants no context on a device declares it `simulated`: then nothing is read and foreign use is
// not seen.
//
// Thread rule: as DeviceMemory; Read() makes the device the calling thread's current one and takes no lock.
// Lifetime rule: contexts belong to the process and outlive this object.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "gpu/device_memory.h"

namespace vramgate {

class CudaDeviceMemory final : public DeviceMemory {
 public:
  static constexpr int64_t kContextBoundBytes = int64_t{768} << 20;

  // Asks the runtime for its devices once. A device that cannot be described is listed by its ordinal alone.
  explicit CudaDeviceMemory(int64_t context_bound_bytes = kContextBoundBytes);

  const std::vector<DeviceInfo>& devices() const override { return devices_; }
  std::string_view description() const override { return description_; }
  absl::StatusOr<MemoryReading> Read(size_t index) override;

 private:
  std::vector<DeviceInfo> devices_;
  std::string description_;
  std::unique_ptr<std::atomic<int64_t>[]> context_bytes_;  // one a device; only falls
};

}  // namespace vramgate
