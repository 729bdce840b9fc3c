// vLLM's start-up lines, as printed by 0.6 (vllm/worker/worker.py) to 0.32 (vllm/v1/worker/gpu_worker.py,
// vllm/v1/core/kv_cache_utils.py). Both "GiB" and the older "GB" are 2^30 bytes there.
#include "admission/estimator/engine_log.h"
#include "admission/estimator/engine_log_words.h"
#include "admission/units.h"

namespace vramgate {

bool EngineLogReader::Vllm(std::string_view line) {
  TextScanner scan("");
  EngineVersion version;
  // "Initializing a V1 LLM engine (v0.32.0) with config: model='...', ..., max_seq_len=1280, ..."
  if (Says(line, " LLM engine (v", &scan)) {
    const std::optional<EngineVersion> named = pool_.version;  // by the API server, before
    pool_ = {};
    pool_.version = scan.Version(&version) ? std::optional(version) : named;
    int64_t length = 0;
    if (scan.SkipPast(" max_seq_len=") && scan.Count(&length)) pool_.max_model_len = length;
    return true;
  }
  if (Says(line, "vLLM API server version", &scan)) {
    pool_ = {};
    if (scan.Version(&version)) pool_.version = version;
    return true;
  }
  return VllmPool(line) || VllmRest(line);
}

bool EngineLogReader::VllmPool(std::string_view line) {
  TextScanner scan("");
  PrintedBytes size;
  int64_t count = 0;
  double ratio = 0;
  double half_digit = 0;
  // To 0.20 in two lines, later in one: "GPU KV cache size: 8,192 tokens, Maximum concurrency for ..."
  const bool tokens = Says(line, " KV cache size: ", &scan) && scan.Count(&count) && scan.Eat(" tokens");
  if (tokens) KeepLeast(pool_.tokens, count);
  if (Says(line, "Maximum concurrency for ", &scan)) {
    if (scan.Count(&count) && scan.Eat(" tokens per request: ") && scan.Decimal(&ratio, &half_digit) && scan.Eat("x")) {
      pool_.max_model_len = count;
      KeepLeast(pool_.max_concurrency, ratio);
      pool_.max_concurrency_tolerance = half_digit;
    }
    return true;
  }
  if (tokens) return true;
  if (Says(line, "Available KV cache memory:", &scan)) {
    if (scan.SizeWithUnit(&size)) KeepLeast(pool_.pool_bytes, size);
    return true;
  }
  // To the byte, before 0.20: "... Current kv cache memory in use is 47878721024 bytes."
  if (Says(line, "cache memory in use is ", &scan)) {
    const std::optional<PrintedBytes>& known = pool_.pool_bytes;
    if (scan.Size(1, &size) && scan.Eat(" bytes") && (!known || size.bytes <= known->bytes + known->tolerance_bytes)) {
      pool_.pool_bytes = size;
    }
    (void)VllmRest(line);
    return true;
  }
  if (Says(line, "Initial free memory", &scan) && scan.SkipPast(", reserved ")) {
    if (scan.SizeWithUnit(&size) && scan.Eat(" memory for KV Cache")) KeepLeast(pool_.pool_bytes, size);
    return true;
  }
  if (Says(line, "Explicitly set (", &scan)) {  // on CPU
    if (scan.Size(kGiB, &size) && scan.SkipPast(" GiB for KV cache")) KeepLeast(pool_.pool_bytes, size);
    return true;
  }
  if (Says(line, "cache_config_info with initialization after num_gpu_blocks is: ", &scan)) {
    if (scan.Count(&count)) KeepLeast(pool_.blocks, count);
    return true;
  }
  // "# GPU blocks: 27392, # CPU blocks: 2048"; later the platform's name, "# CUDA blocks", stands there.
  if (Says(line, "# CPU blocks: ", &scan) && Says(line, "# ", &scan)) {
    if (scan.SkipPast(" blocks: ") && scan.Count(&count)) KeepLeast(pool_.blocks, count);
    return true;
  }
  if (Says(line, " with num_gpu_blocks_override=", &scan)) {
    if (scan.Count(&count)) KeepLeast(pool_.blocks, count);
    pool_.blocks_overridden = true;
    return true;
  }
  if (Says(line, "Setting attention block size to ", &scan)) {
    if (scan.Count(&count) && scan.Eat(" tokens") && count > 0) pool_.block_tokens = count;
    pool_.hybrid = true;
    return true;
  }
  if (Says(line, "Padding mamba page size by ", &scan)) return pool_.hybrid = true;
  if (Says(line, " padding layers, may waste", &scan)) return pool_.hybrid = true;
  return false;
}

bool EngineLogReader::VllmRest(std::string_view line) {
  TextScanner scan("");
  PrintedBytes size;
  // "Model loading took 2.3185 GiB and ...", "... 14.99 GB memory and ...", "Loading model weights took 14.9888 GB"
  if (Says(line, "Model loading took ", &scan) || Says(line, "Loading model weights took ", &scan)) {
    if (!scan.SizeWithUnit(&size)) return false;  // a number of seconds
    KeepMost(pool_.weights_bytes, size);
    return true;
  }
  const auto after = [&](std::string_view words, std::optional<PrintedBytes>& most) {
    if (scan.SkipPast(words) && scan.SizeWithUnit(&size)) KeepMost(most, size);
  };
  if (Says(line, "model weights take ", &scan)) {
    if (scan.SizeWithUnit(&size)) KeepMost(pool_.weights_bytes, size);
    after("non_torch_memory takes ", pool_.non_torch_bytes);
    after("activation peak memory takes ", pool_.activation_bytes);
    if (scan.SkipPast("reserved for KV Cache is ") && scan.SizeWithUnit(&size)) KeepLeast(pool_.pool_bytes, size);
    return true;
  }
  if (Says(line, "Memory profiling results: ", &scan)) {  // 0.6.3 and 0.6.4
    after("non_torch_memory=", pool_.non_torch_bytes);
    if (scan.SkipPast("kv_cache_size=") && scan.SizeWithUnit(&size)) KeepLeast(pool_.pool_bytes, size);
    return true;
  }
  if (Says(line, "Memory profiling takes ", &scan)) {
    after("torch peak memory increase: ", pool_.activation_bytes);
    after("non-torch forward increase memory: ", pool_.non_torch_bytes);
    after("weights memory: ", pool_.weights_bytes);
    return true;
  }
  if (Says(line, "Graph capturing finished in ", &scan)) {
    after(" took ", pool_.cuda_graph_bytes);
    return true;
  }
  // "Actual usage is 14.08 GiB for weight, 1.97 GiB for peak activation, 0.07 GiB for non-torch memory, and ..."
  if (Says(line, "Actual usage is ", &scan)) {
    while (scan.SizeWithUnit(&size)) {
      if (scan.Eat(" for weight")) KeepMost(pool_.weights_bytes, size);
      if (scan.Eat(" for peak activation")) KeepMost(pool_.activation_bytes, size);
      if (scan.Eat(" for non-torch memory")) KeepMost(pool_.non_torch_bytes, size);
      if (scan.Eat(" for CUDAGraph memory")) KeepMost(pool_.cuda_graph_bytes, size);
      if (!scan.SkipPast(", ")) break;
      scan.Eat("and ");
    }
    return true;
  }
  return false;
}

}  // namespace vramgate
