// Builds the bytes of a GGUF file for tests: keys and the table of tensors, and no data unless asked for.
//
//   GgufWriter writer;
//   writer.Text("general.architecture", "llama").U32("llama.block_count", 2).Ints("llama.x", {1, 2}).Bools("y",
//   {true}); writer.Tensor("blk.0.attn_q.weight", 8, {4096, 4096});   // Q8_0; the offset follows from those before it
//   const std::string head = writer.Head();                       // what ParseGguf reads
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "admission/estimator/ggml_type.h"

namespace vramgate {

class GgufWriter {
 public:
  explicit GgufWriter(uint32_t version = 3, uint64_t alignment = 32) : version_(version), alignment_(alignment) {}

  GgufWriter& Text(std::string_view key, std::string_view text) { return Raw(key, 8, Counted(text)); }
  GgufWriter& U8(std::string_view key, uint8_t value) { return Raw(key, 0, Number(value, 1)); }
  GgufWriter& I8(std::string_view key, int8_t value) { return Raw(key, 1, Number(static_cast<uint64_t>(value), 1)); }
  GgufWriter& U16(std::string_view key, uint16_t value) { return Raw(key, 2, Number(value, 2)); }
  GgufWriter& I16(std::string_view key, int16_t value) { return Raw(key, 3, Number(static_cast<uint64_t>(value), 2)); }
  GgufWriter& U32(std::string_view key, uint32_t value) { return Raw(key, 4, Number(value, 4)); }
  GgufWriter& I32(std::string_view key, int32_t value) { return Raw(key, 5, Number(static_cast<uint64_t>(value), 4)); }
  GgufWriter& F32(std::string_view key, float value) { return Raw(key, 6, Number(std::bit_cast<uint32_t>(value), 4)); }
  GgufWriter& Bool(std::string_view key, bool value) { return Raw(key, 7, Number(value, 1)); }
  GgufWriter& U64(std::string_view key, uint64_t value) { return Raw(key, 10, Number(value, 8)); }
  GgufWriter& I64(std::string_view key, int64_t value) { return Raw(key, 11, Number(static_cast<uint64_t>(value), 8)); }
  GgufWriter& F64(std::string_view key, double value) {
    return Raw(key, 12, Number(std::bit_cast<uint64_t>(value), 8));
  }

  GgufWriter& Ints(std::string_view key, const std::vector<int32_t>& values) {
    std::string body = Number(5, 4) + Number(values.size(), 8);
    for (const int32_t value : values) body += Number(static_cast<uint64_t>(value), 4);
    return Raw(key, 9, body);
  }
  GgufWriter& Bools(std::string_view key, const std::vector<bool>& values) {
    std::string body = Number(7, 4) + Number(values.size(), 8);
    for (const bool value : values) body += Number(value, 1);
    return Raw(key, 9, body);
  }
  GgufWriter& Texts(std::string_view key, const std::vector<std::string>& values) {
    std::string body = Number(8, 4) + Number(values.size(), 8);
    for (const std::string& value : values) body += Counted(value);
    return Raw(key, 9, body);
  }
  // A value of any type, well-formed or not.
  GgufWriter& Raw(std::string_view key, uint32_t kind, std::string_view body) {
    keys_ += Counted(key) + Number(kind, 4) + std::string(body);
    ++key_count_;
    return *this;
  }

  // The next tensor, at the next offset. A type that is not known has no size, and the next begins at the same offset.
  GgufWriter& Tensor(std::string_view name, uint32_t type, const std::vector<uint64_t>& dims) {
    TensorAt(name, type, dims, data_bytes_);
    const GgmlType* known = FindGgmlType(type);
    if (known == nullptr) return *this;
    uint64_t elements = 1;
    for (const uint64_t dim : dims) elements *= dim;
    const uint64_t blocks = elements / static_cast<uint64_t>(known->block_elements);
    return Skip(blocks * static_cast<uint64_t>(known->block_bytes));
  }
  GgufWriter& TensorAt(std::string_view name, uint32_t type, const std::vector<uint64_t>& dims, uint64_t offset) {
    table_ += Counted(name) + Number(dims.size(), 4);
    for (const uint64_t dim : dims) table_ += Number(dim, 8);
    table_ += Number(type, 4) + Number(offset, 8);
    ++tensor_count_;
    return *this;
  }

  // Metadata and table.
  std::string Head() const {
    return "GGUF" + Number(version_, 4) + Number(tensor_count_, 8) + Number(key_count_, 8) + keys_ + table_;
  }
  // The same, padded, and the data, all zero: for small tables only.
  std::string Whole() const {
    std::string file = Head();
    file.resize((file.size() + alignment_ - 1) / alignment_ * alignment_ + data_bytes_);
    return file;
  }

  static std::string Number(uint64_t value, size_t bytes) {
    std::string raw;
    for (size_t i = 0; i < bytes; ++i) raw += static_cast<char>(value >> (8 * i) & 0xFF);
    return raw;
  }
  static std::string Counted(std::string_view text) { return Number(text.size(), 8) + std::string(text); }

 private:
  GgufWriter& Skip(uint64_t bytes) {
    data_bytes_ += (bytes + alignment_ - 1) / alignment_ * alignment_;
    return *this;
  }

  uint32_t version_;
  uint64_t alignment_;
  uint64_t key_count_ = 0;
  uint64_t tensor_count_ = 0;
  uint64_t data_bytes_ = 0;
  std::string keys_;
  std::string table_;
};

}  // namespace vramgate
