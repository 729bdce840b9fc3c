// A host that loads and unloads the library, each time with a client and its thread. This program is not linked with
// it, so that dlclose unloads it; ASan's leak checker, where it watches, says whether something is left behind.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <string>

#include "plugin/c/vramgate_plugin.h"
#include "tests/support/temporary_directory.h"

namespace vramgate {
namespace {

constexpr int kTimes = 1000;

void ComeAndGo(const std::string& target) {
  void* library = dlopen(VRAMGATE_PLUGIN, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
  const auto get = reinterpret_cast<decltype(&vramgate_get_api)>(dlsym(library, "vramgate_get_api"));
  ASSERT_NE(get, nullptr);
  const vg_api* vg = get(VG_ABI_MAJOR, VG_ABI_MINOR);
  vg_client_options options = VG_CLIENT_OPTIONS_INIT;
  options.target = vg_string(target.c_str());
  vg_client* client = nullptr;
  ASSERT_EQ(vg->client_create(&options, &client), VG_OK);
  vg_admit_args args = VG_ADMIT_ARGS_INIT;
  args.model = vg_string("m");
  vg_lease lease = 0;
  ASSERT_EQ(vg->admit_async(client, &args, nullptr, &lease), VG_OK);
  ASSERT_EQ(vg->client_destroy(client), VG_OK);
  ASSERT_EQ(dlclose(library), 0);
}

TEST(DlopenTest, ItComesAndGoesAThousandTimes) {
  const TemporaryDirectory directory;
  const std::string target = "unix:" + directory.At("nobody.sock");
  ComeAndGo(target);
  EXPECT_EQ(dlopen(VRAMGATE_PLUGIN, RTLD_NOW | RTLD_NOLOAD), nullptr) << "it stays loaded";
  const size_t before = mallinfo2().uordblks;
  for (int i = 0; i < kTimes && !HasFatalFailure(); ++i) ComeAndGo(target);
  EXPECT_LT(mallinfo2().uordblks, before + 100 * kTimes) << "bytes are left behind, each time";
}

}  // namespace
}  // namespace vramgate
