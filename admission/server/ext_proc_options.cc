#include "admission/server/ext_proc_options.h"

#include <algorithm>

#include "admission/server/durations.h"

namespace vramgate {
namespace {

constexpr absl::Duration kLeastMargin = absl::Milliseconds(50);
constexpr absl::Duration kMostMargin = absl::Seconds(1);

// A tenth of the gateway's timeout, within what a busy machine needs and what a short timeout can spare.
absl::Duration MarginOf(absl::Duration timeout) {
  return std::clamp(timeout / 10, std::min(timeout / 2, kLeastMargin), kMostMargin);
}

}  // namespace

ExtProcOptions ExtProcOptionsOf(const v1::Config& config) {
  const v1::ExtProc& in = config.ext_proc();
  ExtProcOptions out;
  out.finished_frees = in.end() != v1::ExtProc::LINGER;
  out.low_latency = in.low_latency();
  out.response_usage = in.response_usage();
  const absl::Duration longest = FromProto(in.max_message_timeout());
  const absl::Duration timeout = longest > absl::ZeroDuration() ? longest : FromProto(in.message_timeout());
  const absl::Duration margin = MarginOf(timeout);
  out.longest_wait = std::min(FromProto(config.queue().max_wait()), timeout - margin);
  if (longest > absl::ZeroDuration()) out.hold_timeout = out.longest_wait + margin;
  return out;
}

}  // namespace vramgate
