// Which engines are watched, and what is predicted of their pools: by prices alone.
#include "admission/server/engines.h"

#include <gtest/gtest.h>

#include "tests/admission/server/parts.h"

namespace vramgate {
namespace {

std::string With(std::string_view keys) {
  return absl::StrReplaceAll(kTwoDevices,
                             {{"{name: tp, devices: [\"0\", \"1\"], kv_pool: 1GiB",
                               absl::StrCat("{name: tp, devices: [\"0\", \"1\"], kv_pool: 1GiB", std::string(keys))}});
}

TEST(EnginesTest, OnlyThoseThatAreNamedAreWatched) {
  const Parts none;
  EXPECT_TRUE(EnginesToWatch(none.loaded, *none.models, none.controller->fleet()).empty());

  const Parts parts(With(", engine_metrics: \"http://127.0.0.1:8000/metrics\", engine_log: logs/vllm.log"));
  const std::vector<WatchedEngine> engines = EnginesToWatch(parts.loaded, *parts.models, parts.controller->fleet());
  ASSERT_EQ(engines.size(), 1u);
  EXPECT_EQ(engines[0].model, "m");
  EXPECT_EQ(engines[0].instance, "tp");
  EXPECT_EQ(parts.controller->GetAccount(engines[0].pool).name, "pool/m/tp");
  EXPECT_EQ(engines[0].metrics->port, "8000");
  EXPECT_EQ(engines[0].log_path, parts.loaded.Resolve("logs/vllm.log"));
  EXPECT_EQ(engines[0].poll_interval, absl::Seconds(10));
  EXPECT_FALSE(engines[0].version);
}

TEST(EnginesTest, APoolIsPredictedByPrices) {
  const Parts parts(absl::StrReplaceAll(kTwoDevices, {{"block_tokens: 1\n", "block_tokens: 16\n"}}));
  const ServedModel& model = parts.models->models()[0];
  const PredictedPool pool = PredictPool(model, model.instances[1]);
  EXPECT_EQ(pool.pool_bytes, kGiB);
  EXPECT_EQ(pool.block_tokens, 16);
  EXPECT_EQ(pool.bytes_per_block, 16 * kMiB);
  EXPECT_EQ(pool.bytes_per_token, kMiB);
  EXPECT_EQ(pool.max_model_len, 1000);
  EXPECT_EQ(pool.bytes_per_longest_request, 63 * 16 * kMiB);
  EXPECT_TRUE(pool.uniform);
}

}  // namespace
}  // namespace vramgate
