// Safetensors heads and indexes. The first byte says which: a whole file, a header to be given its length, or an index.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "admission/check.h"
#include "admission/estimator/safetensors.h"
#include "admission/estimator/safetensors_json.h"
#include "tests/support/safetensors_writer.h"

namespace {

void File(std::string_view bytes, uint64_t file_bytes) {
  const absl::StatusOr<vramgate::Safetensors> file = vramgate::ParseSafetensors(bytes, file_bytes, "fuzz");
  if (!file.ok()) {
    CHECK(file.status().message().substr(0, 6) == "fuzz: ", "an error without the file's name");
    return;
  }
  int64_t sum = 0;
  for (const vramgate::SafetensorsTensor& tensor : file->tensors) {
    CHECK(tensor.bytes >= 0 && tensor.type != nullptr, "a tensor without a size");
    CHECK(file->Find(tensor.name) == &tensor, "a tensor that cannot be found");
    sum += tensor.bytes;
  }
  CHECK(sum == file->tensor_bytes, "the sum is not the sum");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0:
      File(bytes, bytes.size());
      break;
    case 1:
      File(vramgate::SafetensorsWriter::Framed(bytes), 8 + bytes.size());  // the head only
      break;
    case 2:
      if (const auto index = vramgate::ParseSafetensorsIndex(bytes); index.ok()) {
        for (const auto& [tensor, shard] : *index) {
          CHECK(shard.find('/') == std::string::npos && shard != "..", "a shard outside of the directory");
        }
      }
      break;
  }
  return 0;
}
