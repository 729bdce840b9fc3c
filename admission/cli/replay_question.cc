#include "admission/cli/replay_question.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "admission/check.h"
#include "admission/cli/flag_reader.h"
#include "admission/server/config.h"
#include "admission/server/model_table.h"
#include "admission/units.h"

namespace vramgate {
namespace {

constexpr int64_t kDefaultMaxTokens = 1024;
constexpr int64_t kMaxPoolTokens = int64_t{1} << 36;
constexpr int64_t kAlone = int64_t{1} << 40;  // no model's length bounds a request

std::optional<absl::Duration> ReadDuration(FlagReader& read, const char* flag, const std::string& text) {
  if (text.empty()) return std::nullopt;
  const absl::StatusOr<absl::Duration> value = ParseDuration(text);
  if (value.ok() && *value <= absl::Hours(24 * 365)) return *value;
  return read.Fail(flag, value.ok() ? "more than a year" : std::string(value.status().message()));
}

void ReadEngine(const ReplayFlags& f, FlagReader& read, EngineOptions& engine) {
  engine.step_tokens = read.Count("--step-tokens", f.step_tokens, 1 << 24).value_or(engine.step_tokens);
  engine.max_sequences = read.Count("--max-sequences", f.max_sequences, 1 << 20).value_or(engine.max_sequences);
  engine.step_base = ReadDuration(read, "--step-base", f.step_base).value_or(engine.step_base);
  engine.step_token = ReadDuration(read, "--step-token", f.step_token).value_or(engine.step_token);
  if (engine.step_base <= absl::ZeroDuration()) read.Fail("--step-base", "must be longer than 0");
  if (engine.step_tokens < engine.max_sequences)
    read.Fail("--step-tokens", "must not be below --max-sequences: a step decodes a token of every sequence");
}

// Nominal: one model, one instance, one device, a queue without end.
void MakePlain(const ReplayFlags& f, FlagReader& read, const Trace& trace, ReplayQuestion& q) {
  ReplayInput& input = q.input;
  const int64_t block_tokens = read.Count("--block-tokens", f.block_tokens, 1 << 16).value_or(16);
  const int64_t bytes_per_token = input.engine.curve.block_bytes() / input.engine.curve.block_tokens();
  input.engine.curve = KvCurve::Linear(bytes_per_token, block_tokens);
  const int64_t most = read.Count("--max-tokens", f.max_tokens, Trace::kMaxTokens).value_or(kDefaultMaxTokens);
  if (f.kv_tokens.empty()) read.Fail("--kv-tokens", "missing: say how large the KV pool is, or name a --config");
  if (!read.status().ok()) return;
  input.jobs = JobsOf(trace, q.speed, most, kAlone);
  for (const Job& job : input.jobs) {
    Costs costs{};
    costs[0].kv_bytes = input.engine.curve.bytes(int64_t{job.prompt_tokens} + job.max_tokens);
    input.costs.push_back(costs);
  }
  input.gate.devices.push_back({.id = "0"});
  input.gate.models.push_back({"model", {{.name = "0", .devices = {0}}}});
  input.gate.queue.max_requests = input.gate.queue.max_tokens = kUnlimitedBytes;
  input.gate.queue.max_wait = absl::InfiniteDuration();
  input.gate.leases.max = std::ssize(input.jobs) + 1;
}

// What a sequence takes in the pool of one rank, up to the longest of the trace.
absl::StatusOr<KvCurve> CurveOf(const CostTable& table, int64_t most_tokens) {
  const int64_t block_tokens = table.layout().smallest_block();
  std::vector<int64_t> by_blocks;
  bool linear = true;
  for (int64_t blocks = 0; (blocks - 1) * block_tokens < most_tokens; ++blocks) {
    const int64_t bytes = table.KvBytes(blocks * block_tokens, Phase::kPeak);
    by_blocks.push_back(bytes);
    linear = linear && bytes == blocks * by_blocks[std::min<size_t>(1, by_blocks.size() - 1)];
  }
  if (by_blocks.back() <= 0 || by_blocks.back() == kUnlimitedBytes)
    return absl::InvalidArgumentError("its requests take no KV that can be counted");
  if (linear && by_blocks[1] % block_tokens == 0) return KvCurve::Linear(by_blocks[1] / block_tokens, block_tokens);
  return KvCurve::Table(std::move(by_blocks), block_tokens);
}

// A real device's size is known to serve alone: here it has what its models take.
std::vector<int64_t> DeviceBudgets(const LoadedConfig& loaded, const ModelTable& models, bool* real) {
  std::vector<int64_t> budgets;
  for (const v1::Device& device : loaded.config.devices()) {
    if (device.has_simulated()) {
      budgets.push_back(device.simulated().total().value() - device.headroom().value());
      continue;
    }
    *real = true;
    int64_t bytes = 0;
    for (const ServedModel& model : models.models()) {
      for (const ServedModel::Instance& instance : model.instances) {
        if (std::count(instance.devices.begin(), instance.devices.end(), device.id()) > 0)
          bytes += instance.fixed_bytes + instance.pool_bytes.value_or(0);
      }
    }
    budgets.push_back(bytes);
  }
  return budgets;
}

// What is left on the tightest of the instance's devices.
int64_t DynamicPool(const GateConfig& gate, const InstanceSpec& instance) {
  int64_t least = kUnlimitedBytes;
  for (const int device : instance.devices) {
    int64_t left = gate.devices[static_cast<size_t>(device)].capacity_bytes;
    for (const ModelSpec& model : gate.models) {
      for (const InstanceSpec& other : model.instances) {
        if (std::count(other.devices.begin(), other.devices.end(), device) > 0)
          left -= other.fixed_bytes + other.pool_bytes.value_or(0);
      }
    }
    least = std::min(least, left);
  }
  return least;
}

InstanceSpec& TheInstance(ReplayInput& input) {
  size_t index = Index(input.instance);
  for (ModelSpec& model : input.gate.models) {
    if (index < model.instances.size()) return model.instances[index];
    index -= model.instances.size();
  }
  CHECK(false, "replay: the instance is not in the config");
  return input.gate.models.front().instances.front();
}

absl::Status Prices(const ReplayFlags& f, const Trace& trace, const ServedModel& model, int price_class,
                    FlagReader& read, ReplayQuestion& q) {
  const int64_t by_default = model.default_max_output_tokens.value_or(model.max_model_len);
  const int64_t most = read.Count("--max-tokens", f.max_tokens, Trace::kMaxTokens).value_or(by_default);
  q.input.jobs = JobsOf(trace, q.speed, most, model.max_model_len);
  int64_t longest = 1;
  for (const Job& job : q.input.jobs) {
    q.input.costs.push_back(model.Price(job.prompt_tokens, job.max_tokens, 1));
    if (job.max_tokens > 0) longest = std::max<int64_t>(longest, int64_t{job.prompt_tokens} + job.max_tokens);
  }
  absl::StatusOr<KvCurve> curve = CurveOf(model.classes[static_cast<size_t>(price_class)], longest);
  if (!curve.ok()) return absl::InvalidArgumentError(absl::StrCat(model.name, ": ", curve.status().message()));
  q.input.engine.curve = *std::move(curve);
  return absl::OkStatus();
}

absl::Status MakeFromConfig(const ReplayFlags& f, FlagReader& read, const Trace& trace, ReplayQuestion& q) {
  const absl::StatusOr<LoadedConfig> loaded = LoadConfig(f.config);
  if (!loaded.ok()) return loaded.status();
  q.warnings = loaded->warnings;
  const absl::StatusOr<ModelTable> models = ModelTable::Load(*loaded);
  if (!models.ok()) return models.status();
  const ServedModel* model = f.model.empty() ? &models->models().front() : models->Find(f.model);
  if (model == nullptr) return absl::InvalidArgumentError(absl::StrCat("--model: ", f.model, " is not in ", f.config));
  if (f.model.empty() && models->models().size() > 1)
    return absl::InvalidArgumentError(absl::StrCat("--model: missing: ", f.config, " has several"));
  const ServedModel::Instance* instance =
      f.instance.empty() ? &model->instances.front() : model->FindInstance(f.instance);
  if (instance == nullptr)
    return absl::InvalidArgumentError(absl::StrCat("--instance: ", model->name, " has no ", f.instance));
  if (!f.block_tokens.empty()) read.Fail("--block-tokens", "cannot go with --config, whose engine has its own");
  ReplayInput& input = q.input;
  bool real = false;
  const std::vector<int64_t> budgets = DeviceBudgets(*loaded, *models, &real);
  input.gate = MakeGateConfig(loaded->config, *models, budgets);
  input.model = model->id;
  input.instance = instance->id;
  input.pool = absl::StrCat("pool/", model->name, "/", instance->name);
  if (absl::Status status = Prices(f, trace, *model, instance->price_class, read, q); !status.ok()) return status;
  if (!f.kv_tokens.empty()) return absl::OkStatus();
  const InstanceSpec& spec = TheInstance(input);
  if (real && !spec.pool_bytes) {
    return absl::InvalidArgumentError(
        "--kv-tokens: missing: the pool is dynamic on a device whose size only serve can ask for");
  }
  if (!real) {
    if (absl::Status fits = CheckFits(*loaded, *models, budgets); !fits.ok()) return fits;
  }
  input.engine.pool_bytes = spec.pool_bytes ? *spec.pool_bytes : DynamicPool(input.gate, spec);
  if (input.engine.pool_bytes > 0) return absl::OkStatus();
  return absl::InvalidArgumentError("--kv-tokens: missing: the config leaves nothing for KV");
}

// A policy that has a risk is run at each that is asked for.
void AddPolicy(const PolicyKind& kind, const std::vector<double>& risks, ReplayQuestion& q) {
  for (const double risk : risks) {
    q.policies.push_back({&kind, risk});
    if (!kind.has_risk()) return;
  }
}

absl::Status ReadPolicies(const ReplayFlags& f, ReplayQuestion& q) {
  if (f.compare && !f.policies.empty())
    return absl::InvalidArgumentError("--policy: cannot go with --compare, which runs all of them");
  std::vector<double> risks;
  for (const std::string& text : f.risks) {
    double risk = 0;
    if (!absl::SimpleAtod(text, &risk) || !(risk >= kLeastRisk && risk <= kMostRisk)) {
      return absl::InvalidArgumentError(
          absl::StrFormat("--risk: \"%s\" is no part of windows from %g to %g", text, kLeastRisk, kMostRisk));
    }
    risks.push_back(risk);
  }
  if (risks.empty() && f.compare) risks = {1e-2, 1e-3};
  if (risks.empty()) risks = {1e-3};
  if (f.compare) {
    for (const PolicyKind& kind : Policies()) AddPolicy(kind, risks, q);
  }
  for (const std::string& name : f.policies) {
    const PolicyKind* kind = FindPolicy(name);
    if (kind == nullptr)
      return absl::InvalidArgumentError(absl::StrCat("--policy: \"", name, "\" is none of ", PolicyNames()));
    AddPolicy(*kind, risks, q);
  }
  if (q.policies.empty()) q.policies.push_back({FindPolicy("worst_case")});
  return absl::OkStatus();
}

}  // namespace

std::vector<Flag> FlagsOf(ReplayFlags& f) {
  return {
      {.names = "trace",
       .target = &f.trace,
       .type = "TRACE",
       .help = "a CSV (arrival_s,prompt_tokens,output_tokens[,tenant]) or an access log",
       .required = true},
      {"--config", &f.config, "FILE", "replay in front of this config's model, pool and queue"},
      {"--model", &f.model, "NAME", "which of the config's models (default: its only one)"},
      {"--instance", &f.instance, "NAME", "which of the model's instances (default: the first)"},
      {"--kv-tokens", &f.kv_tokens, "N", "KV tokens of the pool (default: the config's)"},
      {"--max-tokens", &f.max_tokens, "N", "max_tokens of every request (default: the config's, or 1024)"},
      {"--speed", &f.speed, "X", "arrivals come X times as fast (default: 1)"},
      {"--seed", &f.seed, "N", "of policies that draw (default: 1)"},
      {"--first", &f.first, "N", "only the first N requests"},
      {.names = "--order",
       .target = &f.order,
       .type = "ORDER",
       .help = "backfill (default) or fcfs: nobody passes a request that waits",
       .choices = {"backfill", "fcfs"}},
      {"--policy", &f.policies, "NAME", "worst_case (default), or another; again for several"},
      {"--compare", &f.compare, "", "run every policy"},
      {"--risk", &f.risks, "R", "statistical: windows with a revocation, of all (default: 0.001); again for several"},
      {"--max-queue", &f.max_queue, "N", "requests that may wait (default: the config's, or no limit)"},
      {"--max-wait", &f.max_wait, "DURATION", "how long one may wait (default: the config's, or no limit)"},
      {"--step-base", &f.step_base, "DURATION", "of a step, whatever it computes (default: 8ms)"},
      {"--step-token", &f.step_token, "DURATION", "for each token of a step (default: 30us)"},
      {"--step-tokens", &f.step_tokens, "N", "most tokens of a step (default: 8192)"},
      {"--max-sequences", &f.max_sequences, "N", "most sequences that run at once (default: 1024)"},
      {"--block-tokens", &f.block_tokens, "N", "tokens of a KV block (default: the config's, or 16)"},
      {"--ledger", &f.ledger, "FILE", "write the ledger; with several policies FILE.POLICY each"},
      {"--plot", &f.plot, "FILE.svg", "draw KV, queue and waits over time"},
      {"--sweep", &f.sweep, "", "find the smallest pool, the longest queue and the least risk that meet --target-wait"},
      {"--target-wait", &f.target_wait, "S", "seconds that at most 1 % may wait longer"},
      {.names = "--format",
       .target = &f.format,
       .type = "FORMAT",
       .help = "text or json (default: text)",
       .choices = {"text", "json"}},
  };
}

void ResizePool(ReplayInput& input, int64_t kv_tokens) {
  const double bytes = input.engine.curve.bytes_per_token() * static_cast<double>(kv_tokens);
  input.engine.pool_bytes = std::llround(std::min(bytes, 1e18));
  InstanceSpec& instance = TheInstance(input);
  instance.pool_bytes = input.engine.pool_bytes;
  for (const int device : instance.devices) {
    int64_t used = 0;
    for (const ModelSpec& model : input.gate.models) {
      for (const InstanceSpec& other : model.instances) {
        if (std::count(other.devices.begin(), other.devices.end(), device) > 0)
          used += other.fixed_bytes + other.pool_bytes.value_or(0);
      }
    }
    DeviceSpec& spec = input.gate.devices[static_cast<size_t>(device)];
    spec.capacity_bytes = std::max(spec.capacity_bytes, used);
    spec.ceiling_bytes = std::max(spec.ceiling_bytes, used);
  }
}

absl::StatusOr<ReplayQuestion> ReadReplayQuestion(const ReplayFlags& f) {
  ReplayQuestion q;
  FlagReader read;
  q.speed = read.Number("--speed", f.speed, 1e-6, 1e6).value_or(1);
  q.input.seed = static_cast<uint64_t>(read.Count("--seed", f.seed, int64_t{1} << 62, 0).value_or(1));
  q.input.fcfs = f.order == "fcfs";
  const int64_t first = read.Count("--first", f.first, Trace::kMaxRows + 1).value_or(Trace::kMaxRows + 1);
  const std::optional<int64_t> kv_tokens = read.Count("--kv-tokens", f.kv_tokens, kMaxPoolTokens);
  q.target_wait_s = read.Number("--target-wait", f.target_wait, 0, 1e9).value_or(-1);
  if (f.sweep != !f.target_wait.empty()) read.Fail("--target-wait", "goes with --sweep, and --sweep with it");
  if (f.sweep && (!f.plot.empty() || !f.ledger.empty()))
    read.Fail(f.plot.empty() ? "--ledger" : "--plot", "cannot go with --sweep, which is many runs");
  ReadEngine(f, read, q.input.engine);
  if (f.config.empty() && !(f.model.empty() && f.instance.empty()))
    read.Fail("--config", "missing: --model and --instance are of one");
  if (absl::Status status = ReadPolicies(f, q); !status.ok()) return status;
  if (!read.status().ok()) return read.status();
  absl::StatusOr<Trace> trace = ReadTraceFile(f.trace, first);
  if (!trace.ok()) return trace.status();
  q.skipped_lines = trace->skipped_lines;
  q.input.tenants = trace->tenants;
  if (f.config.empty()) {
    MakePlain(f, read, *trace, q);
  } else if (absl::Status status = MakeFromConfig(f, read, *trace, q); !status.ok()) {
    return status;
  }
  GateConfig::Queue& queue = q.input.gate.queue;
  queue.max_requests = read.Count("--max-queue", f.max_queue, Trace::kMaxRows, 0).value_or(queue.max_requests);
  queue.max_wait = ReadDuration(read, "--max-wait", f.max_wait).value_or(queue.max_wait);
  if (!read.status().ok()) return read.status();
  if (kv_tokens) ResizePool(q.input, *kv_tokens);
  return q;
}

}  // namespace vramgate
