// What a host sees of libvramgate_plugin.so: its symbols, its sizes, its versions.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "plugin/c/vramgate_plugin.h"
#include "tests/plugin/c/header_sizes.h"
#include "tests/support/child.h"
#include "tests/support/temporary_directory.h"

namespace vramgate {
namespace {

// Nothing listens there: every client is away.
vg_client_options Nowhere(const std::string& target) {
  vg_client_options options = VG_CLIENT_OPTIONS_INIT;
  options.target = vg_string(target.c_str());
  options.away_after_ns = 0;
  return options;
}

class AbiTest : public testing::Test {
 protected:
  const TemporaryDirectory directory_;
  const std::string target_ = "unix:" + directory_.At("nobody.sock");
  const vg_api* const vg_ = vramgate_get_api(VG_ABI_MAJOR, VG_ABI_MINOR);
};

TEST_F(AbiTest, OneSymbolIsExported) {
  const Ran ran = RunToEnd({VRAMGATE_NM, "-D", "--defined-only", "--format=posix", VRAMGATE_PLUGIN});
  ASSERT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(ran.out.substr(0, ran.out.find(' ')), "vramgate_get_api");
  EXPECT_EQ(ran.out.find('\n'), ran.out.size() - 1) << ran.out;
}

// No release may change what is here: only append.
TEST_F(AbiTest, SizesAreThoseOfTheFirstRelease) {
  const std::vector<size_t> golden = {64, 136, 616, 56, 32, 24, 80, 64, 136, 56, 4};
  std::array<size_t, 16> sizes{};
  for (const auto measure : {vg_test_sizes_c11, vg_test_sizes_cxx17}) {
    const size_t count = measure(sizes.data());
    EXPECT_EQ(std::vector<size_t>(sizes.begin(), sizes.begin() + static_cast<std::ptrdiff_t>(count)), golden);
  }
  EXPECT_EQ(offsetof(vg_decision, lease_name), 64u);
  EXPECT_EQ(offsetof(vg_api, client_create), 16u);
  EXPECT_EQ(offsetof(vg_api, code_name), 128u);
}

TEST_F(AbiTest, VersionsThatCannotBeKeptAreRefused) {
  EXPECT_NE(vg_, nullptr);
  EXPECT_EQ(vramgate_get_api(VG_ABI_MAJOR + 1, 0), nullptr);
  EXPECT_EQ(vramgate_get_api(VG_ABI_MAJOR - 1, 0), nullptr);
  EXPECT_EQ(vramgate_get_api(VG_ABI_MAJOR, VG_ABI_MINOR + 1), nullptr);
  EXPECT_EQ(vg_->struct_size, sizeof(vg_api));
  EXPECT_TRUE(VG_HAS(vg_, vg_api, code_name));
}

TEST_F(AbiTest, AnOlderHeaderIsServed) {
  // Of a header that ended with `target`: the rest is as if it had not been said.
  vg_client_options options = Nowhere(target_);
  options.when_away = 99;
  options.struct_size = offsetof(vg_client_options, when_away);
  vg_client* client = nullptr;
  ASSERT_EQ(vg_->client_create(&options, &client), VG_OK);
  vg_admit_args args = VG_ADMIT_ARGS_INIT;
  args.model = vg_string("m");
  args.sequences = -7;  // beyond what this caller's header has
  args.struct_size = offsetof(vg_admit_args, sequences);
  struct {
    vg_decision decision = VG_DECISION_INIT;
    char guard[8] = {'g', 'u', 'a', 'r', 'd'};
  } small;
  small.decision.struct_size = offsetof(vg_decision, vram_bytes);
  small.decision.vram_bytes = 77;
  vg_lease lease = 1;
  // One second until it counts as away, which its header has no word for.
  EXPECT_EQ(vg_->try_admit(client, &args, 60'000'000'000, &small.decision, &lease), VG_UNAVAILABLE);
  EXPECT_EQ(small.decision.code, VG_UNAVAILABLE);
  EXPECT_EQ(small.decision.vram_bytes, 77) << "written beyond what the caller has";
  EXPECT_EQ(small.decision.struct_size, offsetof(vg_decision, vram_bytes));
  EXPECT_EQ(lease, 0u);
  EXPECT_EQ(vg_->client_destroy(client), VG_OK);
}

TEST_F(AbiTest, ANewerHeaderIsServed) {
  struct {
    vg_client_options known;
    uint64_t later = ~uint64_t{0};
  } options{Nowhere(target_)};
  options.known.struct_size = sizeof options;
  vg_client* client = nullptr;
  ASSERT_EQ(vg_->client_create(&options.known, &client), VG_OK);
  struct {
    vg_client_state known{};
    uint64_t later = 5;
  } state;
  state.known.struct_size = sizeof state;
  EXPECT_EQ(vg_->client_state(client, &state.known), VG_OK);
  EXPECT_EQ(state.known.struct_size, sizeof state);
  EXPECT_EQ(state.later, 5u);
  EXPECT_EQ(vg_->client_destroy(client), VG_OK);
}

TEST_F(AbiTest, WhatMakesNoSenseIsRefused) {
  vg_client* client = nullptr;
  vg_client_options options = Nowhere(target_);
  const std::string long_path = "unix:/" + std::string(108, 'x');
  for (const char* target : {"", "unix:", "unix:///run/plugin.sock", "127.0.0.1:80", long_path.c_str()}) {
    options.target = vg_string(target);
    std::string logged;
    options.log = [](void* user, int32_t, const char* text, size_t size) {
      static_cast<std::string*>(user)->assign(text, size);
    };
    options.log_user = &logged;
    EXPECT_EQ(vg_->client_create(&options, &client), VG_INVALID_ARGUMENT);
    EXPECT_TRUE(logged.starts_with("target: ")) << logged;
  }
  EXPECT_EQ(vg_->client_create(nullptr, &client), VG_INVALID_ARGUMENT);
  EXPECT_EQ(vg_->client_destroy(nullptr), VG_INVALID_ARGUMENT);
  options = Nowhere(target_);
  ASSERT_EQ(vg_->client_create(&options, &client), VG_OK);
  vg_decision decision = VG_DECISION_INIT;
  vg_lease lease = 0;
  vg_admit_args args = VG_ADMIT_ARGS_INIT;
  EXPECT_EQ(vg_->try_admit(client, &args, 0, &decision, &lease), VG_INVALID_ARGUMENT);
  EXPECT_TRUE(std::string(decision.message).starts_with("model: "));
  args.model = vg_string("m");
  args.prompt_tokens = -2;
  EXPECT_EQ(vg_->admit_async(client, &args, nullptr, &lease), VG_INVALID_ARGUMENT);
  EXPECT_EQ(vg_->poll(client, 12345, &decision), VG_NOT_FOUND);
  EXPECT_EQ(vg_->extend(client, 12345, 1), VG_NOT_FOUND);
  vg_->release(client, 12345, nullptr);
  vg_->cancel(client, ~vg_lease{0});
  vg_->revoke_ack(client, 0);
  EXPECT_EQ(vg_->client_destroy(client), VG_OK);
}

TEST_F(AbiTest, EveryCodeHasAName) {
  EXPECT_STREQ(vg_->code_name(VG_RESOURCE_EXHAUSTED), "RESOURCE_EXHAUSTED");
  EXPECT_STREQ(vg_->code_name(VG_PENDING), "PENDING");
  EXPECT_STREQ(vg_->code_name(4711), "UNKNOWN");
}

}  // namespace
}  // namespace vramgate
