#include "admission/estimator/engine_profile.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "admission/check.h"
#include "admission/estimator/builtin_profiles.h"
#include "admission/estimator/json_fields.h"
#include "admission/estimator/text_file.h"
#include "admission/units.h"
#include "admission/utf8.h"

namespace vramgate {
namespace {

using nlohmann::json;

constexpr double kMaxGib = 65536;

int64_t GibField(JsonFields& f, const char* key) {
  return std::llround(f.Number(key, 0, 0, kMaxGib) * static_cast<double>(kGiB));
}

template <typename Enum, size_t kCount>
Enum Choice(JsonFields& f, const char* key, const std::array<std::pair<std::string_view, Enum>, kCount>& choices) {
  const std::string text = f.String(key, choices[0].first);
  std::string names;
  for (const auto& [name, value] : choices) {
    if (name == text) return value;
    absl::StrAppend(&names, names.empty() ? "" : ", ", std::string(name));
  }
  f.Fail(key, absl::StrCat("must be one of ", names));
  return choices[0].second;
}

constexpr std::array<std::pair<std::string_view, PoolKind>, 3> kPoolKinds = {
    {{"bytes", PoolKind::kBytes}, {"block_ids", PoolKind::kBlockIds}, {"cells", PoolKind::kCells}}};
constexpr std::array<std::pair<std::string_view, TokensMeaning>, 3> kTokens = {
    {{"pool", TokensMeaning::kPool},
     {"blocks_over_groups", TokensMeaning::kBlocksOverGroups},
     {"concurrency_times_length", TokensMeaning::kConcurrencyTimesLength}}};

// Reads `key` with a reader of its own; its error becomes the whole's.
template <typename Read>
void Within(JsonFields& f, const char* key, const json& object, Read read) {
  if (!object.is_object()) return f.Fail(key, "an object is expected");
  JsonFields inner(object, absl::StrCat(f.name(), ": ", key));
  read(inner);
  if (!inner.status().ok()) f.Adopt(inner.status());
}

template <typename Read>
void Optional(JsonFields& f, const char* key, Read read) {
  if (const json* object = f.Object(key)) Within(f, key, *object, read);
}

template <typename Read>
void Each(JsonFields& f, const char* key, Read read) {
  const json* list = f.Find(key);
  if (list == nullptr) return;
  if (!list->is_array() || list->size() > 1024) return f.Fail(key, "a list of objects is expected");
  for (const json& object : *list) Within(f, key, object, read);
}

void ReadPool(JsonFields& f, EngineProfile& p) {
  p.pool = Choice(f, "kind", kPoolKinds);
  p.block_tokens = f.Optional({"block_tokens"}).value_or(p.block_tokens);
  p.index_block_tokens = f.Optional({"index_block_tokens"}).value_or(0);
  p.max_group_stretch = f.Number("max_group_stretch", p.max_group_stretch, 1, 100);
  p.state_block_multiple = f.Optional({"state_block_multiple"}).value_or(p.state_block_multiple);
  p.state_block_multiple_latent = f.Optional({"state_block_multiple_latent"}).value_or(p.state_block_multiple_latent);
  p.state_blocks = f.Optional({"state_blocks"}).value_or(p.state_blocks);
  p.window_cells_multiple = f.Optional({"window_cells_multiple"}).value_or(p.window_cells_multiple);
  p.step_in_window = f.Bool("step_in_window", p.step_in_window);
  p.extra_window_blocks = f.Optional({"extra_window_blocks"}, 0).value_or(0);
  p.encoder_holds_step = f.Bool("encoder_holds_step", false);
  p.latent_fp8_is_ds_mla = f.Bool("latent_fp8_is_ds_mla", false);
  p.pool_share = f.Number("share", 1, 0.01, 1);
  p.context_in_share = f.Bool("context_in_share", false);
  p.tokens = Choice(f, "tokens", kTokens);
  if (f.Has("state_dtype")) {
    const absl::StatusOr<DType> dtype = ParseWeightsDType(f.String("state_dtype", ""));
    if (!dtype.ok()) return f.Fail("state_dtype", std::string(dtype.status().message()));
    p.state_dtype = *dtype;
  }
}

void ReadMeasured(JsonFields& f, EngineProfile& p) {
  EngineProfile::Measured m{.families = f.Strings("families"), .weights = f.Strings("weights")};
  for (const std::string& name : f.Strings("kv")) {
    const absl::StatusOr<DType> dtype = ParseDType(name);
    if (!dtype.ok()) return f.Fail("kv", std::string(dtype.status().message()));
    m.kv.push_back(*dtype);
  }
  p.measured.push_back(std::move(m));
}

void ReadProfile(JsonFields& f, EngineProfile& p) {
  p.name = f.String("name", "");
  p.engine = f.String("engine", "");
  if (p.name.empty() || p.engine.empty()) return f.Fail(p.name.empty() ? "name" : "engine", "missing");
  p.aliases = f.Strings("aliases");
  Optional(f, "pool", [&](JsonFields& pool) { ReadPool(pool, p); });
  p.utilization = f.Number("utilization", p.utilization, 0.01, 1);
  Each(f, "steps", [&](JsonFields& step) {
    p.steps.push_back(
        {GibField(step, "min_device_gib"), step.Required({"max_batched_tokens"}), step.Required({"max_sequences"})});
  });
  if (p.steps.empty()) f.Fail("steps", "missing: the engine's default tokens and sequences of a step");
  Optional(f, "sampler", [&](JsonFields& s) { p.sampler_bytes = s.Number("bytes_per_logit", 0, 0, 1024); });
  p.load_tables = f.Bool("load_tables", true);
  p.mxfp4_pad_in = f.Optional({"mxfp4_pad_in"}, 0).value_or(0);
  p.torch_allocator = f.Bool("torch_allocator", false);
  p.ggml_compute = f.Bool("ggml_compute", false);
  Optional(f, "overheads", [&](JsonFields& table) {
    Each(table, "rows", [&](JsonFields& row) {
      p.overheads.push_back({static_cast<int>(row.Required({"tensor_parallel"})), row.Bool("pipeline", false),
                             GibField(row, "context_gib"), GibField(row, "non_torch_gib")});
    });
  });
  Optional(f, "graphs", [&](JsonFields& g) {
    p.graphs = {GibField(g, "base_gib"), GibField(g, "layer_gib"), GibField(g, "experts_gib"),
                GibField(g, "latent_gib")};
    p.graphs_in_pool = g.Bool("in_pool", false);
  });
  Each(f, "measured", [&](JsonFields& m) { ReadMeasured(m, p); });
}

// The built-in profiles, parsed once. A profile of ours that does not parse is a broken build.
const std::vector<EngineProfile>& Builtin() {
  static const std::vector<EngineProfile>* const profiles = [] {
    auto* parsed = new std::vector<EngineProfile>;
    for (const BuiltinProfile& file : kBuiltinProfiles) {
      absl::StatusOr<EngineProfile> profile = ParseEngineProfile(file.json, file.name);
      CHECK(profile.ok(), "a built-in engine profile does not parse: see its test");
      parsed->push_back(*std::move(profile));
    }
    return parsed;
  }();
  return *profiles;
}

}  // namespace

const EngineProfile::Overhead* EngineProfile::OverheadFor(int tensor_parallel, int pipeline_parallel) const {
  const Overhead* best = nullptr;
  for (const Overhead& row : overheads) {
    // A pipeline's row holds where no layer is split; communicators of a split model are the larger.
    const bool pipeline = pipeline_parallel > 1 && tensor_parallel == 1;
    const bool fits = row.tensor_parallel <= tensor_parallel && (row.pipeline == pipeline);
    if (fits && (best == nullptr || row.tensor_parallel > best->tensor_parallel)) best = &row;
  }
  if (best == nullptr && !overheads.empty()) best = &overheads.front();
  return best;
}

const EngineProfile::Step& EngineProfile::StepFor(int64_t device_bytes) const {
  for (const Step& step : steps) {
    if (device_bytes >= step.min_device_bytes) return step;
  }
  return steps.back();
}

absl::StatusOr<EngineProfile> ParseEngineProfile(std::string_view text, std::string_view name) {
  const absl::StatusOr<json> document = ParseJsonObject(text, name);
  if (!document.ok()) return document.status();
  JsonFields fields(*document, name);
  EngineProfile profile;
  ReadProfile(fields, profile);
  if (!fields.status().ok()) return fields.status();
  return profile;
}

absl::StatusOr<EngineProfile> FindEngineProfile(std::string_view name) {
  for (const EngineProfile& p : Builtin()) {
    if (p.name == name || std::find(p.aliases.begin(), p.aliases.end(), name) != p.aliases.end()) return p;
  }
  const std::string text(name);
  if (text.find('/') != std::string::npos) {
    const absl::StatusOr<std::string> file = ReadTextFile(text);
    return file.ok() ? ParseEngineProfile(*file, text) : file.status();
  }
  return absl::NotFoundError(absl::StrCat(Quoted(name), " is not an engine profile: write ", EngineProfileNames(),
                                          ", or the path of a profile's file"));
}

std::string EngineProfileNames() {
  std::string names;
  for (const EngineProfile& p : Builtin()) absl::StrAppend(&names, names.empty() ? "" : ", ", p.name);
  return names;
}

const EngineProfile& GenericProfile() {
  for (const EngineProfile& p : Builtin()) {
    if (p.name == "generic") return p;
  }
  CHECK(false, "the generic profile is built in");
}

}  // namespace vramgate
