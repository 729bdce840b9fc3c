#include "gpu/cuda_device_memory.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace vramgate {
namespace {

// A driver that claims more is not believed: far above any machine, and it bounds what is allocated here.
constexpr int kMaxDevices = 1024;

// "13.5" of 13050, CUDA's way to write a version in one number.
std::string Version(int version) {
  return absl::StrCat(version / 1000, ".", version % 1000 / 10);
}

std::string ErrorText(cudaError_t error) {
  return absl::StrCat(cudaGetErrorName(error), " (", cudaGetErrorString(error), ")");
}

// Why there is no device, and the way out. `driver` is 0 where no driver is loaded.
std::string WhyNone(cudaError_t error, int runtime, int driver) {
  std::string fix;
  if (error == cudaErrorNoDevice || error == cudaSuccess) {
    fix = "a driver is loaded but shows no GPU to this process; check `nvidia-smi -L` and CUDA_VISIBLE_DEVICES";
  } else if (error == cudaErrorInsufficientDriver && driver == 0) {
    fix = "no NVIDIA driver is loaded; install one, or give the container its GPUs";
  } else if (error == cudaErrorInsufficientDriver) {
    fix = absl::StrCat("the NVIDIA driver is for CUDA ", Version(driver), ", older than the CUDA ", Version(runtime),
                       " runtime of this program; update the driver");
  } else {
    fix = "check `nvidia-smi` and the kernel log";
  }
  return absl::StrCat("no devices: ", ErrorText(error), ": ", fix, ", or declare the device `simulated`");
}

std::string UuidText(const cudaUUID_t& uuid) {
  const std::string hex = absl::BytesToHexString(absl::string_view(uuid.bytes, sizeof(uuid.bytes)));
  const absl::string_view h = hex;
  return absl::StrCat("GPU-", h.substr(0, 8), "-", h.substr(8, 4), "-", h.substr(12, 4), "-", h.substr(16, 4), "-",
                      h.substr(20));
}

DeviceInfo Describe(int ordinal) {
  DeviceInfo info;
  info.ordinal = ordinal;
  info.name = "unknown device";
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, ordinal) == cudaSuccess) {
    properties.name[sizeof(properties.name) - 1] = '\0';
    info.name = absl::CHexEscape(properties.name);
    info.uuid = UuidText(properties.uuid);
    info.total_bytes =
        static_cast<int64_t>(std::min<uint64_t>(properties.totalGlobalMem, std::numeric_limits<int64_t>::max()));
  }
  char pci[32] = "";
  if (cudaDeviceGetPCIBusId(pci, sizeof(pci) - 1, ordinal) == cudaSuccess) info.pci_bus_id = absl::AsciiStrToLower(pci);
  cudaGetLastError();  // what failed here is not to be the next call's error
  return info;
}

absl::Status ReadError(const DeviceInfo& device, absl::string_view call, cudaError_t error) {
  absl::string_view fix =
      "other devices go on; if it stays, check `nvidia-smi` and the kernel log for Xid errors, and restart vramgate "
      "once the "
      "device is back";
  if (error == cudaErrorMemoryAllocation) {
    fix =
        "the device has no room for vramgate's own CUDA context: start vramgate before the engines, or leave them less";
  } else if (error == cudaErrorDevicesUnavailable) {
    fix = "another process holds the device in exclusive compute mode: set it to default with `nvidia-smi -c 0`";
  }
  return absl::UnavailableError(absl::StrCat("device ", device.ordinal, device.uuid.empty() ? "" : " ", device.uuid,
                                             ": ", call, ": ", ErrorText(error), ": ", fix));
}

}  // namespace

CudaDeviceMemory::CudaDeviceMemory(int64_t context_bound_bytes) {
  int runtime = 0;
  int driver = 0;
  if (cudaRuntimeGetVersion(&runtime) != cudaSuccess) runtime = CUDART_VERSION;
  if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count <= 0) {
    description_ = WhyNone(error, runtime, driver);
    cudaGetLastError();
    return;
  }
  count = std::min(count, kMaxDevices);
  context_bytes_ = std::make_unique<std::atomic<int64_t>[]>(static_cast<size_t>(count));
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    devices_.push_back(Describe(ordinal));
    context_bytes_[static_cast<size_t>(ordinal)] = std::max<int64_t>(0, context_bound_bytes);
  }
  description_ = absl::StrCat("CUDA runtime ", Version(runtime), ", driver for CUDA ", Version(driver), ", ", count,
                              count == 1 ? " device" : " devices");
}

absl::StatusOr<MemoryReading> CudaDeviceMemory::Read(size_t index) {
  if (index >= devices_.size()) {
    return absl::OutOfRangeError(absl::StrCat("no device at index ", index, " of ", devices_.size()));
  }
  const DeviceInfo& device = devices_[index];
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  absl::string_view call = "cudaSetDevice";
  cudaError_t error = cudaSetDevice(device.ordinal);
  if (error == cudaSuccess) {
    call = "cudaMemGetInfo";
    error = cudaMemGetInfo(&free_bytes, &total_bytes);
  }
  if (error != cudaSuccess) {
    cudaGetLastError();  // else the thread's next call, for another device, would be blamed
    return ReadError(device, call, error);
  }
  if (total_bytes == 0 || free_bytes > total_bytes ||
      total_bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return absl::UnavailableError(absl::StrCat("device ", device.ordinal, " ", device.uuid,
                                               ": cudaMemGetInfo: ", free_bytes, " bytes free of ", total_bytes,
                                               " cannot be; update the NVIDIA driver"));
  }

  // The context is part of what is in use, so the least use ever seen bounds it.
  const int64_t used_bytes = static_cast<int64_t>(total_bytes - free_bytes);
  std::atomic<int64_t>& bound = context_bytes_[index];
  int64_t context_bytes = bound.load();
  while (used_bytes < context_bytes && !bound.compare_exchange_weak(context_bytes, used_bytes)) {
  }
  return MemoryReading{.total_bytes = static_cast<int64_t>(total_bytes),
                       .free_bytes = static_cast<int64_t>(free_bytes),
                       .context_bytes = std::min(context_bytes, used_bytes)};
}

}  // namespace vramgate
