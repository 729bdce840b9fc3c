// The config text of sidecars that tests start, in blocks: put together, they are a whole file.
//
//   absl::StrCat(ListenersYaml(directory.path()), DevicesYaml(1), "models:\n",
//                ModelYaml("m", 2000, R"(      - {name: a, devices: ["0"], kv_pool: 1000MiB})"))
//
// A request of N tokens takes N MiB of the pool of each device it is on, and 128 bytes of activation a token besides.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace vramgate {

// Unix sockets `gate.sock`, `operator.sock`, `plugin.sock` and `door.sock` in `directory`, and free ports for the admin
// pages and the HTTP door.
// `more_callers`: further elements of listeners.grpc, each after a comma.
inline std::string ListenersYaml(const std::filesystem::path& directory, std::string_view more_callers = "") {
  return absl::StrCat(
      "listeners:\n  grpc: [\"unix:", directory.string(), "/gate.sock\"", std::string(more_callers),
      "]\n  operator: \"unix:", directory.string(), "/operator.sock\"\n  plugin: \"unix:", directory.string(),
      "/plugin.sock\"\n  http: [{address: \"127.0.0.1:0\", insecure: true}, \"unix:", directory.string(),
      "/door.sock\"]\n  admin: \"127.0.0.1:0\"\n");
}

// Simulated devices "0", "1" and so on, each of 11 GiB.
inline std::string DevicesYaml(int count) {
  std::string yaml = "devices:\n";
  for (int d = 0; d < count; ++d) absl::StrAppend(&yaml, "  - {id: \"", d, "\", simulated: {total: 11GiB}}\n");
  return yaml;
}

// One of `models`; `instances` are lines, too, and may go on with further keys of the model.
inline std::string ModelYaml(std::string_view name, int64_t max_model_len, std::string_view instances) {
  return absl::StrCat("  - name: ", std::string(name),
                      "\n    shape: {parameters: 1000000, layers: 1, heads: 2, hidden: 64}\n"
                      "    kv_bytes_per_token: 1MiB\n    block_tokens: 1\n    max_model_len: ",
                      max_model_len, "\n    instances:\n", std::string(instances), "\n");
}

}  // namespace vramgate
