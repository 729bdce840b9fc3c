#include "admission/estimator/kept_bytes.h"

#include "admission/check.h"
#include "admission/estimator/weights.h"

namespace vramgate {

Wide KeptBytes(const Kept& k, const PoolOptions& o, const EngineProfile& profile) {
  const Wide wide = ActivationElementBytes(o.model_dtype);
  const bool fp8 = o.kv_dtype == DType::kFp8 || o.kv_dtype == DType::kFp8DsMla;
  switch (k.kind) {
    case KeptKind::kTokens:
    case KeptKind::kWindow:
    case KeptKind::kChunk:
    case KeptKind::kEncoder: {
      const DType dtype = o.kv_dtype == DType::kFp8DsMla ? DType::kFp8 : o.kv_dtype;
      return CeilDivide(k.heads, o.tensor_parallel) *
             (CacheRowBytes(dtype, k.key_dim) + CacheRowBytes(dtype, k.value_dim));
    }
    case KeptKind::kLatent: {
      if (o.kv_dtype != DType::kFp8DsMla) return CacheRowBytes(o.kv_dtype, k.width);
      const Wide plain = k.width - k.rope;  // in fp8, an fp32 scale for each 128; the rotary part stays wide
      return plain + CeilDivide(plain, 128) * 4 + Wide{k.rope} * wide;
    }
    case KeptKind::kIndex:
      return k.width + CeilDivide(k.width, 128) * 4;
    case KeptKind::kCompressed:
    case KeptKind::kRing:
      // DeepSeek-V4 in fp8: the rotary part at 16 bits, one-byte scales filled up to 8 bytes.
      return fp8 ? Wide{k.width - k.rope} + Wide{k.rope} * 2 + 8 : CacheRowBytes(o.kv_dtype, k.width);
    case KeptKind::kState: {
      Wide channels = 0;
      for (const Axis& axis : k.conv) channels += axis.OnDevice(o.tensor_parallel);
      const Wide conv = profile.state_dtype ? DTypeBytes(*profile.state_dtype) : wide;
      const DType state = profile.state_dtype.value_or(
          k.wide_state ? DType::kFp32 : k.state_dtype.value_or(wide == 4 ? DType::kFp32 : DType::kBf16));
      return channels * k.taps * conv + k.state.OnDevice(o.tensor_parallel) * DTypeBytes(state);
    }
  }
  CHECK(false, "KeptBytes: a kind outside of the enum");
}

}  // namespace vramgate
