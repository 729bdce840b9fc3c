// Durations and points in time between protobuf and the core. Pure.
#pragma once

#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace vramgate {

// A malformed Duration (seconds and nanos of different signs, nanos out of range) still gives some duration.
inline absl::Duration FromProto(const google::protobuf::Duration& d) {
  return absl::Seconds(d.seconds()) + absl::Nanoseconds(d.nanos());
}

// Clamped to what a Duration may hold, +-10,000 years.
inline void ToProto(absl::Duration d, google::protobuf::Duration* out) {
  constexpr int64_t kMostSeconds = 315'576'000'000;
  const absl::Duration most = absl::Seconds(kMostSeconds);
  d = d > most ? most : (d < -most ? -most : d);
  const int64_t seconds = absl::IDivDuration(d, absl::Seconds(1), &d);
  out->set_seconds(seconds);
  out->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(d)));
}

inline void ToProto(absl::Time t, google::protobuf::Timestamp* out) {
  const int64_t seconds = absl::ToUnixSeconds(t);
  out->set_seconds(seconds);
  out->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(t - absl::FromUnixSeconds(seconds))));
}

}  // namespace vramgate
