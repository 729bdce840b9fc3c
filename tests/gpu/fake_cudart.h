// A CUDA runtime of cardboard: defines the functions that gpu/cuda_device_memory.cc calls, over devices that a test
// sets up. Linked instead of libcudart_static, so what runs above it is the object code that ships.
//
//   FakeCudart::Get().Reset({{.total_bytes = GiB(80)}, {.total_bytes = GiB(24)}});
//   FakeCudart::Get().Update(0, [](FakeDevice& d) { d.engines_bytes = GiB(40); });
//   FakeCudart::Get().Update(1, [](FakeDevice& d) { d.error = cudaErrorUnknown; });   // lost
//
// The one instance is what CUDA is: state of the process. Thread rule: all methods may be called from any thread.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

namespace vramgate {

struct FakeDevice {
  std::string name = "Fake GPU";
  std::string pci_bus_id = "0000:00:00.0";
  unsigned char uuid_byte = 0;  // all 16 bytes of the UUID
  int64_t total_bytes = 0;
  int64_t engines_bytes = 0;
  int64_t foreign_bytes = 0;
  int64_t context_bytes = 0;                 // what the first cudaSetDevice takes
  cudaError_t error = cudaSuccess;           // of cudaMemGetInfo; once it was returned it stays the thread's last error
  cudaError_t set_error = cudaSuccess;       // of cudaSetDevice
  cudaError_t describe_error = cudaSuccess;  // of cudaGetDeviceProperties and cudaDeviceGetPCIBusId
  int64_t extra_free_bytes = 0;              // a driver that lies
  bool context_open = false;                 // out
};

class FakeCudart {
 public:
  static FakeCudart& Get();

  // `count_error` and `driver_version` are what cudaGetDeviceCount and cudaDriverGetVersion answer.
  void Reset(std::vector<FakeDevice> devices, cudaError_t count_error = cudaSuccess, int driver_version = 13000);
  void Update(size_t index, const std::function<void(FakeDevice&)>& change);
  FakeDevice device(size_t index);

  cudaError_t Count(int* count);
  cudaError_t DriverVersion(int* version);
  cudaError_t SetDevice(int index);
  cudaError_t Describe(int index, cudaDeviceProp* properties);
  cudaError_t PciBusId(char* out, int size, int index);
  cudaError_t MemGetInfo(size_t* free_bytes, size_t* total_bytes);
  cudaError_t TakeLastError();

 private:
  bool Has(int index) const { return index >= 0 && static_cast<size_t>(index) < devices_.size(); }

  std::mutex mutex_;
  std::vector<FakeDevice> devices_;  // these three: guarded by mutex_
  cudaError_t count_error_ = cudaSuccess;
  int driver_version_ = 0;
};

}  // namespace vramgate
