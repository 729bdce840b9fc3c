#include "admission/server/metrics.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "admission/server/gateway_metrics.h"
#include "admission/server/metric_family.h"
#include "prometheus/text_serializer.h"

namespace vramgate {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;
using Families = std::vector<MetricFamily>;

constexpr char kOther[] = "other";
constexpr std::string_view kDevicePrefix = "device/";
constexpr std::string_view kTenantPrefix = "tenant/";

std::string ModelName(const Snapshot& snapshot, size_t model) {
  return model < snapshot.models.size() ? snapshot.models[model].name : kOther;
}

MetricFamily Single(const char* name, const char* help, MetricType type, double value) {
  MetricFamilyBuilder family(name, help, type, {});
  prometheus::ClientMetric& metric = family.At({});
  (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  return family.Build();
}

void AddAdmissions(const Snapshot& snapshot, const Stats& stats, Families& out) {
  MetricFamilyBuilder admissions("vramgate_admissions_total",
                                 "Answers to requests and ends of granted leases, by outcome. Refusals before a model "
                                 "was known count under model=\"other\".",
                                 MetricType::Counter, {"model", "outcome"});
  for (size_t m = 0; m < stats.outcomes().size(); ++m) {
    for (int o = 0; o < kOutcomes; ++o) {
      const std::string_view outcome = OutcomeName(static_cast<Outcome>(o));
      admissions.At({ModelName(snapshot, m), std::string(outcome)}).counter.value +=
          static_cast<double>(stats.outcomes()[m][static_cast<size_t>(o)]);
    }
  }
  out.push_back(admissions.Build());

  MetricFamilyBuilder revocations("vramgate_revocations_total", "Holders asked to stop, by who wanted it.",
                                  MetricType::Counter, {"model", "reason"});
  for (size_t m = 0; m < stats.revocations().size(); ++m)
    revocations.At({ModelName(snapshot, m), "operator"}).counter.value += static_cast<double>(stats.revocations()[m]);
  for (size_t m = 0; m < stats.given_way().size(); ++m)
    revocations.At({ModelName(snapshot, m), "policy"}).counter.value += static_cast<double>(stats.given_way()[m]);
  out.push_back(revocations.Build());

  MetricFamilyBuilder overuses("vramgate_overuse_total",
                               "Reports of use beyond what was reserved that did not fit either, by who reported.",
                               MetricType::Counter, {"model", "reason"});
  for (const Snapshot::ModelView& model : snapshot.models)
    overuses.At({model.name, "progress"}).counter.value += static_cast<double>(model.overuses);
  out.push_back(overuses.Build());
}

void AddTimes(const Snapshot& snapshot, const Stats& stats, Families& out) {
  MetricFamilyBuilder waits("vramgate_queue_wait_seconds", "Seconds from a request's arrival to its answer.",
                            MetricType::Histogram, {"model", "priority", "outcome"});
  for (const auto& [key, counts] : stats.waits()) {
    const std::string priority = key.priority == Stats::kOtherPriority ? kOther : absl::StrCat(key.priority);
    const std::string outcome(OutcomeName(key.outcome));
    AddBuckets(kWaitBounds_s, counts,
               waits.At({ModelName(snapshot, static_cast<size_t>(key.model)), priority, outcome}).histogram);
  }
  out.push_back(waits.Build());

  MetricFamilyBuilder ratios(
      "vramgate_queue_wait_estimate_ratio",
      "Seconds waited over the seconds told on arrival, of requests that waited and were granted.",
      MetricType::Histogram, {"model"});
  for (size_t m = 0; m < stats.wait_ratios().size(); ++m)
    AddBuckets(kWaitRatioBounds, stats.wait_ratios()[m], ratios.At({ModelName(snapshot, m)}).histogram);
  out.push_back(ratios.Build());

  MetricFamilyBuilder decisions("vramgate_decision_seconds", "Seconds the gate takes to decide one request.",
                                MetricType::Histogram, {});
  AddBuckets(kDecisionBounds_s, stats.decision_time(), decisions.At({}).histogram);
  out.push_back(decisions.Build());
}

void AddPrompts(const Snapshot& snapshot, const Stats& stats, Families& out) {
  MetricFamilyBuilder sources("vramgate_prompt_tokens_source_total",
                              "Answers to requests, by where their prompt's tokens came from.", MetricType::Counter,
                              {"model", "source"});
  for (size_t m = 0; m < stats.prompt_sources().size(); ++m) {
    for (const PromptSource source : {PromptSource::kGiven, PromptSource::kBound, PromptSource::kCalibrated}) {
      sources.At({ModelName(snapshot, m), std::string(PromptSourceName(source))}).counter.value +=
          static_cast<double>(stats.prompt_sources()[m][static_cast<size_t>(source)]);
    }
  }
  out.push_back(sources.Build());
}

// Every model has its row of priority 0, so that an empty queue is a 0 and not a gap.
void AddQueue(const Snapshot& snapshot, Families& out) {
  MetricFamilyBuilder size("vramgate_queue_size", "Waiters, by the priority they asked for.", MetricType::Gauge,
                           {"model", "priority"});
  MetricFamilyBuilder tokens("vramgate_queue_tokens", "Tokens, prompt and output, that the waiters ask for.",
                             MetricType::Gauge, {"model", "priority"});
  for (const Snapshot::ModelView& model : snapshot.models) {
    size.At({model.name, "0"});
    tokens.At({model.name, "0"});
  }
  std::vector<Snapshot::QueueView> rows = snapshot.queue;
  std::sort(rows.begin(), rows.end(), [](const Snapshot::QueueView& a, const Snapshot::QueueView& b) {
    const auto rank = [](const Snapshot::QueueView& row) {
      return std::tuple(std::abs(int64_t{row.priority}), row.priority, row.model);
    };
    return rank(a) < rank(b);
  });
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string priority = i < Metrics::kMostQueueRows ? absl::StrCat(rows[i].priority) : kOther;
    const std::string model = ModelName(snapshot, Index(rows[i].model));
    size.At({model, priority}).gauge.value += static_cast<double>(rows[i].requests);
    tokens.At({model, priority}).gauge.value += static_cast<double>(rows[i].tokens);
  }
  out.push_back(size.Build());
  out.push_back(tokens.Build());
}

void AddLeases(const Snapshot& snapshot, Families& out) {
  MetricFamilyBuilder leases("vramgate_leases", "Leases, by state.", MetricType::Gauge, {"model", "state"});
  for (const Snapshot::ModelView& model : snapshot.models) {
    leases.At({model.name, "waiting"}).gauge.value += static_cast<double>(model.waiting);
    leases.At({model.name, "held"}).gauge.value += static_cast<double>(model.held);
    leases.At({model.name, "lingering"}).gauge.value += static_cast<double>(model.lingering);
  }
  out.push_back(leases.Build());
}

struct LabelledAccount {
  std::string label;
  const Account* account = nullptr;
};

// A tenant that was forgotten and came back may have left an account of its name behind, empty: the one in use counts.
std::vector<LabelledAccount> LabelAccounts(const Snapshot& snapshot) {
  std::vector<LabelledAccount> labelled;
  absl::flat_hash_map<std::string, size_t> places;
  size_t tenants = 0;
  for (const Snapshot::AccountView& view : snapshot.accounts) {
    const std::string& name = view.account.name;
    const auto [place, added] = places.try_emplace(name, labelled.size());
    if (!added) {
      if (view.account.used_bytes() > 0) labelled[place->second].account = &view.account;
      continue;
    }
    const bool hidden = name.starts_with(kTenantPrefix) && ++tenants > Metrics::kMostTenants;
    labelled.push_back({hidden ? kOther : name, &view.account});
  }
  return labelled;
}

void AddAccounts(const Snapshot& snapshot, Families& out) {
  const auto gauge = [](const char* name, const char* help) {
    return MetricFamilyBuilder(name, help, MetricType::Gauge, {"account"});
  };
  MetricFamilyBuilder budget = gauge("vramgate_budget_bytes",
                                     "Bytes that may be used now, fixed bytes included. Accounts without a limit have "
                                     "no series.");
  MetricFamilyBuilder reserved = gauge("vramgate_reserved_bytes", "Bytes that leases hold, lingering ones included.");
  MetricFamilyBuilder fixed = gauge("vramgate_fixed_bytes", "Bytes that loaded models hold whatever the load.");
  MetricFamilyBuilder lingering =
      gauge("vramgate_lingering_bytes",
            "Bytes of the reserved whose holders are gone while their engine may still hold them.");
  MetricFamilyBuilder foreign =
      gauge("vramgate_foreign_bytes", "Bytes of a device in use by nobody vramgate knows; already off the budget.");
  for (const auto& [label, account] : LabelAccounts(snapshot)) {
    if (account->capacity_bytes != kUnlimitedBytes)
      budget.At({label}).gauge.value += static_cast<double>(account->capacity_bytes);
    reserved.At({label}).gauge.value += static_cast<double>(account->reserved_bytes);
    fixed.At({label}).gauge.value += static_cast<double>(account->fixed_bytes);
    lingering.At({label}).gauge.value += static_cast<double>(account->lingering_bytes);
    if (label.starts_with(kDevicePrefix))
      foreign.At({label}).gauge.value += static_cast<double>(account->foreign_bytes);
  }
  for (const MetricFamilyBuilder* family : {&budget, &reserved, &fixed, &lingering, &foreign})
    out.push_back(family->Build());
}

void AddTenants(const Snapshot& snapshot, Families& out) {
  MetricFamilyBuilder use("vramgate_tenant_byte_seconds_total",
                          "Memory x time that a tenant's leases have held, summed over devices: what waiting tenants "
                          "share by weight.",
                          MetricType::Counter, {"tenant"});
  for (const Snapshot::TenantView& tenant : snapshot.tenants) {
    use.At({TenantAccountName(tenant.name).substr(kTenantPrefix.size())}).counter.value += tenant.byte_seconds;
  }
  if (snapshot.others_byte_seconds > 0) use.At({kOther}).counter.value += snapshot.others_byte_seconds;
  out.push_back(use.Build());
}

void AddTelemetry(const Snapshot& snapshot, Families& out) {
  MetricFamilyBuilder age("vramgate_telemetry_age_seconds",
                          "Seconds since a device was last read. No series: it never was.", MetricType::Gauge,
                          {"device"});
  for (const Snapshot::AccountView& view : snapshot.accounts) {
    const Account& account = view.account;
    if (account.read_at.ns == 0 || !account.name.starts_with(kDevicePrefix)) continue;
    age.At({account.name.substr(kDevicePrefix.size())}).gauge.value =
        absl::ToDoubleSeconds(snapshot.at - account.read_at);
  }
  out.push_back(age.Build());
}

void AddDrifts(const std::vector<Metrics::DriftView>& drifts, Families& out) {
  MetricFamilyBuilder ratio(
      "vramgate_estimate_drift_ratio",
      "KV pool that the engine has, of what config and prices say; below 1 it has less. No series: "
      "the engine is not watched, or has not said.",
      MetricType::Gauge, {"model", "instance"});
  for (const Metrics::DriftView& drift : drifts) ratio.At({drift.model, drift.instance}).gauge.value = drift.ratio;
  out.push_back(ratio.Build());
}

void AddExtProc(const ExtProcEnds& ends, Families& out) {
  out.push_back(Single("vramgate_ext_proc_streams", "Streams of gateways that are open, one for each HTTP request.",
                       MetricType::Gauge, static_cast<double>(ends.open())));
  MetricFamilyBuilder ended("vramgate_ext_proc_ends_total", "Streams of gateways that have ended, by how.",
                            MetricType::Counter, {"end"});
  for (size_t i = 0; i < kExtProcEnds; ++i) {
    const auto end = static_cast<ExtProcEnd>(i);
    ended.At({std::string(ExtProcEndName(end))}).counter.value = static_cast<double>(ends.count(end));
  }
  out.push_back(ended.Build());
  out.push_back(Single("vramgate_ext_proc_usages_total",
                       "Responses whose usage was read as they went by (ext_proc.response_usage).", MetricType::Counter,
                       static_cast<double>(ends.usages())));
}

// Of instances above worst_case; models at worst_case have no series.
void AddAssurances(const Snapshot& snapshot, const Stats& stats, Families& out) {
  MetricFamilyBuilder info("vramgate_assurance_info",
                           "1. The level that an instance is configured for, and the one that is in force: worst_case "
                           "while a lease is late or nobody reports steps.",
                           MetricType::Gauge, {"model", "instance", "level", "in_force"});
  MetricFamilyBuilder late("vramgate_late_leases", "Leases seen outside of what their model's steps declare.",
                           MetricType::Gauge, {"model", "instance"});
  MetricFamilyBuilder fallbacks("vramgate_assurance_fallbacks_total", "Leases that turned late.", MetricType::Counter,
                                {"model"});
  const auto risk_gauge = [](const char* name, const char* help) {
    return MetricFamilyBuilder(name, help, MetricType::Gauge, {"model", "instance"});
  };
  MetricFamilyBuilder wanted = risk_gauge("vramgate_risk_wanted", "Of windows, those that may have a revocation.");
  MetricFamilyBuilder rate = risk_gauge("vramgate_risk_rate", "Of windows so far, those that had one, or an overrun.");
  MetricFamilyBuilder bound = risk_gauge("vramgate_risk_rate_bound", "What vramgate_risk_rate never exceeds.");
  MetricFamilyBuilder deviations =
      risk_gauge("vramgate_risk_deviations", "Deviations above the mean by which the future is judged: z.");
  MetricFamilyBuilder windows("vramgate_risk_windows_total", "Windows of ten steps that were judged.",
                              MetricType::Counter, {"model", "instance"});
  for (const Snapshot::AssuranceView& view : snapshot.assurances) {
    const std::string model = ModelName(snapshot, Index(view.model));
    info.At({model, view.instance, std::string(AssuranceName(view.level)), std::string(AssuranceName(view.in_force))})
        .gauge.value = 1;
    late.At({model, view.instance}).gauge.value = static_cast<double>(view.late);
    fallbacks.At({model}).counter.value = static_cast<double>(stats.lates()[Index(view.model)]);
    if (view.level != Assurance::kStatistical) continue;
    wanted.At({model, view.instance}).gauge.value = view.risk;
    rate.At({model, view.instance}).gauge.value = view.rate;
    bound.At({model, view.instance}).gauge.value = view.bound;
    deviations.At({model, view.instance}).gauge.value = view.deviations;
    windows.At({model, view.instance}).counter.value = static_cast<double>(view.windows);
  }
  for (const MetricFamilyBuilder* family : {&info, &late, &fallbacks, &wanted, &rate, &bound, &deviations, &windows})
    out.push_back(family->Build());
}

MetricFamily BuildInfo(const std::map<std::string, std::string>& build) {
  std::vector<std::string> labels;
  std::vector<std::string> values;
  for (const auto& [label, value] : build) {
    labels.push_back(label);
    values.push_back(value);
  }
  MetricFamilyBuilder info("vramgate_build_info", "1. What runs is in the labels.", MetricType::Gauge, labels);
  info.At(values).gauge.value = 1;
  return info.Build();
}

}  // namespace

std::vector<MetricFamily> Metrics::Collect() const {
  const Snapshot snapshot = controller_.GetSnapshot();
  const Stats stats = controller_.GetStats();
  Families families;
  AddAdmissions(snapshot, stats, families);
  AddTimes(snapshot, stats, families);
  AddPrompts(snapshot, stats, families);
  if (options_.prompts) AddPromptRatios(snapshot, options_.prompts, families);
  if (options_.gateways) AddGateways(options_.gateways(), families);
  AddQueue(snapshot, families);
  AddLeases(snapshot, families);
  AddAccounts(snapshot, families);
  AddTenants(snapshot, families);
  AddTelemetry(snapshot, families);
  AddAssurances(snapshot, stats, families);
  AddDrifts(options_.drifts ? options_.drifts() : std::vector<DriftView>{}, families);
  if (options_.ext_proc != nullptr) AddExtProc(*options_.ext_proc, families);
  const int64_t dropped = options_.log_dropped ? options_.log_dropped() : 0;
  families.push_back(Single("vramgate_log_dropped_total", "Log lines that are missing from the log.",
                            MetricType::Counter, static_cast<double>(dropped)));
  const int64_t plugins = options_.plugins ? options_.plugins() : 0;
  families.push_back(Single("vramgate_plugin_connections", "Connections to the plugin socket.", MetricType::Gauge,
                            static_cast<double>(plugins)));
  families.push_back(BuildInfo(options_.build));
  return families;
}

std::string MetricsText(const prometheus::Collectable& metrics) {
  return prometheus::TextSerializer().Serialize(metrics.Collect());
}

}  // namespace vramgate
