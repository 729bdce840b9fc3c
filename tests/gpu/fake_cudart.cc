#include "tests/gpu/fake_cudart.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

namespace vramgate {
namespace {

// As in CUDA: the current device and the last error belong to the thread.
thread_local int current_device = 0;
thread_local cudaError_t last_error = cudaSuccess;

cudaError_t Remember(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

}  // namespace

FakeCudart& FakeCudart::Get() {
  static FakeCudart instance;
  return instance;
}

void FakeCudart::Reset(std::vector<FakeDevice> devices, cudaError_t count_error, int driver_version) {
  const std::lock_guard lock(mutex_);
  devices_ = std::move(devices);
  count_error_ = count_error;
  driver_version_ = driver_version;
  last_error = cudaSuccess;
}

void FakeCudart::Update(size_t index, const std::function<void(FakeDevice&)>& change) {
  const std::lock_guard lock(mutex_);
  change(devices_.at(index));
}

FakeDevice FakeCudart::device(size_t index) {
  const std::lock_guard lock(mutex_);
  return devices_.at(index);
}

cudaError_t FakeCudart::Count(int* count) {
  const std::lock_guard lock(mutex_);
  *count = count_error_ == cudaSuccess ? static_cast<int>(devices_.size()) : 0;
  return Remember(count_error_);
}

cudaError_t FakeCudart::DriverVersion(int* version) {
  const std::lock_guard lock(mutex_);
  *version = driver_version_;
  return cudaSuccess;
}

cudaError_t FakeCudart::SetDevice(int index) {
  const std::lock_guard lock(mutex_);
  if (!Has(index)) return Remember(cudaErrorInvalidDevice);
  FakeDevice& device = devices_[static_cast<size_t>(index)];
  if (device.set_error != cudaSuccess) return Remember(device.set_error);
  device.context_open = true;  // CUDA 12 and later open it here
  current_device = index;
  return cudaSuccess;
}

cudaError_t FakeCudart::Describe(int index, cudaDeviceProp* properties) {
  const std::lock_guard lock(mutex_);
  if (!Has(index)) return Remember(cudaErrorInvalidDevice);
  const FakeDevice& device = devices_[static_cast<size_t>(index)];
  if (device.describe_error != cudaSuccess) return Remember(device.describe_error);
  *properties = cudaDeviceProp{};
  std::snprintf(properties->name, sizeof(properties->name), "%s", device.name.c_str());
  std::memset(properties->uuid.bytes, device.uuid_byte, sizeof(properties->uuid.bytes));
  properties->totalGlobalMem = static_cast<size_t>(device.total_bytes);
  return cudaSuccess;
}

cudaError_t FakeCudart::PciBusId(char* out, int size, int index) {
  const std::lock_guard lock(mutex_);
  if (!Has(index)) return Remember(cudaErrorInvalidDevice);
  const FakeDevice& device = devices_[static_cast<size_t>(index)];
  if (device.describe_error != cudaSuccess) return Remember(device.describe_error);
  std::snprintf(out, static_cast<size_t>(size), "%s", device.pci_bus_id.c_str());
  return cudaSuccess;
}

cudaError_t FakeCudart::MemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  const std::lock_guard lock(mutex_);
  if (last_error != cudaSuccess) return last_error;  // "may also return errors from previous launches"
  if (!Has(current_device)) return Remember(cudaErrorInvalidDevice);
  const FakeDevice& device = devices_[static_cast<size_t>(current_device)];
  if (device.error != cudaSuccess) return Remember(device.error);
  const int64_t used = device.engines_bytes + device.foreign_bytes + (device.context_open ? device.context_bytes : 0);
  *free_bytes = static_cast<size_t>(std::max<int64_t>(0, device.total_bytes - used) + device.extra_free_bytes);
  *total_bytes = static_cast<size_t>(device.total_bytes);
  return cudaSuccess;
}

cudaError_t FakeCudart::TakeLastError() {
  return std::exchange(last_error, cudaSuccess);
}

}  // namespace vramgate

using vramgate::FakeCudart;

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  return FakeCudart::Get().Count(count);
}
cudaError_t cudaSetDevice(int device) {
  return FakeCudart::Get().SetDevice(device);
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  return FakeCudart::Get().MemGetInfo(free, total);
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* prop, int device) {
  return FakeCudart::Get().Describe(device, prop);
}
cudaError_t cudaDeviceGetPCIBusId(char* id, int len, int device) {
  return FakeCudart::Get().PciBusId(id, len, device);
}
cudaError_t cudaGetLastError() {
  return FakeCudart::Get().TakeLastError();
}
cudaError_t cudaDriverGetVersion(int* version) {
  return FakeCudart::Get().DriverVersion(version);
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13050;
  return cudaSuccess;
}

const char* cudaGetErrorName(cudaError_t error) {
  if (error == cudaSuccess) return "cudaSuccess";
  if (error == cudaErrorNoDevice) return "cudaErrorNoDevice";
  if (error == cudaErrorInsufficientDriver) return "cudaErrorInsufficientDriver";
  if (error == cudaErrorMemoryAllocation) return "cudaErrorMemoryAllocation";
  if (error == cudaErrorDevicesUnavailable) return "cudaErrorDevicesUnavailable";
  return "cudaErrorUnknown";
}

const char* cudaGetErrorString(cudaError_t) {
  return "words of the fake";
}

}  // extern "C"
