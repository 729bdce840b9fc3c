// Builds the bytes of a safetensors file for tests: the header, and data only if asked for.
//
//   SafetensorsWriter writer;
//   writer.Tensor("model.norm.weight", "BF16", {4096}, 2 * 4096);   // the offsets follow from those before it
//   const std::string head = writer.Head();
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace vramgate {

class SafetensorsWriter {
 public:
  SafetensorsWriter& Tensor(std::string_view name, std::string_view type, const std::vector<int64_t>& shape,
                            uint64_t bytes) {
    header_[std::string(name)] = {
        {"dtype", type}, {"shape", shape}, {"data_offsets", {data_bytes_, data_bytes_ + bytes}}};
    data_bytes_ += bytes;
    return *this;
  }

  std::string Head() const { return Framed(header_.dump()); }
  // The same and the data, all zero: for small files only.
  std::string Whole() const { return Head() + std::string(data_bytes_, '\0'); }
  uint64_t file_bytes() const { return Head().size() + data_bytes_; }

  // The text as a header, well-formed or not.
  static std::string Framed(std::string_view text) {
    std::string head;
    for (int i = 0; i < 8; ++i) head += static_cast<char>(text.size() >> (8 * i) & 0xFF);
    return head + std::string(text);
  }

 private:
  nlohmann::json header_ = nlohmann::json::object();
  uint64_t data_bytes_ = 0;
};

}  // namespace vramgate
