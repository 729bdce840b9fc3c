// vLLM's start-up logs: real ones from tests/data/engines, and single lines as each version words them.
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include "tests/admission/estimator/engine_log_lines.h"

namespace vramgate {
namespace {

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

}  // namespace
}  // namespace vramgate
