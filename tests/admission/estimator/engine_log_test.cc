// Start-up logs of the other engines, and what no log may do to its reader.
#include "admission/estimator/engine_log.h"

#include <fstream>
#include <random>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include "admission/estimator/text_scanner.h"
#include "tests/admission/estimator/engine_log_lines.h"

namespace vramgate {
namespace {

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
