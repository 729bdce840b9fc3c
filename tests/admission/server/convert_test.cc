// What callers send: every value is checked, and priced by whom it comes from.
#include "admission/server/convert.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/admission/server/parts.h"

namespace vramgate {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();

class ConvertTest : public testing::Test {
 protected:
  static v1::AdmitRequest Good() {
    v1::AdmitRequest request;
    request.set_model("m");
    request.mutable_demand()->set_prompt_tokens(10);
    request.mutable_demand()->set_max_output_tokens(5);
    return request;
  }
  // The request as the gate sees it. The views are of `in`.
  Request Converted(const v1::AdmitRequest& in, const Caller& caller = {}) {
    Request request;
    const auto refusal = parts_.converter->ToRequest(in, caller, &request, &tokens_);
    EXPECT_FALSE(refusal) << refusal->field << ": " << refusal->message;
    return request;
  }
  // "INVALID_REQUEST demand.prompt_tokens"
  std::string Refused(const v1::AdmitRequest& in) {
    Request request;
    const auto refusal = parts_.converter->ToRequest(in, {}, &request, nullptr);
    return refusal ? absl::StrCat(std::string(OutcomeReason(refusal->outcome)), " ", refusal->field) : "accepted";
  }

  Parts parts_;
  Converter::Tokens tokens_;
};

TEST_F(ConvertTest, PricesEachClassOfInstances) {
  const v1::AdmitRequest in = Good();
  const Request request = Converted(in, {.id = 7});
  EXPECT_EQ(request.caller, 7u);
  EXPECT_EQ(request.instance, kAnyInstance);
  EXPECT_EQ(request.tokens, 15);
  EXPECT_EQ(request.costs[0].kv_bytes, 15 * kMiB);
  EXPECT_EQ(request.costs[0].activation_bytes, 15 * 128);
  EXPECT_EQ(request.costs[1].kv_bytes, 15 * kMiB) << "kv_bytes_per_token is per device";
  EXPECT_EQ(request.max_wait, absl::InfiniteDuration());
  EXPECT_EQ(request.ttl, absl::ZeroDuration());
  EXPECT_EQ(request.drain, absl::Milliseconds(500)) << "5 tokens at 10 tokens/s";
}

TEST_F(ConvertTest, ModelsAndInstancesAreFoundByName) {
  v1::AdmitRequest in = Good();
  in.set_model("alias");
  in.set_instance("tp");
  EXPECT_EQ(Converted(in).instance, InstanceId{1});
  in.set_instance("b");
  EXPECT_EQ(Refused(in), "UNKNOWN_MODEL instance");
  in.set_model("M");
  EXPECT_EQ(Refused(in), "UNKNOWN_MODEL model");
  in.set_model("");
  EXPECT_EQ(Refused(in), "INVALID_REQUEST model");
}

TEST_F(ConvertTest, TokenCountsAreBounded) {
  for (const int64_t bad : {int64_t{0}, int64_t{-1}, kLeast, kMost}) {
    v1::AdmitRequest in = Good();
    in.mutable_demand()->set_prompt_tokens(bad);
    EXPECT_EQ(Refused(in), "INVALID_REQUEST demand.prompt_tokens") << bad;
    in = Good();
    in.mutable_demand()->set_max_output_tokens(bad);
    EXPECT_EQ(Refused(in), "INVALID_REQUEST demand.max_output_tokens") << bad;
    if (bad == 0) continue;
    in = Good();
    in.mutable_demand()->set_prompt_bytes(bad);
    EXPECT_EQ(Refused(in), "INVALID_REQUEST demand.prompt_bytes") << bad;
    in = Good();
    in.mutable_demand()->set_cached_prefix_tokens(bad);
    EXPECT_EQ(Refused(in), "INVALID_REQUEST demand.cached_prefix_tokens") << bad;
  }
  for (const int32_t bad : {0, -1, 4097, std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()}) {
    v1::AdmitRequest in = Good();
    in.mutable_demand()->set_sequences(bad);
    EXPECT_EQ(Refused(in), "INVALID_REQUEST demand.sequences") << bad;
  }
  for (const int64_t bad : {int64_t{0}, int64_t{-1}, kLeast}) {
    v1::AdmitRequest in = Good();
    in.mutable_demand()->set_vram_bytes(bad);
    EXPECT_EQ(Refused(in), "INVALID_REQUEST demand.vram_bytes") << bad;
  }
}

TEST_F(ConvertTest, APromptThatFillsTheContextNeverFits) {
  v1::AdmitRequest in = Good();
  in.mutable_demand()->set_prompt_tokens(1000);
  EXPECT_EQ(Refused(in), "NEVER_FITS demand.prompt_tokens");
  in.mutable_demand()->set_prompt_tokens(999);
  (void)Converted(in);
  EXPECT_EQ(tokens_.output, 1) << "the engine stops at max_model_len";
}

TEST_F(ConvertTest, AbsentCountsHaveTheirBounds) {
  v1::AdmitRequest in = Good();
  in.mutable_demand()->clear_max_output_tokens();
  (void)Converted(in);
  EXPECT_EQ(tokens_.output, 100) << "the model's default";
  in.mutable_demand()->set_prompt_tokens(950);
  (void)Converted(in);
  EXPECT_EQ(tokens_.output, 50) << "or what is left";
  in = Good();
  in.mutable_demand()->clear_prompt_tokens();
  EXPECT_EQ(Refused(in), "INVALID_REQUEST demand.prompt_tokens");
  in.mutable_demand()->set_prompt_bytes(33);
  (void)Converted(in);
  EXPECT_EQ(tokens_.prompt, 17) << "0.5 tokens a byte, rounded up";
  in.mutable_demand()->set_prompt_bytes(0);
  (void)Converted(in);
  EXPECT_EQ(tokens_.prompt, 1);
  in.mutable_demand()->set_prompt_bytes(int64_t{1} << 40);
  (void)Converted(in);
  EXPECT_EQ(tokens_.prompt, 999) << "no prompt that is served is longer";
  in.mutable_demand()->set_prompt_tokens(3);
  (void)Converted(in);
  EXPECT_EQ(tokens_.prompt, 3) << "tokens say more than bytes";
  in.clear_demand();
  EXPECT_EQ(Refused(in), "INVALID_REQUEST demand.prompt_tokens");
}

// Without a default of the model's own: the most that the request could need.
TEST_F(ConvertTest, WithoutADefaultTheAnswerMayFillTheContext) {
  const std::string yaml = absl::StrReplaceAll(kTwoDevices, {{"    default_max_output_tokens: 100\n", ""}});
  const Parts parts(yaml);
  v1::AdmitRequest in = Good();
  in.mutable_demand()->clear_max_output_tokens();
  Request request;
  EXPECT_FALSE(parts.converter->ToRequest(in, {}, &request, &tokens_));
  EXPECT_EQ(tokens_.output, 990);
}

TEST_F(ConvertTest, SequencesMultiply) {
  v1::AdmitRequest in = Good();
  in.mutable_demand()->set_sequences(4);
  const Request request = Converted(in);
  EXPECT_EQ(request.tokens, 60);
  EXPECT_EQ(request.costs[0].kv_bytes, 60 * kMiB);
}

TEST_F(ConvertTest, IdsAreBoundedAndUtf8) {
  const std::string most(256, 'x');
  const std::string over(257, 'x');
  v1::AdmitRequest in = Good();
  in.set_request_id(most);
  in.set_tenant(most);
  (void)Converted(in);
  in.set_request_id(over);
  EXPECT_EQ(Refused(in), "INVALID_REQUEST request_id");
  in = Good();
  in.set_tenant(over);
  EXPECT_EQ(Refused(in), "INVALID_REQUEST tenant");
  in = Good();
  in.set_model(over);
  EXPECT_EQ(Refused(in), "INVALID_REQUEST model");
  in = Good();
  in.set_instance(over);
  EXPECT_EQ(Refused(in), "INVALID_REQUEST instance");
  in = Good();
  in.set_request_id("\xc3\x28");
  EXPECT_EQ(Refused(in), "INVALID_REQUEST request_id");
}

TEST_F(ConvertTest, PrioritiesAreBounded) {
  v1::AdmitRequest in = Good();
  for (const int32_t good : {kMaxPriority, -kMaxPriority, 0}) {
    in.set_priority(good);
    EXPECT_EQ(Converted(in).priority, good);
  }
  for (const int32_t bad : {kMaxPriority + 1, -kMaxPriority - 1, std::numeric_limits<int32_t>::min()}) {
    in.set_priority(bad);
    EXPECT_EQ(Refused(in), "INVALID_REQUEST priority") << bad;
  }
}

TEST_F(ConvertTest, DurationsAreWellFormed) {
  v1::AdmitRequest in = Good();
  in.mutable_max_wait();
  EXPECT_EQ(Converted(in).max_wait, absl::ZeroDuration());
  in.mutable_max_wait()->set_seconds(kMost);
  EXPECT_GE(Converted(in).max_wait, absl::Hours(1'000'000));
  for (const auto& [seconds, nanos] :
       std::vector<std::pair<int64_t, int32_t>>{{-1, 0}, {0, -1}, {kLeast, 0}, {1, -1}, {0, 1'000'000'000}}) {
    in.mutable_max_wait()->set_seconds(seconds);
    in.mutable_max_wait()->set_nanos(nanos);
    EXPECT_EQ(Refused(in), "INVALID_REQUEST max_wait") << seconds << " " << nanos;
  }
  in = Good();
  in.mutable_lease_ttl();
  EXPECT_EQ(Refused(in), "INVALID_REQUEST lease_ttl") << "0";
  in.mutable_lease_ttl()->set_seconds(5);
  EXPECT_EQ(Converted(in).ttl, absl::Seconds(5));
  in.mutable_lease_ttl()->set_seconds(kMost);
  EXPECT_EQ(Converted(in).ttl, absl::Hours(1)) << "a dead caller's bytes must come back";
}

// --- Who may say what ---

TEST_F(ConvertTest, OnlyTrustedCallersLowerThePrice) {
  const Caller trusted{.trusted_cost = true};
  const int64_t activation_bytes = 15 * 128;
  v1::AdmitRequest in = Good();
  in.mutable_demand()->set_vram_bytes(5 * kMiB);
  EXPECT_EQ(Converted(in).costs[0].kv_bytes, 15 * kMiB);
  const Request lowered = Converted(in, trusted);
  EXPECT_EQ(lowered.costs[0].kv_bytes + lowered.costs[0].activation_bytes, 5 * kMiB);
  EXPECT_EQ(lowered.costs[1].kv_bytes + lowered.costs[1].activation_bytes, 5 * kMiB / 2) << "over two devices";
  in.mutable_demand()->set_vram_bytes(100 * kMiB);
  EXPECT_EQ(Converted(in).costs[0].kv_bytes, 100 * kMiB - activation_bytes) << "anybody may raise it";
  EXPECT_EQ(Converted(in, trusted).costs[0].kv_bytes, 100 * kMiB - activation_bytes);
  in.mutable_demand()->set_vram_bytes(1);
  EXPECT_EQ(Converted(in, trusted).costs[0], (RankCost{.kv_bytes = 0, .activation_bytes = 1}));
  in.mutable_demand()->set_vram_bytes(kMost);
  EXPECT_GT(Converted(in).costs[0].kv_bytes, kMost / 2) << "never fits, and does not overflow";
}

TEST_F(ConvertTest, OnlyTrustedCallersClaimACachedPrefix) {
  v1::AdmitRequest in = Good();
  in.mutable_demand()->set_cached_prefix_tokens(8);
  EXPECT_EQ(Converted(in).costs[0].kv_bytes, 15 * kMiB);
  EXPECT_EQ(Converted(in, {.trusted_cost = true}).costs[0].kv_bytes, 7 * kMiB);
  in.mutable_demand()->set_cached_prefix_tokens(1'000'000);
  EXPECT_EQ(Converted(in, {.trusted_cost = true}).costs[0].kv_bytes, 6 * kMiB) << "one prompt token at least";
}

TEST_F(ConvertTest, UsageIsPricedOrRefused) {
  v1::Usage usage;
  const ServedModel& model = parts_.models->models()[0];
  usage.set_prompt_tokens(10);
  usage.set_output_tokens(2);
  EXPECT_EQ((*parts_.converter->ToCosts(usage, model, 1))[0].kv_bytes, 12 * kMiB);
  EXPECT_EQ((*parts_.converter->ToCosts(usage, model, 4))[0].kv_bytes, 44 * kMiB) << "each keeps the prompt";
  for (const int64_t bad : {int64_t{-1}, kLeast, kMost}) {
    usage.set_output_tokens(bad);
    EXPECT_FALSE(parts_.converter->ToCosts(usage, model, 1)) << bad;
  }
}

TEST_F(ConvertTest, EndReportsSayWhatIsFreed) {
  v1::EndReport end;
  EXPECT_EQ(ToEndKind(end), Gate::EndKind::kCompleted);
  end.set_reason(v1::EndReport::CLIENT_GONE);
  EXPECT_EQ(ToEndKind(end), Gate::EndKind::kClientGone);
  end.set_reason(v1::EndReport::BACKEND_ERROR);
  EXPECT_EQ(ToEndKind(end), Gate::EndKind::kFailed);
  end.set_reason(v1::EndReport::BACKEND_OUT_OF_MEMORY);
  EXPECT_EQ(ToEndKind(end), Gate::EndKind::kFailed);
  end.set_reason(static_cast<v1::EndReport::Reason>(99));
  EXPECT_EQ(ToEndKind(end), Gate::EndKind::kCompleted);
}

// A price beyond all bounds is shown as such.
TEST_F(ConvertTest, APriceBeyondAllBoundsSaturates) {
  const std::string yaml = absl::StrReplaceAll(
      kTwoDevices, {{"kv_bytes_per_token: 1MiB", "kv_bytes_per_token: 1GiB"}, {"1000\n", "1000000000\n"}});
  const Parts parts(yaml);
  v1::AdmitRequest in = Good();
  in.mutable_demand()->set_max_output_tokens(900'000'000);
  in.mutable_demand()->set_sequences(4096);
  Request request;
  ASSERT_FALSE(parts.converter->ToRequest(in, {}, &request, &tokens_));
  v1::Lease lease;
  parts.converter->ToPriced(request, &lease);
  EXPECT_EQ(lease.charges(0).vram_bytes(), kMost);
  v1::EstimateResponse estimate;
  (void)parts.converter->ToEstimate(request, tokens_, parts.controller->Estimate(request), &estimate);
  EXPECT_GE(estimate.vram_bytes(), 0);
  EXPECT_FALSE(estimate.fits_ever());
}

TEST_F(ConvertTest, TheStartIsThePromptsPrice) {
  v1::AdmitRequest in = Good();
  in.set_revocable(true);
  in.mutable_demand()->set_sequences(3);
  Request request = Converted(in);
  EXPECT_EQ(request.start_costs[0].kv_bytes, 3 * 10 * kMiB);
  EXPECT_EQ(request.prompt_tokens, 10);
  EXPECT_EQ(request.max_output_tokens, 5);
  EXPECT_TRUE(request.revocable);
  EXPECT_FALSE(Converted(Good()).revocable);
  in.mutable_demand()->set_vram_bytes(kGiB);
  request = Converted(in);
  EXPECT_EQ(request.prompt_tokens, 0) << "how a price of the caller's own comes about is not known";
  EXPECT_EQ(request.start_costs, request.costs);
}

TEST_F(ConvertTest, OutputIsTakenToSpreadEvenly) {
  v1::Usage usage;
  EXPECT_EQ(Converter::OutputTokens(usage, 1), -1);
  usage.set_output_tokens(7);
  EXPECT_EQ(Converter::OutputTokens(usage, 1), 7);
  EXPECT_EQ(Converter::OutputTokens(usage, 3), 3);
  for (const int64_t absurd : {kLeast, int64_t{-1}, kMost}) {
    usage.set_output_tokens(absurd);
    EXPECT_EQ(Converter::OutputTokens(usage, 1), -1);
  }
}

// The prompt's bytes are 600, of which enough prompts have had a token for each 5.
TEST(CalibratedTest, APromptIsChargedByWhatOthersCameTo) {
  const std::string calibrated =
      absl::StrReplaceAll(kTwoDevices, {{"tokens_per_byte: 0.5", "tokens_per_byte: 1\n    prompt_tokens: calibrated"}});
  for (const bool on : {false, true}) {
    Parts parts(on ? calibrated : std::string(kTwoDevices));
    const auto charged = [&](int64_t bytes) {
      v1::AdmitRequest in;
      in.set_model("m");
      in.mutable_demand()->set_prompt_bytes(bytes);
      Request request;
      EXPECT_FALSE(parts.converter->ToRequest(in, {}, &request, nullptr));
      return std::pair(request.prompt_source, request.prompt_tokens);
    };
    const int64_t bound = on ? 600 : 300;
    EXPECT_EQ(charged(600), std::pair(PromptSource::kBound, bound));
    for (int i = 0; i < TokenRatios::kLeastSamples; ++i) {
      parts.converter->LearnPrompt(
          ModelId{0}, {.prompt_bytes = 600, .charged_tokens = bound, .prompt_tokens = i % 2 == 0 ? 120 : 60});
    }
    const auto [source, tokens] = charged(600);
    if (on) {
      EXPECT_EQ(source, PromptSource::kCalibrated);
      EXPECT_GE(tokens, 132) << "the margin";
      EXPECT_LE(tokens, 140);
    } else {
      EXPECT_EQ(source, PromptSource::kBound);
      EXPECT_EQ(tokens, bound);
    }
    EXPECT_EQ(charged(100), std::pair(PromptSource::kBound, on ? int64_t{100} : int64_t{50})) << "of no such size";
    // What is learned may be more than can be: the bound holds.
    for (int i = 0; i < 20'000; ++i) {
      parts.converter->LearnPrompt(ModelId{0}, {.prompt_bytes = 600, .charged_tokens = 600, .prompt_tokens = 6000});
    }
    EXPECT_EQ(charged(600), std::pair(PromptSource::kBound, bound));
  }
}

}  // namespace
}  // namespace vramgate
