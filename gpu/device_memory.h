// How much memory the devices have, in all and free, as a source outside of vramgate tells it.
//
// Used by the server: a background thread reads each configured device every poll_interval and turns the reading into a
// capacity (gpu/capacity.h). Two sources ship: CudaDeviceMemory and SimulatedDeviceMemory.
//
//   CudaDeviceMemory memory;
//   absl::StatusOr<size_t> index = FindDevice(memory, "GPU-5f2a9a1e-...");   // or "0", or "0000:65:00.0"
//   absl::StatusOr<MemoryReading> reading = memory.Read(*index);             // again and again
//
// Thread rule: all methods may be called from any thread. Read() may block for as long as the driver does: whoever must
// not let one hung device age the others reads each device from a thread of its own. Lifetime rule: the list of devices
// never changes; a device that is lost stays in it and fails to be read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace vramgate {

struct DeviceInfo {
  int ordinal = 0;          // CUDA's own order, which need not be nvidia-smi's
  std::string name;         // "NVIDIA H200"
  std::string pci_bus_id;   // "0000:65:00.0", lower case; "" if there is none
  std::string uuid;         // "GPU-5f2a9a1e-...", lower case after the prefix; "" if there is none
  int64_t total_bytes = 0;  // 0: the device could not be asked
};

// One look at one device. 0 <= free_bytes <= total_bytes.
struct MemoryReading {
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
  int64_t context_bytes = 0;  // what the reading itself costs on the device: an upper bound, within total - free
};

class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;

  // All devices of this source, by ordinal; empty where there is none, which is a normal state. Opens no context.
  virtual const std::vector<DeviceInfo>& devices() const = 0;

  // One line for the log and for errors: what the source is, or why it has no devices ("no devices: ...").
  virtual std::string_view description() const = 0;

  // Reads devices()[index] now. UNAVAILABLE: this device cannot be read (others may), with what to do about it; may be
  // tried again. OUT_OF_RANGE: no such index.
  virtual absl::StatusOr<MemoryReading> Read(size_t index) = 0;
};

// The index in memory.devices() of the device that a config calls `id`: an ordinal ("0"), a PCI bus id ("0000:65:00.0",
// also nvidia-smi's form with eight digits of domain, any case) or a UUID ("GPU-...", any case). INVALID_ARGUMENT: none
// of these forms, or it names two devices. NOT_FOUND: no such device. Both list what exists.
absl::StatusOr<size_t> FindDevice(const DeviceMemory& memory, std::string_view id);

}  // namespace vramgate
