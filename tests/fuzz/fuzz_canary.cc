// Must be found out: it trusts the length that its input claims, as no parser here does. If it passes, fuzzing is
// blind.
#include <cstddef>
#include <cstdint>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::vector<uint8_t> copy(data + 1, data + size);
  volatile uint8_t last = 0;
  for (size_t i = 0; i < data[0]; ++i) last = copy.data()[i];
  (void)last;
  return 0;
}
