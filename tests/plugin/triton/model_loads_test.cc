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

class ModelLoadsTest : public ::testing::Test {
 protected:
  ModelLoadsTest() : loads_(std::make_unique<ModelLoads>(gate_.api())) {}

  // Admitted as which; 0: refused.
  ModelLoads::Copy Load(const LoadTarget& target) {
    ModelLoads::Copy copy = 0;
    refusal_ = TextOf(loads_->Load(target, &copy));
    return copy;
  }

  FakeGate gate_;
  std::unique_ptr<ModelLoads> loads_;
  std::string refusal_;
};

TEST_F(ModelLoadsTest, IsAskedOnceAndGivenBackOnce) {
  const ModelLoads::Copy copy = Load({.name = "t", .model = "m"});
  loads_->Complete(copy);
  loads_->Unload(copy);
  loads_->Unload(copy);
  loads_.reset();
  EXPECT_THAT(gate_.asked, ElementsAre("create", "load m", "unload m", "destroy"));
}

TEST_F(ModelLoadsTest, ARefusalIsNoCopy) {
  gate_.answer = VG_RESOURCE_EXHAUSTED;
  EXPECT_EQ(Load({.name = "t", .model = "m"}), 0);
  EXPECT_THAT(refusal_, HasSubstr("vramgate: BUDGET_EXHAUSTED"));
  loads_->Unload(0);
  gate_.answer = VG_OK;
  EXPECT_NE(Load({.name = "t", .model = "m"}), 0);
  EXPECT_THAT(gate_.asked, ElementsAre("create", "load m", "load m"));
}

TEST_F(ModelLoadsTest, ASecondCopyIsRefused) {
  const ModelLoads::Copy copy = Load({.name = "t", .model = "m"});
  loads_->Complete(copy);
  EXPECT_EQ(Load({.name = "t", .model = "m"}), 0);
  EXPECT_THAT(refusal_, HasSubstr("ALREADY_LOADED"));
  loads_->Unload(copy);
  EXPECT_NE(Load({.name = "t", .model = "m"}), 0);
}

TEST_F(ModelLoadsTest, AFailureThatNobodyTellsOfLeavesItsBytesToTheNextTry) {
  const ModelLoads::Copy failed = Load({.name = "t", .model = "m"});
  const ModelLoads::Copy next = Load({.name = "t", .model = "m"});
  ASSERT_NE(next, 0);
  loads_->Complete(next);
  loads_->Unload(failed);  // when Triton drops what it kept of it
  EXPECT_THAT(gate_.asked, ElementsAre("create", "load m")) << "the bytes are the next one's";
  EXPECT_EQ(Load({.name = "another", .model = "m"}), 0) << "and only of the same name";
  loads_->Unload(next);
  EXPECT_THAT(gate_.asked, ElementsAre("create", "load m", "unload m"));
}

TEST_F(ModelLoadsTest, CopiesThatAreAllowedAreCountedOnce) {
  const LoadTarget target{.name = "t", .model = "m", .reload = true};
  const ModelLoads::Copy old = Load(target);
  loads_->Complete(old);
  const ModelLoads::Copy fresh = Load(target);
  loads_->Complete(fresh);
  loads_->Unload(old);
  EXPECT_THAT(gate_.asked, ElementsAre("create", "load m")) << "the new copy is there";
  loads_->Unload(fresh);
  EXPECT_THAT(gate_.asked, ElementsAre("create", "load m", "unload m"));
}

TEST_F(ModelLoadsTest, InstancesAreApart) {
  EXPECT_NE(Load({.name = "t", .model = "m", .instance = "a"}), 0);
  EXPECT_NE(Load({.name = "u", .model = "m", .instance = "b"}), 0);
  EXPECT_THAT(gate_.asked, ElementsAre("create", "load m", "load m"));
}

}  // namespace
}  // namespace vramgate
