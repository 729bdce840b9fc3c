// config.json files. What is let in passes its own check; what is not is refused by name.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "admission/check.h"
#include "admission/estimator/model_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<vramgate::ModelShape> shape = vramgate::ParseModelConfig(text, "fuzz.json");
  if (shape.ok()) {
    CHECK(shape->Validate().ok(), "a shape that is let in and cannot be");
  } else {
    CHECK(shape.status().message().substr(0, 11) == "fuzz.json: ", "an error without the file's name");
  }
  return 0;
}
