#include "admission/cli/estimate_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include <nlohmann/json.hpp>
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "admission/units.h"

namespace vramgate {
namespace {

using nlohmann::ordered_json;

ordered_json RankJson(const StageReport& r, const Question& q) {
  const Estimate& e = r.estimate;
  const CostTable& t = r.table;
  ordered_json out = {
      {"quality", QualityName(e.quality)},
      {"parameters", t.parameters() > 0 ? ordered_json(t.parameters()) : ordered_json()},
      {"weights_bytes", e.weights_bytes},
      {"kv_bytes", e.kv_bytes},
      {"activation_bytes", e.activation_bytes},
      {"overhead_bytes", e.overhead_bytes},
      {"total_bytes", e.total_bytes},
      {"kv_bytes_per_token", e.kv_bytes_per_token},
      {"kv_bytes_per_request", e.kv_bytes_per_request},
      {"kv_bytes_per_request_peak", e.kv_bytes_per_request},
      {"kv_bytes_per_request_steady", e.kv_bytes_per_request_steady},
      {"state_bytes_per_request", e.state_bytes_per_request},
      {"activation_bytes_per_request", e.activation_bytes_per_request},
      {"activation_resident_bytes", e.activation_resident_bytes},
      {"context_bytes", t.context_bytes()},
      {"non_torch_bytes", t.non_torch_bytes()},
      {"cuda_graph_bytes", t.graph_bytes()},
      {"kv_pool_bytes", r.pool.bytes},
      {"kv_pool_blocks", r.pool.blocks},
      {"kv_pool_tokens", r.pool.tokens},
      {"max_concurrency", r.pool.max_concurrency},
  };
  const bool blocks = t.layout().id_bytes() > 0;
  const int64_t tokens = q.options.load.prompt_tokens + q.options.load.output_tokens;
  out["kv_blocks_per_request"] = blocks ? ordered_json(t.layout().Blocks(tokens, Phase::kPeak)) : ordered_json();
  std::optional<bool> fits;
  if (q.options.device_bytes) fits = e.total_bytes <= *q.options.device_bytes;
  if (q.options.device_bytes || q.options.kv_pool_bytes) fits = fits.value_or(true) && e.kv_bytes <= r.pool.bytes;
  out["fits"] = fits ? ordered_json(*fits) : ordered_json();
  return out;
}

ordered_json AnswerJson(const Answer& a) {
  const CostOptions& cost = a.question.options.cost;
  const StageReport& worst = a.deployment.worst();
  ordered_json out = RankJson(worst, a.question);
  if (a.deployment.fits) out["fits"] = *a.deployment.fits;
  out["model"] = a.question.name;
  out["family"] = worst.table.shape().family;
  out["engine"] = cost.profile.name;
  out["context_tokens"] = a.question.options.load.prompt_tokens + a.question.options.load.output_tokens;
  out["concurrency"] = a.question.options.load.concurrency;
  out["max_model_len_tokens"] = a.question.options.max_model_len;
  out["longest_request_tokens"] = a.deployment.longest_tokens;
  out["devices"] = cost.tensor_parallel * cost.pipeline_parallel;
  out["terms"] = ordered_json::array();
  for (const Term& t : worst.estimate.terms) {
    out["terms"].push_back(
        {{"name", t.name}, {"bytes", t.bytes}, {"formula", t.formula}, {"per_request", t.per_request}});
  }
  out["ranks"] = ordered_json::array();
  for (size_t stage = 0; stage < a.deployment.stages.size(); ++stage) {
    const ordered_json rank = RankJson(a.deployment.stages[stage], a.question);
    for (int i = 0; i < cost.tensor_parallel; ++i) {
      ordered_json one = {{"rank", static_cast<int>(stage) * cost.tensor_parallel + i}, {"stage", stage}};
      one.update(rank);
      out["ranks"].push_back(one);
    }
  }
  return out;
}

int64_t Sum(const std::vector<Answer>& answers) {
  int64_t sum = 0;
  for (const Answer& a : answers) {
    if (__builtin_add_overflow(sum, a.deployment.worst().estimate.total_bytes, &sum)) return INT64_MAX;
  }
  return sum;
}

std::optional<bool> AllFit(const std::vector<Answer>& answers) {
  const std::optional<int64_t> device = answers.front().question.options.device_bytes;
  if (!device) return std::nullopt;
  return Sum(answers) <= *device;
}

std::string GiBText(int64_t bytes) {
  return absl::StrFormat("%.2f GiB", static_cast<double>(bytes) / static_cast<double>(kGiB));
}
std::string GBText(int64_t bytes) {
  return absl::StrFormat("%.2f GB", static_cast<double>(bytes) / 1e9);
}

std::string Row(const std::string& name, const std::string& request, int64_t total_bytes, const std::string& formula) {
  std::string row =
      absl::StrFormat("  %-13s %14s %14s %14s   %s", name, request, GiBText(total_bytes), GBText(total_bytes), formula);
  row.erase(row.find_last_not_of(' ') + 1);
  return row + "\n";
}

const char* QualityWords(Quality quality) {
  switch (quality) {
    case Quality::kExact:
      return "measured starts back this family, engine and these element types";
    case Quality::kProfile:
      return "from sourced formulas, not measured for this family on this engine";
    case Quality::kUpperBound:
      return "at least one term is a bound that a real engine stays below";
  }
  return "";
}

// 60 characters of the card: W weights, A activation, O overhead, K KV asked for, - the rest of the pool, . free.
std::string Bar(const StageReport& r, int64_t device_bytes) {
  constexpr int kWidth = 60;
  struct Piece {
    char letter;
    const char* name;
    int64_t bytes;
  };
  const Estimate& e = r.estimate;
  const int64_t fixed = e.weights_bytes + e.activation_bytes + e.overhead_bytes;
  const int64_t rest = std::max<int64_t>(0, std::min(r.pool.bytes, device_bytes - fixed) - e.kv_bytes);
  const std::array<Piece, 5> pieces = {{{'W', "weights", e.weights_bytes},
                                        {'A', "activation", e.activation_bytes},
                                        {'O', "overhead", e.overhead_bytes},
                                        {'K', "KV asked for", e.kv_bytes},
                                        {'-', "rest of the pool", rest}}};
  std::string bar;
  std::string legend;
  double sum = 0;
  for (const Piece& p : pieces) {
    sum += static_cast<double>(p.bytes);
    const auto end = static_cast<size_t>(std::clamp(std::llround(sum / static_cast<double>(device_bytes) * kWidth), 0LL,
                                                    static_cast<long long>(kWidth)));
    bar.resize(std::max(end, bar.size()), p.letter);
    if (p.bytes > 0) absl::StrAppend(&legend, "  ", std::string(1, p.letter), " ", p.name, " ", GiBText(p.bytes), "\n");
  }
  const int64_t free = device_bytes - static_cast<int64_t>(std::min(sum, 9e18));
  bar.resize(kWidth, '.');
  absl::StrAppend(&legend, free >= 0 ? "  . free " : "  over the card by ", GiBText(std::abs(free)), "\n");
  return absl::StrCat("[", bar, "]  ", GiBText(device_bytes), "\n", legend);
}

std::string Header(const Answer& a) {
  const Question& q = a.question;
  const CostTable& t = a.deployment.worst().table;
  const CostOptions& o = t.options();
  std::string text = absl::StrCat(t.shape().family, ": ");
  if (t.parameters() > 0) absl::StrAppend(&text, t.parameters(), " parameters, ");
  std::vector<std::string> formats;
  for (const WeightFormat& f : t.shape().formats) {
    if (f.bits > 0) formats.push_back(f.name);
  }
  absl::StrAppend(&text, "weights ",
                  formats.empty() ? std::string(DTypeName(o.weights_dtype)) : absl::StrJoin(formats, " and "), ", KV ",
                  std::string(DTypeName(o.kv_dtype)), ", ", a.deployment.worst().estimate.kv_bytes_per_token,
                  " B of KV a token, engine ", o.profile.name, "\n");
  const int devices = o.tensor_parallel * o.pipeline_parallel;
  absl::StrAppend(&text, q.options.load.concurrency, q.options.load.concurrency == 1 ? " request" : " requests", " of ",
                  q.options.load.prompt_tokens + q.options.load.output_tokens, " tokens, bytes on ",
                  devices == 1 ? "one device" : absl::StrCat("the fullest of ", devices, " devices"), "\n\n");
  return text;
}

std::string PoolWords(const Answer& a) {
  const StageReport& r = a.deployment.worst();
  if (r.pool.bytes == 0 && !a.question.options.device_bytes) return "";
  std::string text = absl::StrCat("\nKV pool ", GiBText(r.pool.bytes), ": ", r.pool.tokens, " tokens",
                                  r.table.layout().id_bytes() > 0 ? absl::StrCat(", ", r.pool.blocks, " blocks") : "",
                                  absl::StrFormat(", %.2f requests of %d tokens at once\n", r.pool.max_concurrency,
                                                  a.question.options.max_model_len));
  absl::StrAppend(&text, "longest request alone: ", a.deployment.longest_tokens, " tokens\n");
  return text;
}

std::string FitWords(const Answer& a) {
  if (!a.deployment.fits) return "";
  if (*a.deployment.fits) return "it fits\n";
  const std::vector<std::string> ways = WaysToFit(a.question.shape, a.question.options);
  return ways.empty() ? "it does not fit, and neither fp8 KV, more devices nor less work would make it\n"
                      : absl::StrCat("it does NOT fit; each of these would make it: ", absl::StrJoin(ways, ", "), "\n");
}

}  // namespace

std::string EstimateJson(const std::vector<Answer>& answers) {
  if (answers.size() == 1) return AnswerJson(answers.front()).dump(2) + "\n";
  ordered_json out = {{"models", ordered_json::array()}, {"total_bytes", Sum(answers)}};
  for (const Answer& a : answers) out["models"].push_back(AnswerJson(a));
  const std::optional<bool> fits = AllFit(answers);
  out["fits"] = fits ? ordered_json(*fits) : ordered_json();
  return out.dump(2) + "\n";
}

std::string EstimateText(const std::vector<Answer>& answers) {
  std::string text;
  for (const Answer& a : answers) {
    const StageReport& r = a.deployment.worst();
    if (answers.size() > 1) absl::StrAppend(&text, "== ", a.question.name, "\n");
    absl::StrAppend(&text, Header(a));
    if (a.question.options.device_bytes) absl::StrAppend(&text, Bar(r, *a.question.options.device_bytes), "\n");
    absl::StrAppend(&text, absl::StrFormat("  %-13s %14s %14s %14s   %s\n", "", "a request", "in all", "", "formula"));
    const int64_t concurrency = a.question.options.load.concurrency;
    for (const Term& t : r.estimate.terms) {
      absl::StrAppend(&text, Row(t.name, t.per_request ? GiBText(t.bytes) : "-",
                                 t.per_request ? t.bytes * concurrency : t.bytes, t.formula));
    }
    absl::StrAppend(&text,
                    Row("total", GiBText(r.estimate.kv_bytes_per_request + r.estimate.activation_bytes_per_request),
                        r.estimate.total_bytes, ""),
                    PoolWords(a), answers.size() == 1 ? FitWords(a) : "", "\nquality ",
                    std::string(QualityName(r.estimate.quality)), ": ", QualityWords(r.estimate.quality), "\n");
  }
  if (answers.size() > 1) {
    const std::optional<bool> fits = AllFit(answers);
    absl::StrAppend(&text, "\nall models: ", GiBText(Sum(answers)),
                    fits ? (*fits ? ", they fit" : ", they do NOT fit on one card") : "", "\n");
  }
  return absl::StrCat(text, "GiB = 2^30 bytes, GB = 10^9 bytes; exact bytes: --format json\n");
}

}  // namespace vramgate
