#include "admission/cli/replay_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace vramgate {
namespace {

using Json = nlohmann::ordered_json;

Json OrNull(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

std::string Percent(double value) {
  return absl::StrFormat("%.1f %%", value * 100);
}

std::string PercentOrDash(const std::optional<double>& value) {
  return value ? Percent(*value) : "-";
}

std::string Seconds(double s) {
  return s < 10 ? absl::StrFormat("%.3f s", s) : absl::StrFormat("%.1f s", s);
}

using Row = std::vector<std::string>;

// The first column to the left, the others to the right.
std::string Table(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows.front().size());
  for (const Row& row : rows) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string out;
  for (const Row& row : rows) {
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string pad(widths[c] - row[c].size(), ' ');
      absl::StrAppend(&out, c == 0 ? "" : "  ", c == 0 ? row[c] + pad : pad + row[c]);
    }
    out += '\n';
  }
  return out;
}

}  // namespace

std::string ReplayJson(const std::vector<ReplayAnswer>& answers) {
  Json list = Json::array();
  for (const ReplayAnswer& answer : answers) {
    const ReplayResult& r = answer.result;
    Json json;
    json["policy"] = r.policy;
    json["risk"] = OrNull(r.risk);
    json["requests"] = r.requests;
    json["completed"] = r.completed;
    json["rejected"] = r.rejected;
    json["output_tokens"] = r.output_tokens;
    json["output_tokens_per_s"] = r.output_tokens_per_s();
    json["duration_s"] = r.duration_s;
    json["queued_s"] = r.queued_s;
    json["utilization"] = r.utilization;
    json["utilization_while_queued"] = OrNull(r.utilization_while_queued);
    json["violations"] = answer.violations;
    json["revocation_rate"] = r.revocation_rate;
    json["recomputed_tokens"] = r.recomputed_tokens;
    json["preemptions"] = r.preemptions;
    json["wait_p50_s"] = r.wait_p50_s;
    json["wait_p99_s"] = r.wait_p99_s;
    json["fairness_gap"] = OrNull(r.fairness_gap);
    json["decision_ns_p50"] = r.decision_ns_p50;
    json["decision_ns_p99"] = r.decision_ns_p99;
    json["steps"] = r.steps;
    if (r.estimates) {
      json["wait_estimates"] = r.estimates->estimates;
      json["wait_error_p50_s"] = r.estimates->error_p50_s;
      json["wait_error_p90_s"] = r.estimates->error_p90_s;
      json["wait_ratio_p50"] = r.estimates->ratio_p50;
    }
    if (r.control) {
      json["windows"] = r.control->windows;
      json["error_rate"] = r.control->rate;
      json["error_bound"] = r.control->bound;
      json["delay_windows"] = r.control->delay;
      json["deviations"] = r.control->deviations;
    }
    list.push_back(std::move(json));
  }
  return list.dump(2) + "\n";
}

std::string SweepJson(const std::vector<SweepAnswer>& answers) {
  Json list = Json::array();
  for (const SweepAnswer& answer : answers) {
    const SweepResult& found = answer.found;
    Json json;
    json["policy"] = answer.policy;
    json["target_wait_s"] = found.target_wait_s;
    json["runs"] = found.runs;
    json["kv_tokens"] = found.kv_tokens ? Json(*found.kv_tokens) : Json(nullptr);
    if (found.kv_tokens) {
      json["wait_p99_s"] = found.with_pool.wait_p99_s;
      json["utilization"] = found.with_pool.utilization;
      json["preemptions"] = found.with_pool.preemptions;
    }
    json["queue_requests"] = found.queue_requests ? Json(*found.queue_requests) : Json(nullptr);
    if (found.queue_requests) {
      json["queue_wait_p99_s"] = found.with_queue.wait_p99_s;
      json["queue_rejected"] = found.with_queue.rejected;
    }
    json["risk"] = found.risk ? Json(*found.risk) : Json(nullptr);
    if (found.risk) {
      json["risk_wait_p99_s"] = found.with_risk.wait_p99_s;
      json["risk_revocation_rate"] = found.with_risk.revocation_rate;
    }
    list.push_back(std::move(json));
  }
  return list.dump(2) + "\n";
}

std::string ReplayText(const std::vector<ReplayAnswer>& answers) {
  std::vector<Row> rows = {{"policy", "tokens/s", "used", "while queued", "violations", "revoked", "recomputed",
                            "preempted", "rejected", "wait p50", "wait p99", "unfair", "decision p50", "p99"}};
  for (const ReplayAnswer& answer : answers) {
    const ReplayResult& r = answer.result;
    const std::string label = r.risk ? absl::StrFormat("%s %g", r.policy, *r.risk) : r.policy;
    rows.push_back({label, absl::StrFormat("%.0f", r.output_tokens_per_s()), Percent(r.utilization),
                    PercentOrDash(r.utilization_while_queued), absl::StrCat(answer.violations),
                    Percent(r.revocation_rate), absl::StrCat(r.recomputed_tokens), absl::StrCat(r.preemptions),
                    absl::StrCat(r.rejected), Seconds(r.wait_p50_s), Seconds(r.wait_p99_s),
                    r.fairness_gap ? absl::StrFormat("%.2f", *r.fairness_gap) : "-",
                    absl::StrFormat("%.0f ns", r.decision_ns_p50), absl::StrFormat("%.0f ns", r.decision_ns_p99)});
  }
  return Table(rows);
}

std::string SweepText(const std::vector<SweepAnswer>& answers) {
  std::vector<Row> rows = {{"policy", "wait p99 at most", "KV tokens", "then p99", "used", "or queue", "then p99",
                            "rejected", "or risk", "then p99", "revoked"}};
  for (const SweepAnswer& answer : answers) {
    const SweepResult& found = answer.found;
    const bool pool = found.kv_tokens.has_value();
    const bool queue = found.queue_requests.has_value();
    rows.push_back(
        {answer.policy, Seconds(found.target_wait_s), pool ? absl::StrCat(*found.kv_tokens) : "none",
         pool ? Seconds(found.with_pool.wait_p99_s) : "-", pool ? Percent(found.with_pool.utilization) : "-",
         queue ? absl::StrCat(*found.queue_requests) : "none", queue ? Seconds(found.with_queue.wait_p99_s) : "-",
         queue ? absl::StrCat(found.with_queue.rejected) : "-", found.risk ? absl::StrFormat("%g", *found.risk) : "-",
         found.risk ? Seconds(found.with_risk.wait_p99_s) : "-",
         found.risk ? Percent(found.with_risk.revocation_rate) : "-"});
  }
  return Table(rows);
}

}  // namespace vramgate
