#include "admission/server/config_check.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "admission/decision.h"
#include "admission/server/address.h"
#include "admission/server/gateways_check.h"
#include "admission/server/http_url.h"
#include "admission/units.h"
#include "admission/utf8.h"

namespace vramgate {
namespace {

absl::Duration ToDuration(const google::protobuf::Duration& d) {
  return absl::Seconds(d.seconds()) + absl::Nanoseconds(d.nanos());
}

class Checker {
 public:
  Checker(const v1::Config& config, const SourceMap& lines, ErrorList& errors, std::vector<std::string>& warnings)
      : config_(config), lines_(lines), errors_(errors), warnings_(warnings) {}

  void Check() {
    CheckListeners();
    for (int i = 0; i < config_.devices_size(); ++i) CheckDevice(config_.devices(i), absl::StrCat("devices[", i, "]"));
    for (int i = 0; i < config_.models_size(); ++i) CheckModel(config_.models(i), absl::StrCat("models[", i, "]"));
    CheckTrustedCost();
    CheckHttpStatus();
    if (config_.leases().max() < config_.queue().max_requests()) {
      Warn("queue.max_requests",
           absl::StrCat(config_.queue().max_requests(), " is more than leases.max (", config_.leases().max(),
                        "), which waiters count in: it is never reached"));
    }
  }

 private:
  void Fail(const std::string& path, std::string_view message) { errors_.Add(lines_.Where(path), message); }
  void Warn(const std::string& path, std::string_view message) {
    warnings_.push_back(absl::StrCat(lines_.Where(path), ": ", std::string(message)));
  }

  // A name that stands in account names, logs and metrics. An empty one was reported as missing.
  void CheckName(const std::string& name, const std::string& path, std::string_view forbidden) {
    if (name.find_first_of(forbidden) != std::string::npos) {
      Fail(path, absl::StrCat(Quoted(name), " must not hold a space, comma, quote, percent sign or backslash",
                              forbidden == kNotInPart ? ", nor a slash" : ""));
    }
  }
  static constexpr std::string_view kNotInPart = " ,\"%\\/";
  static constexpr std::string_view kNotInModel = " ,\"%\\";  // org/model is a usual name

  // One place a name: says where it stood before.
  void CheckUnique(std::map<std::string, std::string>& seen, const std::string& name, const std::string& path) {
    if (name.empty()) return;
    const auto [before, is_new] = seen.emplace(name, path);
    if (!is_new) Fail(path, absl::StrCat(Quoted(name), " is also ", before->second, ": give each its own"));
  }

  void CheckListeners() {
    std::map<std::string, std::string> seen;
    for (int i = 0; i < config_.listeners().grpc_size(); ++i) {
      CheckListener(config_.listeners().grpc(i), absl::StrCat("listeners.grpc[", i, "]"), seen);
    }
    for (int i = 0; i < config_.listeners().http_size(); ++i) {
      CheckListener(config_.listeners().http(i), absl::StrCat("listeners.http[", i, "]"), seen);
    }
    const absl::StatusOr<Address> operators = CheckAddress(config_.listeners().operator_(), "listeners.operator", seen);
    if (operators.ok() && !operators->is_unix()) {
      Fail("listeners.operator", absl::StrCat(Quoted(config_.listeners().operator_()),
                                              " must be a Unix socket, such as unix:/run/vramgate/operator.sock: "
                                              "operators are known by its mode, 0600"));
    }
    CheckPlugin(seen);
    const absl::StatusOr<Address> admin = CheckAddress(config_.listeners().admin(), "listeners.admin", seen);
    if (admin.ok() && (admin->is_unix() || !IsLoopback(*admin))) {
      Fail("listeners.admin",
           absl::StrCat(Quoted(config_.listeners().admin()),
                        " must be a loopback port, such as 127.0.0.1:9901: it asks nobody who they are"));
    }
  }

  void CheckListener(const v1::Listener& listener, const std::string& path, std::map<std::string, std::string>& seen) {
    const absl::StatusOr<Address> address = CheckAddress(listener.address(), path, seen);
    if (!address.ok()) return;
    if (!address->is_unix() && !listener.insecure()) {
      Fail(path, absl::StrCat(Quoted(listener.address()),
                              " is TCP, and there is no TLS yet: whoever reaches it is a caller. Write {address: ",
                              Quoted(listener.address()), ", insecure: true} to accept that, or use a unix: socket"));
    } else if (!address->is_unix() && !IsLoopback(*address)) {
      Warn(path, "is reached from other machines, without TLS: whoever can connect is a caller");
    } else if (address->is_unix() && listener.insecure()) {
      Warn(path, "insecure has no effect on a Unix socket");
    }
  }

  void CheckPlugin(std::map<std::string, std::string>& seen) {
    if (!config_.listeners().has_plugin()) return;
    const absl::StatusOr<Address> plugin = CheckAddress(config_.listeners().plugin(), "listeners.plugin", seen);
    if (plugin.ok() && !plugin->is_unix()) {
      Fail("listeners.plugin", absl::StrCat(Quoted(config_.listeners().plugin()),
                                            " must be a Unix socket, such as unix:/run/vramgate/plugin.sock: whoever "
                                            "connects is trusted, and known by the socket's mode"));
    }
  }

  absl::StatusOr<Address> CheckAddress(const std::string& text, const std::string& path,
                                       std::map<std::string, std::string>& seen) {
    if (text.empty() && errors_.Has(lines_.Where(path))) return absl::InvalidArgumentError("reported");
    absl::StatusOr<Address> address = ParseAddress(text);
    if (!address.ok()) {
      Fail(path, std::string(address.status().message()));
    } else if (address->is_unix() || address->port != 0) {
      CheckUnique(seen, text, path);
    }
    return address;
  }

  void CheckDevice(const v1::Device& device, const std::string& path) {
    CheckName(device.id(), path + ".id", kNotInPart);
    CheckUnique(device_ids_, device.id(), path + ".id");
    if (device.has_simulated() && device.simulated().total().value() > 0 &&
        device.headroom().value() >= device.simulated().total().value()) {
      Fail(path + ".headroom", absl::StrCat(FormatBytes(device.headroom().value()), " leaves nothing of the device's ",
                                            FormatBytes(device.simulated().total().value())));
    }
    if (ToDuration(device.stale_after()) < 2 * ToDuration(device.poll_interval())) {
      Fail(path + ".stale_after", absl::StrCat(absl::FormatDuration(ToDuration(device.stale_after())),
                                               " must be at least twice poll_interval (",
                                               absl::FormatDuration(ToDuration(device.poll_interval())),
                                               "): else readings are stale before the next one comes"));
    }
  }

  void CheckModel(const v1::Model& model, const std::string& path) {
    CheckName(model.name(), path + ".name", kNotInModel);
    CheckUnique(model_names_, model.name(), path + ".name");
    for (int i = 0; i < model.aliases_size(); ++i) {
      const std::string alias_path = absl::StrCat(path, ".aliases[", i, "]");
      if (model.aliases(i).empty() || model.aliases(i).size() > kMaxAliasBytes) {
        Fail(alias_path, absl::StrCat("an alias has 1 to ", kMaxAliasBytes, " bytes"));
      }
      CheckName(model.aliases(i), alias_path, kNotInModel);
      CheckUnique(model_names_, model.aliases(i), alias_path);
    }
    if (model.has_source() == model.has_shape()) {
      Fail(path, model.has_source()
                     ? "has both source and shape: keep one"
                     : "needs source (a Hugging Face config.json) or shape (parameters, layers, heads, hidden)");
    }
    CheckModelLengths(model, path);
    CheckAssurance(model, path);
    std::map<std::string, std::string> instance_names;
    std::set<int> device_counts;
    for (int i = 0; i < model.instances_size(); ++i) {
      const std::string instance_path = absl::StrCat(path, ".instances[", i, "]");
      CheckUnique(instance_names, model.instances(i).name(), instance_path + ".name");
      CheckInstance(model.instances(i), instance_path);
      device_counts.insert(model.instances(i).devices_size());
    }
    if (device_counts.size() > kMaxPriceClasses) {
      Fail(path + ".instances",
           absl::StrCat("run on ", device_counts.size(), " different numbers of devices (",
                        absl::StrJoin(device_counts, ", "), "); at most ", kMaxPriceClasses, " are possible"));
    }
  }

  void CheckModelLengths(const v1::Model& model, const std::string& path) {
    if (model.has_shape() && !model.has_max_model_len())
      Fail(path + ".max_model_len", "missing: a shape does not say it");
    if (model.has_default_max_output_tokens() && model.has_max_model_len() &&
        model.default_max_output_tokens() >= model.max_model_len()) {
      Fail(path + ".default_max_output_tokens",
           absl::StrCat(model.default_max_output_tokens(), " leaves no room for a prompt in max_model_len (",
                        model.max_model_len(), ")"));
    }
    if (model.has_overhead_bytes() && lines_.Has(path + ".overhead_ratio")) {
      Fail(path + ".overhead_ratio", "stands beside overhead_bytes: keep one");
    }
    if (model.has_shape() && model.activation() == v1::Model::BATCHED && !model.has_activation_bytes() &&
        !(model.shape().has_intermediate() && model.shape().has_vocab())) {
      Fail(path + ".shape", "needs intermediate and vocab for `activation: batched`, or activation_bytes beside it");
    }
    if (model.has_activation_bytes() && model.activation() != v1::Model::BATCHED) {
      Warn(path + ".activation_bytes", "has no effect without `activation: batched`");
    }
  }

  void CheckAssurance(const v1::Model& model, const std::string& path) {
    const bool counts_steps = model.assurance() == v1::Model::LOCKSTEP || model.assurance() == v1::Model::STATISTICAL;
    if (lines_.Has(path + ".risk") && model.assurance() != v1::Model::STATISTICAL) {
      Fail(path + ".risk", "is for `assurance: statistical` alone: leave it out, or write that");
    }
    if (!counts_steps && (model.steps().per_s() > 0 || model.steps().has_prompt_tokens())) {
      Warn(path + ".steps", "has no effect at `assurance: worst_case`");
    }
    if (!counts_steps) return;
    for (int i = 0; i < model.instances_size(); ++i) {
      if (model.instances(i).pool() != v1::Instance::DYNAMIC) continue;
      Fail(absl::StrCat(path, ".instances[", i, "].pool"),
           "must be preallocated where the model's assurance is above worst_case: what requests may come to use is "
           "kept apart for each pool. Write `pool: preallocated` with kv_pool, or `assurance: worst_case`");
    }
    if (model.steps().min_tokens() > model.steps().max_tokens()) {
      Fail(path + ".steps.min_tokens",
           absl::StrCat(model.steps().min_tokens(), " is more than max_tokens (", model.steps().max_tokens(), ")"));
    }
    if (model.steps().per_s() <= 0 && config_.trusted_cost_size() == 0 && !config_.listeners().has_plugin()) {
      Warn(path + ".steps.per_s",
           "is 0, and no listener in trusted_cost may report steps: everything is judged as at worst_case. Give the "
           "rate, or name the listener that the engine's plugin uses");
    }
  }

  void CheckInstance(const v1::Instance& instance, const std::string& path) {
    CheckName(instance.name(), path + ".name", kNotInPart);
    std::map<std::string, std::string> seen;
    for (int i = 0; i < instance.devices_size(); ++i) {
      const std::string device_path = absl::StrCat(path, ".devices[", i, "]");
      CheckUnique(seen, instance.devices(i), device_path);
      if (!device_ids_.contains(instance.devices(i)) && !device_ids_.empty()) {
        const auto quoted = [](std::string* out, const auto& entry) { *out += Quoted(entry.first); };
        Fail(device_path, absl::StrCat(Quoted(instance.devices(i)),
                                       " is no device; devices are: ", absl::StrJoin(device_ids_, ", ", quoted)));
      }
    }
    if (instance.pool() == v1::Instance::PREALLOCATED && !instance.has_kv_pool()) {
      Fail(path + ".kv_pool", "missing: a preallocated pool needs its size on each device; or write `pool: dynamic`");
    }
    if (instance.pool() == v1::Instance::DYNAMIC && instance.has_kv_pool()) {
      Fail(path + ".kv_pool",
           "stands beside `pool: dynamic`, which has none: leave it out, or write `pool: preallocated`");
    }
    CheckEngine(instance, path);
  }

  void CheckEngine(const v1::Instance& instance, const std::string& path) {
    for (const auto& [key, given] :
         {std::pair(".engine_metrics", instance.has_engine_metrics()), {".engine_log", instance.has_engine_log()}}) {
      if (!given || instance.pool() != v1::Instance::DYNAMIC) continue;
      Fail(path + key, "stands beside `pool: dynamic`, which has no pool to compare: write `pool: preallocated`");
    }
    if (!instance.has_engine_metrics()) return;
    if (const absl::StatusOr<HttpUrl> url = ParseHttpUrl(instance.engine_metrics()); !url.ok()) {
      Fail(path + ".engine_metrics", absl::StrCat(Quoted(instance.engine_metrics()), " ", url.status().message()));
    }
  }

  void CheckTrustedCost() {
    for (int i = 0; i < config_.trusted_cost_size(); ++i) {
      const std::string& caller = config_.trusted_cost(i);
      const auto has_it = [&](const auto& listeners) {
        return std::any_of(listeners.begin(), listeners.end(), [&](const auto& l) { return l.address() == caller; });
      };
      if (has_it(config_.listeners().grpc()) || has_it(config_.listeners().http())) continue;
      Fail(absl::StrCat("trusted_cost[", i, "]"), absl::StrCat(Quoted(caller),
                                                               " is no address of listeners.grpc or listeners.http, "
                                                               "and callers have no other identity until TLS comes"));
    }
  }

  void CheckHttpStatus() {
    std::set<std::string> reasons;
    for (int i = 0; i < kOutcomes; ++i) reasons.insert(std::string(OutcomeReason(static_cast<Outcome>(i))));
    reasons.erase("");
    const std::map<std::string, int32_t> statuses(config_.http_status().begin(),
                                                  config_.http_status().end());  // in order
    for (const auto& [reason, status] : statuses) {
      const std::string path = JoinPath("http_status", reason);
      if (!reasons.contains(reason)) {
        Fail(path, absl::StrCat("is no reason; reasons are: ", absl::StrJoin(reasons, ", ")));
      } else if (status < 400 || status > 599) {
        Fail(path, absl::StrCat(status, " is no HTTP error: 400 to 599"));
      }
    }
  }

  static constexpr size_t kMaxAliasBytes = 256;

  const v1::Config& config_;
  const SourceMap& lines_;
  ErrorList& errors_;
  std::vector<std::string>& warnings_;
  std::map<std::string, std::string> device_ids_;   // and where each stands
  std::map<std::string, std::string> model_names_;  // aliases too
};

}  // namespace

void CheckConfig(const v1::Config& config, const SourceMap& lines, ErrorList& errors,
                 std::vector<std::string>& warnings) {
  Checker(config, lines, errors, warnings).Check();
  CheckGateways(config.gateways(), lines, errors);
}

}  // namespace vramgate
