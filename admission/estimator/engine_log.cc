#include "admission/estimator/engine_log.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "admission/estimator/engine_log_words.h"
#include "admission/units.h"

namespace vramgate {

void EngineLogReader::Is(EngineKind kind) {
  pool_.engine = kind;
  pool_.token_meaning = TokenMeaningOf(kind, pool_.version);
}

void EngineLogReader::Line(std::string_view line) {
  line = line.substr(0, kMaxLineBytes);
  if (Vllm(line)) return Is(EngineKind::kVllm);
  if (Sglang(line)) return Is(EngineKind::kSglang);
  if (TensorRtLlm(line)) return Is(EngineKind::kTensorRtLlm);
  if (LlamaCpp(line)) return Is(EngineKind::kLlamaCpp);
}

// SGLang's "GB" is 2^30 bytes (its constant GB = 1 << 30).
bool EngineLogReader::Sglang(std::string_view line) {
  TextScanner scan("");
  if (Says(line, "server_args=ServerArgs(", &scan)) {
    pool_ = {};
    int64_t page = 0;
    if (scan.SkipPast(" page_size=") && scan.Count(&page) && page > 0) pool_.block_tokens = page;
    return true;
  }
  if (!OfFirstRank(line)) return false;
  PrintedBytes size;
  if (Says(line, "Load weight end.", &scan)) {
    // A draft model is loaded after its target; where it shares tensors its use is printed as a negative figure.
    if (scan.SkipPast("mem usage=") && scan.Size(kGiB, &size)) Add(pool_.weights_bytes, size);
    return true;
  }
  if (Says(line, "uda graph end.", &scan) || Says(line, "UDA graph end.", &scan)) {
    if (scan.SkipPast("mem usage=") && scan.Size(kGiB, &size)) Add(pool_.cuda_graph_bytes, size);
    return true;
  }
  return SglangPool(line);
}

bool EngineLogReader::SglangPool(std::string_view line) {
  TextScanner scan("");
  PrintedBytes size;
  int64_t count = 0;
  if (Says(line, "max_total_num_tokens=", &scan)) {
    if (scan.Count(&count)) pool_.tokens = count;
    if (scan.SkipPast("context_len=") && scan.Count(&count)) pool_.max_model_len = count;
    return true;
  }
  // One line a pool: the target's and a draft's, or the two that an SWAKVPool line then sums up.
  if (Says(line, "KV Cache is allocated.", &scan)) {
    if (!scan.SkipPast("#tokens:") || !scan.Count(&count)) return true;
    if (pool_.tokens && *pool_.tokens != count) pool_.hybrid = true;
    if (!pool_.tokens) pool_.tokens = count;
    PrintedBytes values;
    if (scan.SkipPast("K size:") && scan.Size(kGiB, &size) && scan.SkipPast("V size:") && scan.Size(kGiB, &values)) {
      Add(pool_.pool_bytes, size + values);
    } else if (scan.SkipPast("KV size:") && scan.Size(kGiB, &size)) {
      Add(pool_.pool_bytes, size);
    }
    return true;
  }
  if (Says(line, "SWAKVPool mem usage:", &scan)) {
    pool_.hybrid = true;
    if (scan.Size(kGiB, &size)) pool_.pool_bytes = size;
    if (scan.SkipPast("swa size:") && scan.Count(&count)) pool_.window_tokens = count;
    if (scan.SkipPast("full size:") && scan.Count(&count)) pool_.tokens = count;
    return true;
  }
  if (Says(line, "Mamba Cache is allocated.", &scan)) {
    pool_.hybrid = true;
    if (scan.SkipPast("max_mamba_cache_size:") && scan.Count(&count)) pool_.state_slots = count;
    PrintedBytes states;
    if (scan.SkipPast("conv_state size:") && scan.Size(kGiB, &size) && scan.SkipPast("ssm_state size:") &&
        scan.Size(kGiB, &states)) {
      pool_.state_bytes = size + states;
    }
    return true;
  }
  return false;
}

// A pool that is made to measure the model by is printed too; the last one stays.
bool EngineLogReader::TensorRtLlm(std::string_view line) {
  TextScanner scan("");
  PrintedBytes size;
  int64_t count = 0;
  if (Says(line, "[MemUsageChange] Allocated", &scan)) {
    if (scan.Size(kGiB, &size) && scan.Eat(" GiB for max tokens in paged KV cache (") && scan.Count(&count)) {
      pool_.pool_bytes = size;
      pool_.tokens = count;
    }
    return true;
  }
  if (Says(line, "Number of blocks in KV cache primary pool:", &scan)) {
    if (scan.Count(&count)) pool_.blocks = count;
    return true;
  }
  if (Says(line, "Number of tokens per block:", &scan)) {
    if (scan.Count(&count) && count > 0) pool_.block_tokens = count;
    return true;
  }
  EngineVersion version;
  if (Says(line, "TensorRT-LLM version:", &scan)) {
    if (scan.Version(&version)) pool_.version = version;
    return true;
  }
  if (Says(line, "[TRT-LLM]", &scan) && scan.SkipPast("] max_seq_len=")) {
    if (scan.Count(&count)) pool_.max_model_len = count;
    return true;
  }
  return false;
}

absl::StatusOr<EnginePool> ReadEngineLog(std::istream& log) {
  EngineLogReader reader;
  std::string line;
  size_t bytes = 0;
  std::string chunk(EngineLogReader::kMaxLineBytes, '\0');
  while (log) {
    log.read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
    std::string_view rest(chunk.data(), static_cast<size_t>(log.gcount()));
    bytes += rest.size();
    if (bytes > kMaxLogBytes) {
      return absl::OutOfRangeError(
          absl::StrCat("longer than ", FormatBytes(kMaxLogBytes), ": give the lines of one start"));
    }
    for (size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
      if (line.size() < EngineLogReader::kMaxLineBytes) line.append(rest.substr(0, end));
      reader.Line(line);
      line.clear();
      rest.remove_prefix(end + 1);
    }
    if (line.size() < EngineLogReader::kMaxLineBytes) line.append(rest);
  }
  reader.Line(line);
  if (!reader.pool().KnowsCapacity()) {
    return absl::FailedPreconditionError(
        "no line tells how large the engine's KV pool is: give the start-up log of vLLM, SGLang, TensorRT-LLM or "
        "llama.cpp");
  }
  return reader.pool();
}

}  // namespace vramgate
