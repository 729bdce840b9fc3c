#include "admission/estimator/safetensors.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "admission/estimator/byte_reader.h"
#include "admission/estimator/safetensors_json.h"
#include "admission/utf8.h"

namespace vramgate {
namespace {

constexpr char kIndexName[] = "model.safetensors.index.json";
constexpr char kSingleName[] = "model.safetensors";
constexpr int64_t kMaxSum = int64_t{1} << 56;

absl::Status Error(std::string_view name, std::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(absl::string_view(name.data(), name.size()), ": ",
                                                 absl::string_view(message.data(), message.size())));
}

bool ByName(const SafetensorsTensor& a, const SafetensorsTensor& b) {
  return a.name < b.name;
}

// Sorts by name and counts the bytes.
absl::Status Finish(std::string_view name, Safetensors& s) {
  std::sort(s.tensors.begin(), s.tensors.end(), ByName);
  const auto twice = std::adjacent_find(s.tensors.begin(), s.tensors.end(),
                                        [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twice != s.tensors.end()) {
    return Error(name, absl::StrCat("tensor ", Quoted(twice->name), ": more than once"));
  }
  s.tensor_bytes = 0;
  for (const SafetensorsTensor& tensor : s.tensors) {
    if (tensor.bytes > kMaxSum - s.tensor_bytes) return Error(name, "the tensors have more bytes than can be counted");
    s.tensor_bytes += tensor.bytes;
  }
  return absl::OkStatus();
}

// A shard, from its first byte. The data has neither holes nor overlaps, and ends where the file does; a file may only
// be shorter.
absl::StatusOr<Safetensors> ReadShard(ByteReader& in, uint64_t file_bytes, std::string_view name) {
  const std::optional<uint64_t> length = in.Number(8);
  if (!length.has_value()) return Error(name, "not safetensors: shorter than the length of its header");
  if (*length > kMaxSafetensorsHeader) {
    return Error(name,
                 absl::StrCat("not safetensors: a header of ", *length, " bytes, ", kMaxSafetensorsHeader, " at most"));
  }
  const std::optional<std::string> text = in.Bytes(*length);
  if (!text.has_value()) return Error(name, absl::StrCat("cut off within its header of ", *length, " bytes"));
  absl::StatusOr<std::vector<PlacedTensor>> placed = ParseSafetensorsHeader(*text);
  if (!placed.ok()) return Error(name, std::string(placed.status().message()));
  std::sort(placed->begin(), placed->end(),
            [](const auto& a, const auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  uint64_t end = 0;
  Safetensors shard;
  shard.tensors.reserve(placed->size());
  for (PlacedTensor& p : *placed) {
    if (p.begin != end) {
      return Error(name, absl::StrCat("tensor ", Quoted(p.tensor.name), ": begins at ", p.begin,
                                      ", the one before it ends at ", end));
    }
    end = p.end;
    shard.tensors.push_back(std::move(p.tensor));
  }
  const uint64_t data = file_bytes - std::min(file_bytes, 8 + *length);
  if (data > end) return Error(name, absl::StrCat(data - end, " bytes more than its tensors have"));
  shard.complete = data == end;
  if (absl::Status s = Finish(name, shard); !s.ok()) return s;
  return shard;
}

absl::StatusOr<Safetensors> ReadShardFile(const std::string& path) {
  absl::StatusOr<ByteReader> in = ByteReader::Open(path);
  if (!in.ok()) return in.status();
  return ReadShard(*in, in->size(), path);
}

// All shards that the index names. Every tensor has to be where the index says.
absl::StatusOr<Safetensors> ReadShards(const std::filesystem::path& directory, ByteReader& index) {
  const std::string index_path = (directory / kIndexName).string();
  if (index.size() > kMaxSafetensorsHeader) {
    return Error(index_path, absl::StrCat("more than ", kMaxSafetensorsHeader, " bytes"));
  }
  const std::optional<std::string> text = index.Bytes(index.size());
  if (!text.has_value()) return Error(index_path, "cannot be read");
  const absl::StatusOr<std::map<std::string, std::string>> shard_of = ParseSafetensorsIndex(*text);
  if (!shard_of.ok()) return Error(index_path, std::string(shard_of.status().message()));
  std::map<std::string, std::vector<std::string_view>> shards;
  for (const auto& [tensor, shard] : *shard_of) shards[shard].push_back(tensor);

  Safetensors all;
  all.complete = true;
  for (const auto& [shard_name, expected] : shards) {
    const std::string path = (directory / shard_name).string();
    absl::StatusOr<Safetensors> shard = ReadShardFile(path);
    if (!shard.ok()) return shard.status();
    for (const std::string_view tensor : expected) {
      if (shard->Find(tensor) == nullptr) {
        return Error(path, absl::StrCat("has no tensor ", Quoted(tensor), ", which the index places there"));
      }
    }
    if (all.tensors.size() + shard->tensors.size() > kMaxSafetensorsTensors)
      return Error(index_path, "too many tensors");
    all.complete = all.complete && shard->complete;
    std::move(shard->tensors.begin(), shard->tensors.end(), std::back_inserter(all.tensors));
  }
  if (absl::Status s = Finish(directory.string(), all); !s.ok()) return s;
  return all;
}

}  // namespace

const SafetensorsTensor* Safetensors::Find(std::string_view name) const {
  const auto at = std::lower_bound(tensors.begin(), tensors.end(), name,
                                   [](const SafetensorsTensor& t, std::string_view n) { return t.name < n; });
  return at == tensors.end() || at->name != name ? nullptr : &*at;
}

absl::StatusOr<Safetensors> ReadSafetensors(const std::string& directory) {
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) return Error(directory, "not a directory");
  const std::filesystem::path path(directory);
  absl::StatusOr<ByteReader> index = ByteReader::Open((path / kIndexName).string());
  if (index.ok()) return ReadShards(path, *index);
  if (!absl::IsNotFound(index.status())) return index.status();
  const std::string single = (path / kSingleName).string();
  if (!std::filesystem::exists(single, error)) {
    return absl::NotFoundError(absl::StrCat(directory, ": neither ", kIndexName, " nor ", kSingleName));
  }
  return ReadShardFile(single);
}

absl::StatusOr<Safetensors> ParseSafetensors(std::string_view head, uint64_t file_bytes,
                                             std::string_view name_for_errors) {
  ByteReader in(head);
  return ReadShard(in, file_bytes, name_for_errors);
}

}  // namespace vramgate
