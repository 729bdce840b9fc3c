// llama.cpp's start-up lines (src/llama-model.cpp, llama-context.cpp, llama-kv-cache.cpp, llama-memory-recurrent.cpp):
// one a buffer, one a cache. Sizes are MiB with two decimals; buffers lie where their device's name says.
#include <map>
#include <string>

#include "admission/estimator/engine_log.h"
#include "admission/estimator/engine_log_words.h"
#include "admission/units.h"

namespace vramgate {
namespace {

constexpr size_t kMaxDeviceName = 64;

bool InHostMemory(std::string_view device) {
  return device.starts_with("CPU") || device.ends_with("_Host") || device.ends_with("_Host_Mapped");
}

// The largest sum of one device's buffers of a kind; where none lies on a device, the sum of all.
std::optional<PrintedBytes> OnWorstDevice(const EnginePool& pool, EngineBuffer::Kind kind) {
  std::map<std::string, PrintedBytes> devices;
  std::optional<PrintedBytes> host;
  for (const EngineBuffer& buffer : pool.buffers) {
    if (buffer.kind != kind) continue;
    // Weights that are mapped from a file are a device's all the same.
    std::string_view device = buffer.device;
    if (device.ends_with("_Mapped")) device.remove_suffix(std::string_view("_Mapped").size());
    if (InHostMemory(device)) {
      Add(host, buffer.size);
    } else {
      PrintedBytes& sum = devices[std::string(device)];
      sum = sum + buffer.size;
    }
  }
  std::optional<PrintedBytes> worst;
  for (const auto& [device, sum] : devices) KeepMost(worst, sum);
  return worst ? worst : host;
}

}  // namespace

bool EngineLogReader::LlamaCpp(std::string_view line) {
  TextScanner scan("");
  if (line.starts_with("build: ") && Says(line, ") with ", &scan)) {
    pool_ = {};
    return true;
  }
  if (LlamaBuffer(line) || LlamaCache(line)) return true;
  // "llama_context: n_ctx         = 262144". The first context is the model's, a later one a draft's.
  const auto assigned = [&](std::string_view name, std::optional<int64_t>& value) {
    int64_t count = 0;
    if (!Says(line, name, &scan)) return false;
    scan.EatSpaces();
    if (!scan.Eat("=") || !scan.Count(&count)) return false;
    if (!value) value = count;
    return true;
  };
  return assigned(": n_ctx ", pool_.context_tokens) || assigned(": n_ctx_seq ", pool_.max_model_len) ||
         assigned(": n_ctx_per_seq ", pool_.max_model_len) || assigned(": n_batch ", pool_.batch_tokens) ||
         assigned(": n_ubatch ", pool_.ubatch_tokens);
}

// "load_tensors:        CUDA0 model buffer size =  4403.49 MiB"
bool EngineLogReader::LlamaBuffer(std::string_view line) {
  using Kind = EngineBuffer::Kind;
  constexpr std::pair<std::string_view, Kind> kKinds[] = {{" model buffer size", Kind::kModel},
                                                          {" KV buffer size", Kind::kKv},
                                                          {" RS buffer size", Kind::kState},
                                                          {" compute buffer size", Kind::kCompute},
                                                          {" output buffer size", Kind::kOutput}};
  for (const auto& [words, kind] : kKinds) {
    TextScanner scan("");
    PrintedBytes size;
    if (!Says(line, words, &scan)) continue;
    scan.EatSpaces();
    if (!scan.Eat("=") || !scan.Size(kMiB, &size) || !scan.Eat(" MiB")) return false;
    std::string_view device = line.substr(0, line.find(words));
    while (device.ends_with(' ')) device.remove_suffix(1);
    device.remove_prefix(device.rfind(' ') == std::string_view::npos ? 0 : device.rfind(' ') + 1);
    if (device.empty() || device.size() > kMaxDeviceName || pool_.buffers.size() >= kMaxBuffers) return true;
    pool_.buffers.push_back({kind, std::string(device), size});
    if (kind == Kind::kModel) pool_.weights_bytes = OnWorstDevice(pool_, kind);
    if (kind == Kind::kCompute) pool_.activation_bytes = OnWorstDevice(pool_, kind);
    return true;
  }
  return false;
}

// "llama_kv_cache: size = 4352.00 MiB (262144 cells,   8 layers,  1/1 seqs), K (q8_0): 2176.00 MiB, V ..."
// "llama_memory_recurrent: size =   50.25 MiB (     1 cells,  32 layers,  1 seqs), R (f32): ..."
bool EngineLogReader::LlamaCache(std::string_view line) {
  TextScanner scan("");
  EngineCache cache;
  cache.recurrent = Says(line, "llama_memory_recurrent", &scan);
  const bool unnamed = !cache.recurrent && Says(line, "KV self size", &scan);  // before 2025
  if (unnamed) {
    scan.EatSpaces();
    if (!scan.Eat("=") || !scan.Size(kMiB, &cache.size) || !scan.Eat(" MiB")) return false;
    cache.cells = pool_.context_tokens.value_or(0);
  } else {
    if (!cache.recurrent && !Says(line, "llama_kv_cache", &scan)) return false;
    if (!scan.SkipPast(": size = ") || !scan.Size(kMiB, &cache.size) || !scan.Eat(" MiB (")) return false;
    if (!scan.Count(&cache.cells) || !scan.Eat(" cells,") || !scan.Count(&cache.layers) || !scan.Eat(" layers")) {
      return false;
    }
    // "8/4 seqs": eight sequences in four streams, each of so many cells.
    int64_t sequences = 0;
    int64_t streams = 1;
    if (scan.Eat(",") && scan.Count(&sequences) && scan.Eat("/") && scan.Count(&streams) && streams > 0 &&
        streams < TextScanner::kMaxCount / (cache.cells + 1)) {
      cache.streams = streams;
    }
  }
  if (pool_.caches.size() >= kMaxCaches) return true;
  pool_.caches.push_back(cache);
  if (cache.recurrent) {
    pool_.hybrid = true;
    Add(pool_.state_bytes, cache.size);
    pool_.state_slots = cache.cells;
  } else {
    Add(pool_.pool_bytes, cache.size);
    const int64_t places = cache.cells * cache.streams;
    if (places > 0) {
      if (pool_.tokens && *pool_.tokens != places) pool_.hybrid = true;  // a window's cache has fewer
      pool_.tokens = std::max(pool_.tokens.value_or(0), places);
    }
  }
  return true;
}

}  // namespace vramgate
