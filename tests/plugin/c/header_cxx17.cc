// The header as a C++17 program sees it.
#include "plugin/c/vramgate_plugin.h"
#include "tests/plugin/c/header_sizes.h"

static_assert(__cplusplus == 201703L, "to be compiled as C++17");

size_t vg_test_sizes_cxx17(size_t* out) {
  const vg_client_options options = VG_CLIENT_OPTIONS_INIT;
  const vg_admit_args args = VG_ADMIT_ARGS_INIT;
  const vg_decision decision = VG_DECISION_INIT;
  const vg_callbacks callbacks = VG_CALLBACKS_INIT;
  const vg_usage usage = VG_USAGE_INIT;
  const vg_step_report report = VG_STEP_REPORT_INIT;
  const size_t sizes[] = {options.struct_size, args.struct_size,        decision.struct_size,  callbacks.struct_size,
                          usage.struct_size,   sizeof(vg_progress),     report.struct_size,    sizeof(vg_step_answer),
                          sizeof(vg_api),      sizeof(vg_client_state), vg_string("four").size};
  size_t count = 0;
  for (const size_t size : sizes) out[count++] = size;
  return count;
}
