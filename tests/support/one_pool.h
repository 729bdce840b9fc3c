// A replay's input with one device, one pool of so many tokens, and a queue without end.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "admission/replay/replay.h"

namespace vramgate {

inline ReplayInput OnePool(std::vector<Job> jobs, std::vector<std::string> tenants, int64_t kv_tokens) {
  ReplayInput input;
  input.jobs = std::move(jobs);
  input.tenants = std::move(tenants);
  for (const Job& job : input.jobs) {
    Costs costs{};
    costs[0].kv_bytes = input.engine.curve.bytes(int64_t{job.prompt_tokens} + job.max_tokens);
    input.costs.push_back(costs);
  }
  input.engine.pool_bytes = input.engine.curve.bytes(kv_tokens);
  input.gate.devices.push_back({"0", input.engine.pool_bytes, input.engine.pool_bytes});
  input.gate.models.push_back({"model", {{.name = "0", .devices = {0}, .pool_bytes = input.engine.pool_bytes}}});
  input.gate.queue.max_requests = input.gate.queue.max_tokens = kUnlimitedBytes;
  input.gate.queue.max_wait = absl::InfiniteDuration();
  input.gate.leases.max = std::ssize(input.jobs) + 1;
  return input;
}

}  // namespace vramgate
