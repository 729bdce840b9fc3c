// Latent attention (MLA): keys and values of all heads as one compressed vector a token, with or without an indexer.
//
//   LatentSizes latent = ReadLatent(fields);
//   AddLatentAttention(layer, hidden, latent, /*indexer=*/true);
//
// Used by the readers of families. Confined to one thread.
#pragma once

#include <cstdint>

#include "admission/estimator/decoder.h"
#include "admission/estimator/json_fields.h"

namespace vramgate {

struct LatentSizes {
  int64_t heads = 0;
  int64_t query_rank = 0;  // 0: queries are not compressed
  int64_t rank = 0;        // kv_lora_rank
  int64_t nope = 0;        // elements of a head without position
  int64_t rope = 0;        // elements with
  int64_t value = 0;
  int64_t index_heads = 0;  // 0: no indexer
  int64_t index_dim = 0;
};

LatentSizes ReadLatent(JsonFields& f);

// One vector of rank + rope elements a token, whole on every device: num_key_value_heads says nothing here. With
// `indexer`, an fp8 key of index_dim elements beside it (DeepSeek-V3.2, GLM-5).
void AddLatentAttention(Layer& layer, int64_t hidden, const LatentSizes& a, bool indexer);

}  // namespace vramgate
