/* The header as a C11 program sees it: every struct and its initializer, every function by its type. */
#include "plugin/c/vramgate_plugin.h"

#include "tests/plugin/c/header_sizes.h"

_Static_assert(VG_ABI_MAJOR == 1, "another major breaks every plugin that is out there");

size_t vg_test_sizes_c11(size_t* out) {
  const vg_client_options options = VG_CLIENT_OPTIONS_INIT;
  const vg_admit_args args = VG_ADMIT_ARGS_INIT;
  const vg_decision decision = VG_DECISION_INIT;
  const vg_callbacks callbacks = VG_CALLBACKS_INIT;
  const vg_usage usage = VG_USAGE_INIT;
  const vg_step_report report = VG_STEP_REPORT_INIT;
  const size_t sizes[] = {options.struct_size, args.struct_size,        decision.struct_size,  callbacks.struct_size,
                          usage.struct_size,   sizeof(vg_progress),     report.struct_size,    sizeof(vg_step_answer),
                          sizeof(vg_api),      sizeof(vg_client_state), vg_string("four").size};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) out[i] = sizes[i];
  return sizeof sizes / sizeof sizes[0];
}
