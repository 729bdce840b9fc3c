#include "plugin/triton/model_loads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/plugin/triton/error_text.h"

namespace vramgate {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A gate that notes what it is asked. The table has no user of its own, so there is one a test at a time.
class FakeGate {
 public:
  FakeGate() {
    current_ = this;
    api_ = *vramgate_get_api(VG_ABI_MAJOR, VG_ABI_MINOR);
    api_.client_create = [](const vg_client_options*, vg_client** out) {
      *out = reinterpret_cast<vg_client*>(current_);
      current_->asked.emplace_back("create");
      return VG_OK;
    };
    api_.client_destroy = [](vg_client*) {
      current_->asked.emplace_back("destroy");
      return VG_OK;
    };
    api_.load_model = [](vg_client*, vg_str model, vg_str, int64_t, vg_decision* decision) {
      current_->asked.push_back("load " + std::string(model.data, model.size));
      std::strcpy(decision->reason, "BUDGET_EXHAUSTED");
      return current_->answer;
    };
    api_.unload_model = [](vg_client*, vg_str model, vg_str, int64_t, vg_decision*) {
      current_->asked.push_back("unload " + std::string(model.data, model.size));
      return current_->answer;
    };
  }
  ~FakeGate() { current_ = nullptr; }

  const vg_api* api() const { return &api_; }

  vg_code answer = VG_OK;
  std::vector<std::string> asked;

 private:
  static inline FakeGate* current_ = nullptr;
  vg_api api_;
};

TEST(ModelLoadsTest, IsAskedOnceAndGivenBackOnce) {
  FakeGate gate;
  {
    ModelLoads loads(gate.api());
    const LoadTarget target{.model = "m"};
    ASSERT_EQ(TextOf(loads.Load(target)), "");
    loads.Unload(target);
    loads.Unload(target);
  }
  EXPECT_THAT(gate.asked, ElementsAre("create", "load m", "unload m", "destroy"));
}

TEST(ModelLoadsTest, ARefusalIsNoCopy) {
  FakeGate gate;
  ModelLoads loads(gate.api());
  const LoadTarget target{.model = "m"};
  gate.answer = VG_RESOURCE_EXHAUSTED;
  EXPECT_THAT(TextOf(loads.Load(target)), HasSubstr("vramgate: BUDGET_EXHAUSTED"));
  gate.answer = VG_OK;
  EXPECT_EQ(TextOf(loads.Load(target)), "");
  EXPECT_THAT(gate.asked, ElementsAre("create", "load m", "load m"));
}

TEST(ModelLoadsTest, ASecondCopyIsRefused) {
  FakeGate gate;
  ModelLoads loads(gate.api());
  const LoadTarget target{.model = "m"};
  ASSERT_EQ(TextOf(loads.Load(target)), "");
  EXPECT_THAT(TextOf(loads.Load(target)), HasSubstr("ALREADY_LOADED"));
  loads.Unload(target);
  EXPECT_EQ(TextOf(loads.Load(target)), "");
}

TEST(ModelLoadsTest, CopiesThatAreAllowedAreCountedOnce) {
  FakeGate gate;
  ModelLoads loads(gate.api());
  const LoadTarget target{.model = "m", .reload = true};
  ASSERT_EQ(TextOf(loads.Load(target)), "");
  ASSERT_EQ(TextOf(loads.Load(target)), "");
  loads.Unload(target);
  EXPECT_THAT(gate.asked, ElementsAre("create", "load m")) << "the new copy is there";
  loads.Unload(target);
  EXPECT_THAT(gate.asked, ElementsAre("create", "load m", "unload m"));
}

TEST(ModelLoadsTest, InstancesAreApart) {
  FakeGate gate;
  ModelLoads loads(gate.api());
  ASSERT_EQ(TextOf(loads.Load({.model = "m", .instance = "a"})), "");
  ASSERT_EQ(TextOf(loads.Load({.model = "m", .instance = "b"})), "");
}

}  // namespace
}  // namespace vramgate
