// What start-up logs tell: real ones from tests/data/engines, and single lines as each version words them.
#include "admission/estimator/engine_log.h"

#include <fstream>
#include <random>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include "admission/estimator/text_scanner.h"
#include "admission/units.h"

namespace vramgate {
namespace {

EnginePool ReadFile(const std::string& name) {
  std::ifstream file(std::string(VRAMGATE_TEST_DATA "/engines/") + name);
  EXPECT_TRUE(file.good()) << name;
  const absl::StatusOr<EnginePool> pool = ReadEngineLog(file);
  EXPECT_TRUE(pool.ok()) << name << ": " << pool.status();
  return pool.value_or(EnginePool{});
}

EnginePool ReadLines(const std::string& lines) {
  EngineLogReader reader;
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);) reader.Line(line);
  return reader.pool();
}

MATCHER_P2(IsSize, number, unit, "") {
  const double bytes = number * static_cast<double>(unit);
  return arg.has_value() && std::abs(static_cast<double>(arg->bytes) - bytes) <= 1 &&
         arg->tolerance_bytes <= unit / 200 + 1;
}

TEST(EngineLogTest, VllmOf2025) {
  const EnginePool pool = ReadFile("vllm_2025-08_llama-3.2-1b.log");
  EXPECT_EQ(pool.engine, EngineKind::kVllm);
  EXPECT_FALSE(pool.version);
  EXPECT_EQ(pool.token_meaning, TokenMeaning::kUnknown);
  EXPECT_EQ(pool.blocks, 75972);
  EXPECT_EQ(pool.tokens, 75972 * 16);
  EXPECT_EQ(pool.max_model_len, 131072);
  EXPECT_DOUBLE_EQ(*pool.max_concurrency, 9.27);
  EXPECT_DOUBLE_EQ(pool.max_concurrency_tolerance, 0.005);
  EXPECT_THAT(pool.pool_bytes, IsSize(37.10, kGiB));
  EXPECT_THAT(pool.weights_bytes, IsSize(2.32, kGiB)) << "the larger of 2.3185 and 2.32";
  EXPECT_THAT(pool.activation_bytes, IsSize(0.45, kGiB));
  EXPECT_THAT(pool.non_torch_bytes, IsSize(0.02, kGiB));
  EXPECT_FALSE(pool.hybrid);
  // The pool's bytes are its blocks' within what was printed: 16 layers, 8 heads of 64, keys and values of 2 bytes.
  EXPECT_NEAR(static_cast<double>(*pool.tokens * 16 * 8 * 64 * 2 * 2), static_cast<double>(pool.pool_bytes->bytes),
              static_cast<double>(pool.pool_bytes->tolerance_bytes));
}

TEST(EngineLogTest, VllmOnCpuWithBlocksOverridden) {
  const EnginePool pool = ReadFile("vllm_0.32_cpu.log");
  EXPECT_EQ(pool.version, (EngineVersion{0, 32}));
  EXPECT_EQ(pool.token_meaning, TokenMeaning::kConcurrency);
  EXPECT_EQ(pool.blocks, 256);
  EXPECT_TRUE(pool.blocks_overridden);
  EXPECT_EQ(pool.tokens, 8192);
  EXPECT_EQ(pool.max_model_len, 1280);
  EXPECT_DOUBLE_EQ(*pool.max_concurrency, 6.4);
  EXPECT_THAT(pool.pool_bytes, IsSize(0.06, kGiB));
  EXPECT_FALSE(pool.weights_bytes) << "\"Loading weights took 0.03 seconds\" is no size";
}

TEST(EngineLogTest, VllmBeforeV1) {
  const EnginePool pool = ReadLines(
      "INFO 12-25 13:59:00 llm_engine.py:250] Initializing an LLM engine (v0.6.4.post1) with config: "
      "model='/m', max_seq_len=32768, dtype=fp16\n"
      "INFO 12-25 14:00:09 model_runner.py:1094] Loading model weights took 67.6979 GB\n"
      "INFO 12-25 14:00:28 worker.py:265] Memory profiling results: duration=18.41 seconds, "
      "total_gpu_memory=191.98GiB, "
      "initial_memory_usage=71.40GiB, peak_torch_memory=86.79GiB, memory_usage_post_profile=73.77GiB, "
      "non_torch_memory=6.07GiB, kv_cache_size=95.28GiB, gpu_memory_utilization=0.98.\n"
      "INFO 12-25 14:00:28 gpu_executor.py:76] # GPU blocks: 19513, # CPU blocks: 819\n"
      "INFO 12-25 14:00:28 gpu_executor.py:80] Maximum concurrency for 32768 tokens per request: 9.53x\n");
  EXPECT_EQ(pool.version, (EngineVersion{0, 6}));
  EXPECT_EQ(pool.blocks, 19513);
  EXPECT_FALSE(pool.tokens);
  EXPECT_EQ(pool.max_model_len, 32768);
  EXPECT_THAT(pool.pool_bytes, IsSize(95.28, kGiB));
  EXPECT_THAT(pool.weights_bytes, IsSize(67.6979, kGiB));
  EXPECT_LE(pool.weights_bytes->tolerance_bytes, kGiB / 20'000 + 1);
  EXPECT_THAT(pool.non_torch_bytes, IsSize(6.07, kGiB));
}

TEST(EngineLogTest, VllmSentenceOfV07) {
  const EnginePool pool = ReadLines(
      "INFO 05-30 16:23:28 worker.py:267] model weights take 2.89GiB; non_torch_memory takes 0.01GiB; PyTorch "
      "activation "
      "peak memory takes 2.02GiB; the rest of the memory reserved for KV Cache is 2.36GiB.\n"
      "INFO 05-30 16:23:28 executor_base.py:110] # CUDA blocks: 5519, # CPU blocks: 9362\n");
  EXPECT_EQ(pool.blocks, 5519);
  EXPECT_THAT(pool.weights_bytes, IsSize(2.89, kGiB));
  EXPECT_THAT(pool.non_torch_bytes, IsSize(0.01, kGiB));
  EXPECT_THAT(pool.activation_bytes, IsSize(2.02, kGiB));
  EXPECT_THAT(pool.pool_bytes, IsSize(2.36, kGiB));
}

TEST(EngineLogTest, VllmWithoutRoomHasNoPool) {
  const EnginePool pool = ReadLines(
      "model weights take 5.43GiB; non_torch_memory takes 0.01GiB; PyTorch activation peak memory takes 1.42GiB; the "
      "rest of "
      "the memory reserved for KV Cache is -0.94GiB.\nGraph capturing finished in 3 secs, took -0.73 GiB");
  EXPECT_FALSE(pool.pool_bytes);
  EXPECT_FALSE(pool.cuda_graph_bytes);
  EXPECT_THAT(pool.weights_bytes, IsSize(5.43, kGiB));
}

TEST(EngineLogTest, VllmSummaryIsExactToTheByte) {
  const EnginePool pool = ReadLines(
      "(EngineCore_DP0 pid=3021) INFO 09-23 18:12:33 [gpu_worker.py:298] Available KV cache memory: 55.15 GiB\n"
      "(EngineCore_DP0 pid=3021) INFO 09-23 18:12:39 [gpu_model_runner.py:3118] Graph capturing finished in 5 secs, "
      "took "
      "0.67 GiB\n"
      "(EngineCore_DP0 pid=3021) INFO 09-23 18:12:39 [gpu_worker.py:391] Free memory on device (78.66/79.19 GiB) on "
      "startup. Desired GPU memory utilization is (0.9, 71.27 GiB). Actual usage is 14.08 GiB for weight, 1.97 GiB for "
      "peak activation, 0.07 GiB for non-torch memory, and 0.67 GiB for CUDAGraph memory. Replace "
      "gpu_memory_utilization "
      "config with `--kv-cache-memory=58333988249` to fit into requested memory, or `--kv-cache-memory=66273897472` to "
      "fully utilize gpu memory. Current kv cache memory in use is 59212694937 bytes.\n");
  EXPECT_EQ(pool.pool_bytes, (PrintedBytes{59212694937, 0}));
  EXPECT_THAT(pool.weights_bytes, IsSize(14.08, kGiB));
  EXPECT_THAT(pool.activation_bytes, IsSize(1.97, kGiB));
  EXPECT_THAT(pool.non_torch_bytes, IsSize(0.07, kGiB));
  EXPECT_THAT(pool.cuda_graph_bytes, IsSize(0.67, kGiB));
}

TEST(EngineLogTest, VllmOf2026CountsWeightsAndNonTorchTogether) {
  const EnginePool pool = ReadLines(
      "[gpu_worker.py:955] Free memory on device (78.84/79.25 GiB) on startup. Desired GPU memory utilization is "
      "(0.92, "
      "72.91 GiB). Actual usage is 15.26 GiB for consumed memory (weights + non-torch), 1.44 GiB for peak activation, "
      "and "
      "0.23 GiB for CUDAGraph memory.\n"
      "[kv_cache_utils.py:2464] GPU KV cache size: 460,496 tokens, Maximum concurrency for 131,072 tokens per request: "
      "3.51x\n"
      "[model_runner.py:407] Model loading took 15.0 GiB memory and 5.420225 seconds\n"
      "[gpu_worker.py:381] Initial free memory 10.04 GiB, reserved 12.0 GiB memory for KV Cache as specified by "
      "kv_cache_memory_bytes config and skipped memory profiling.\n");
  EXPECT_THAT(pool.weights_bytes, IsSize(15.0, kGiB)) << "\"15.0\" is as exact as \"15.01\"";
  EXPECT_FALSE(pool.non_torch_bytes);
  EXPECT_THAT(pool.activation_bytes, IsSize(1.44, kGiB));
  EXPECT_THAT(pool.cuda_graph_bytes, IsSize(0.23, kGiB));
  EXPECT_EQ(pool.tokens, 460496);
  EXPECT_DOUBLE_EQ(*pool.max_concurrency, 3.51);
  EXPECT_THAT(pool.pool_bytes, IsSize(12.0, kGiB));
}

TEST(EngineLogTest, VllmHybridsSayThatTheirLayersDiffer) {
  const EnginePool pool = ReadLines(
      "INFO [config.py:439] Setting attention block size to 1,584 tokens to ensure that attention page size is >= "
      "mamba "
      "page size.\n");
  EXPECT_TRUE(pool.hybrid);
  EXPECT_EQ(pool.block_tokens, 1584);
  EXPECT_TRUE(ReadLines("Padding mamba page size by 0.76% to ensure that mamba page size is").hybrid);
  EXPECT_TRUE(
      ReadLines("WARNING [kv_cache_utils.py:1152] Add 3 padding layers, may waste at most 10.00% KV cache").hybrid);
}

TEST(EngineLogTest, OfSeveralRanksTheLeastPoolAndTheLargestRestCount) {
  const EnginePool pool = ReadLines(
      "(Worker_TP0 pid=1) INFO [gpu_worker.py:298] Available KV cache memory: 40.39 GiB\n"
      "(Worker_TP1 pid=2) INFO [gpu_worker.py:298] Available KV cache memory: 40.12 GiB\n"
      "(Worker_TP0 pid=1) INFO Model loading took 58.90 GiB and 3 seconds\n"
      "(Worker_TP1 pid=2) INFO Model loading took 59.17 GiB and 3 seconds\n"
      "(Worker_TP2 pid=2) INFO Model loading took 58.94 GiB and 3 seconds\n"
      "INFO Engine 000: vllm cache_config_info with initialization after num_gpu_blocks is: 900\n"
      "INFO Engine 001: vllm cache_config_info with initialization after num_gpu_blocks is: 880\n");
  EXPECT_THAT(pool.pool_bytes, IsSize(40.12, kGiB));
  EXPECT_THAT(pool.weights_bytes, IsSize(59.17, kGiB));
  EXPECT_EQ(pool.blocks, 880);
}

TEST(EngineLogTest, ANewStartBeginsAnew) {
  const EnginePool pool = ReadLines(
      "Initializing a V1 LLM engine (v0.19.1) with config: model='a', max_seq_len=8192,\n"
      "Available KV cache memory: 30.00 GiB\nGPU KV cache size: 1,000 tokens\n"
      "Initializing a V1 LLM engine (v0.21.0rc2) with config: model='a', max_seq_len=4096,\n"
      "Available KV cache memory: 40.00 GiB\n");
  EXPECT_EQ(pool.version, (EngineVersion{0, 21}));
  EXPECT_EQ(pool.max_model_len, 4096);
  EXPECT_THAT(pool.pool_bytes, IsSize(40.0, kGiB));
  EXPECT_FALSE(pool.tokens);
}

TEST(EngineLogTest, TheMeaningOfTokensComesFromTheVersion) {
  const auto meaning = [](const std::string& version) {
    return ReadLines("Initializing a V1 LLM engine (v" + version + ") with config\nGPU KV cache size: 10 tokens")
        .token_meaning;
  };
  EXPECT_EQ(meaning("0.8.5"), TokenMeaning::kBlocksPerGroup);
  EXPECT_EQ(meaning("0.20.2"), TokenMeaning::kBlocksPerGroup);
  EXPECT_EQ(meaning("0.21.0"), TokenMeaning::kConcurrency);
  EXPECT_EQ(meaning("1.0"), TokenMeaning::kConcurrency);
  EXPECT_EQ(meaning("0.1.dev11+g5f55db35e"), TokenMeaning::kUnknown);
}

// Engines log requests. Words of a user count for nothing.
TEST(EngineLogTest, QuotedTextIsNotTheEnginesWord) {
  const EnginePool pool = ReadLines(
      "Available KV cache memory: 30.00 GiB\n"
      "INFO Received request cmpl-1: prompt: 'Available KV cache memory: 1.00 GiB', params: SamplingParams(n=1)\n"
      "INFO Received request cmpl-2: prompt: \"Initializing a V1 LLM engine (v0.30.0)\"\n"
      "[t] Receive: obj=GenerateReqInput(text='KV Cache is allocated. #tokens: 5, K size: 1.00 GB, V size: 1.00 "
      "GB')\n");
  EXPECT_EQ(pool.engine, EngineKind::kVllm);
  EXPECT_FALSE(pool.version);
  EXPECT_THAT(pool.pool_bytes, IsSize(30.0, kGiB));
  EXPECT_FALSE(pool.tokens);
}

TEST(EngineLogTest, Sglang) {
  const EnginePool pool = ReadFile("sglang_2026_qwen3.8-27b.log");
  EXPECT_EQ(pool.engine, EngineKind::kSglang);
  EXPECT_EQ(pool.token_meaning, TokenMeaning::kFullAttention);
  EXPECT_EQ(pool.tokens, 535124);
  EXPECT_EQ(pool.max_model_len, 2048);
  EXPECT_NEAR(static_cast<double>(pool.pool_bytes->bytes), 32.66 * kGiB, 2);
  EXPECT_EQ(pool.pool_bytes->tolerance_bytes, 2 * (kGiB / 200 + 1));
  EXPECT_THAT(pool.weights_bytes, IsSize(51.86, kGiB));
  EXPECT_THAT(pool.cuda_graph_bytes, IsSize(1.38, kGiB));
}

TEST(EngineLogTest, SglangOtherPools) {
  const EnginePool mla = ReadLines(
      "[2025-08-13 14:27:06 TP0] KV Cache is allocated. #tokens: 314304, KV size: 29.32 GB\n"
      "[2025-08-13 14:27:06 TP1] KV Cache is allocated. #tokens: 314304, KV size: 29.32 GB\n");
  EXPECT_THAT(mla.pool_bytes, IsSize(29.32, kGiB)) << "one rank's";
  EXPECT_EQ(mla.tokens, 314304);

  const EnginePool window = ReadLines(
      "KV Cache is allocated. dtype: torch.bfloat16, #tokens: 171008, K size: 9.00 GB, V size: 9.00 GB\n"
      "KV Cache is allocated. dtype: torch.bfloat16, #tokens: 213761, K size: 9.34 GB, V size: 9.35 GB\n"
      "SWAKVPool mem usage: 36.69 GB, swa size: 171008, full size: 213761\n");
  EXPECT_TRUE(window.hybrid);
  EXPECT_EQ(window.tokens, 213761);
  EXPECT_EQ(window.window_tokens, 171008);
  EXPECT_THAT(window.pool_bytes, IsSize(36.69, kGiB));

  const EnginePool mamba = ReadLines(
      "[2026-01-01 00:00:00] server_args=ServerArgs(model_path='x', page_size=64, tp_size=1)\n"
      "[2026-01-01 00:01:01] Mamba Cache is allocated. max_mamba_cache_size: 22, conv_state size: 0.06GB, ssm_state "
      "size: "
      "3.23GB intermediate_ssm_state_cache size: 2.25GB\n");
  EXPECT_TRUE(mamba.hybrid);
  EXPECT_EQ(mamba.block_tokens, 64);
  EXPECT_EQ(mamba.state_slots, 22);
  EXPECT_NEAR(static_cast<double>(mamba.state_bytes->bytes), 3.29 * kGiB, 2);
}

TEST(EngineLogTest, TensorRtLlm) {
  const EnginePool pool = ReadFile("tensorrt_llm_llama-3.1-8b.log");
  EXPECT_EQ(pool.engine, EngineKind::kTensorRtLlm);
  EXPECT_EQ(pool.blocks, 8219);
  EXPECT_EQ(pool.block_tokens, 32);
  EXPECT_EQ(pool.tokens, 8219 * 32);
  EXPECT_THAT(pool.pool_bytes, IsSize(16.05, kGiB));

  const EnginePool last = ReadLines(
      "[TensorRT-LLM][INFO] Number of tokens per block: 32.\n"
      "[TensorRT-LLM][INFO] [MemUsageChange] Allocated 0.56 GiB for max tokens in paged KV cache (8224).\n"
      "[12/20/2025-04:21:10] [TRT-LLM] [I] max_seq_len=8224, max_num_requests=64, max_num_tokens=8192\n"
      "[TensorRT-LLM][INFO] [MemUsageChange] Allocated 8.68 GiB for max tokens in paged KV cache (127488).\n");
  EXPECT_EQ(last.tokens, 127488) << "the first one only measured the model";
  EXPECT_EQ(last.max_model_len, 8224);
}

TEST(EngineLogTest, LlamaCpp) {
  const EnginePool pool = ReadFile("llama.cpp_qwen3.5-9b.log");
  EXPECT_EQ(pool.engine, EngineKind::kLlamaCpp);
  EXPECT_EQ(pool.context_tokens, 262144);
  EXPECT_EQ(pool.max_model_len, 262144);
  EXPECT_EQ(pool.batch_tokens, 512);
  EXPECT_EQ(pool.ubatch_tokens, 512);
  EXPECT_EQ(pool.tokens, 262144);
  EXPECT_EQ(pool.pool_bytes->bytes, 4352 * kMiB);
  EXPECT_LE(pool.pool_bytes->tolerance_bytes, kMiB / 200 + 1);
  EXPECT_TRUE(pool.hybrid);
  EXPECT_EQ(pool.state_slots, 1);
  EXPECT_THAT(pool.state_bytes, IsSize(50.25, kMiB));
  EXPECT_THAT(pool.weights_bytes, IsSize(5133.75, kMiB)) << "of the device, not of the host";
  EXPECT_THAT(pool.activation_bytes, IsSize(832.60, kMiB));
  ASSERT_EQ(pool.caches.size(), 2u);
  EXPECT_EQ(pool.caches[0].layers, 8);
  ASSERT_EQ(pool.buffers.size(), 7u);
  EXPECT_EQ(pool.buffers[0].device, "CPU_Mapped");
  EXPECT_EQ(pool.buffers[2].kind, EngineBuffer::Kind::kOutput);
  EXPECT_EQ(pool.buffers[2].device, "CPU");
  EXPECT_EQ(pool.buffers[3].kind, EngineBuffer::Kind::kKv);
  EXPECT_EQ(pool.buffers[3].device, "MTL0");
}

TEST(EngineLogTest, LlamaCppWindowsStreamsAndSeveralDevices) {
  const EnginePool pool = ReadLines(
      "build: 6123 (79c1160b0) with cc (Debian) for x86_64-linux-gnu\n"
      "load_tensors:        CUDA0 model buffer size =  3000.00 MiB\n"
      "load_tensors:        CUDA1 model buffer size =  3500.00 MiB\n"
      "llama_kv_cache_iswa: creating non-SWA KV cache, size = 2048 cells\n"
      "llama_kv_cache: size =  384.00 MiB (  2048 cells,  12 layers,  8/8 seqs), K (f16):  192.00 MiB, V (f16):  "
      "192.00 MiB\n"
      "llama_kv_cache_iswa: creating     SWA KV cache, size = 512 cells\n"
      "llama_kv_cache: size =   96.00 MiB (   512 cells,  12 layers,  8/8 seqs), K (f16):   48.00 MiB, V (f16):   "
      "48.00 MiB\n");
  EXPECT_EQ(pool.tokens, 16384);
  EXPECT_TRUE(pool.hybrid);
  EXPECT_EQ(pool.pool_bytes->bytes, 480 * kMiB);
  EXPECT_THAT(pool.weights_bytes, IsSize(3500.0, kMiB)) << "of the worst device";

  const EnginePool old = ReadLines(
      "llama_new_context_with_model: n_ctx      = 8192\n"
      "llama_new_context_with_model: KV self size  = 1024.00 MiB, K (f16):  512.00 MiB, V (f16):  512.00 MiB\n");
  EXPECT_EQ(old.tokens, 8192);
  EXPECT_EQ(old.pool_bytes->bytes, 1024 * kMiB);
}

TEST(EngineLogTest, NumbersOutOfRangeAreNotRead) {
  const EnginePool pool = ReadLines(
      "Available KV cache memory: 99999999999999999999 GiB\n"
      "Available KV cache memory: 1e5 GiB\n"
      "Available KV cache memory: . GiB\n"
      "GPU KV cache size: 99,999,999,999,999,999,999 tokens\n"
      "GPU KV cache size: -5 tokens\n"
      "GPU KV cache size: 12.5 tokens\n"
      "# GPU blocks: 18446744073709551616, # CPU blocks: 1\n"
      "Maximum concurrency for 0 tokens per request: infx\n"
      "llama_kv_cache: size = 1.00 MiB (1125899906842624 cells, 1 layers, 1/1125899906842624 seqs), K\n");
  EXPECT_FALSE(pool.tokens && *pool.tokens > TextScanner::kMaxCount);
  EXPECT_FALSE(pool.blocks);
  EXPECT_FALSE(pool.max_concurrency);
}

TEST(EngineLogTest, ListsAreBounded) {
  EngineLogReader reader;
  for (int i = 0; i < 10'000; ++i) {
    reader.Line("load_tensors: CUDA" + std::to_string(i) + " model buffer size = 1.00 MiB");
    reader.Line("llama_kv_cache: size = 1.00 MiB (1 cells, 1 layers, 1/1 seqs), K");
  }
  EXPECT_EQ(reader.pool().buffers.size(), EngineLogReader::kMaxBuffers);
  EXPECT_EQ(reader.pool().caches.size(), EngineLogReader::kMaxCaches);
}

TEST(EngineLogTest, AStreamMayHoldAnything) {
  std::istringstream nothing("hello\nworld");
  EXPECT_EQ(ReadEngineLog(nothing).status().code(), absl::StatusCode::kFailedPrecondition);
  // A line beyond all limits is cut, and the next is read whole.
  std::istringstream log(std::string(300'000, 'x') + "Available KV cache memory: 1.00 GiB\n" +
                         "Available KV cache memory: 2.00 GiB");
  const absl::StatusOr<EnginePool> pool = ReadEngineLog(log);
  ASSERT_TRUE(pool.ok()) << pool.status();
  EXPECT_EQ(pool->pool_bytes->bytes, 2 * kGiB);
}

// Any bytes, and any log with bytes changed, cut and doubled, are read without a fault (sanitizers watch).
TEST(EngineLogTest, TornLogsDoNoHarm) {
  std::string all;
  for (const char* name : {"vllm_0.32_cpu.log", "vllm_2025-08_llama-3.2-1b.log", "sglang_2026_qwen3.8-27b.log",
                           "tensorrt_llm_llama-3.1-8b.log", "llama.cpp_qwen3.5-9b.log"}) {
    std::ifstream file(std::string(VRAMGATE_TEST_DATA "/engines/") + name);
    all.append(std::istreambuf_iterator<char>(file), {});
  }
  constexpr uint32_t kSeed = 20261122;
  std::mt19937 random(kSeed);
  for (int round = 0; round < 300; ++round) {
    std::string torn = all;
    for (int edit = 0; edit < 60; ++edit) {
      const size_t at = random() % torn.size();
      switch (random() % 4) {
        case 0:
          torn[at] = static_cast<char>(random());
          break;
        case 1:
          torn.erase(at, random() % 20);
          break;
        case 2:
          torn.insert(at, torn.substr(random() % torn.size(), random() % 40));
          break;
        default:
          torn[at] = static_cast<char>('0' + random() % 10);
      }
    }
    const EnginePool pool = ReadLines(torn);
    SCOPED_TRACE(testing::Message() << "seed " << kSeed << " round " << round);
    EXPECT_GE(pool.tokens.value_or(0), 0);
    EXPECT_GE(pool.pool_bytes.value_or(PrintedBytes{}).bytes, 0);
    EXPECT_GE(pool.state_bytes.value_or(PrintedBytes{}).bytes, 0);
  }
}

}  // namespace
}  // namespace vramgate
