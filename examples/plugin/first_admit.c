/* The shortest use of the C ABI: one request, admitted, served and ended.
 *
 *   first_admit [TARGET [MODEL]]      defaults: unix:build/run/plugin.sock llama-3.1-8b
 *
 * Needs vramgate_plugin.h, and libvramgate_plugin.so at run time: linked, as here, or by dlopen and dlsym. */
#include <inttypes.h>
#include <stdio.h>

#include "plugin/c/vramgate_plugin.h"

int main(int argc, char** argv) {
  const vg_api* vg = vramgate_get_api(VG_ABI_MAJOR, VG_ABI_MINOR);
  if (vg == NULL) return fprintf(stderr, "this libvramgate_plugin.so speaks another ABI\n"), 1;

  vg_client_options options = VG_CLIENT_OPTIONS_INIT;
  options.target = vg_string(argc > 1 ? argv[1] : "unix:build/run/plugin.sock");
  vg_client* client = NULL;
  if (vg->client_create(&options, &client) != VG_OK) return fprintf(stderr, "the target is no unix:/path\n"), 1;

  vg_admit_args args = VG_ADMIT_ARGS_INIT;
  args.model = vg_string(argc > 2 ? argv[2] : "llama-3.1-8b");
  args.prompt_tokens = 1000;
  args.max_output_tokens = 500;
  vg_decision decision = VG_DECISION_INIT;
  vg_lease lease = 0;
  const vg_code code = vg->try_admit(client, &args, 2000000000, &decision, &lease);
  if (code != VG_OK) {
    fprintf(stderr, "%s %s: %s\n", vg->code_name(code), decision.reason, decision.message);
    return vg->client_destroy(client), 3;
  }
  printf("%s on instance %s: %" PRId64 " bytes\n", decision.lease_name, decision.instance, decision.vram_bytes);
  /* Generate here. */
  vg_usage usage = VG_USAGE_INIT;
  usage.output_tokens = 321;
  vg->release(client, lease, &usage);
  printf("released\n");
  return vg->client_destroy(client) == VG_OK ? 0 : 1;
}
