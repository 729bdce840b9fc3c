// What the config refuses, one case a rule, and the words it does so with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "admission/server/yaml_node.h"
#include "tests/admission/server/config_test_text.h"

namespace vramgate {
namespace {

using ::testing::HasSubstr;

struct Refusal {
  std::string yaml;
  std::string error;
};
class RefusalTest : public ::testing::TestWithParam<Refusal> {};
TEST_P(RefusalTest, IsSaid) {
  EXPECT_THAT(Error(GetParam().yaml), HasSubstr(GetParam().error)) << GetParam().yaml;
}

INSTANTIATE_TEST_SUITE_P(
    Schema, RefusalTest,
    ::testing::Values(
        Refusal{With("queue: {max_requests: 1, max_requests: 2}\n"),
                "queue.max_requests: given twice, again on line 8"},
        Refusal{With("tenants: {a: {}, a: {}}\n"), "tenants.a: given twice"},
        Refusal{With("queue:\n"), "queue: has no value: expected a mapping"},
        Refusal{With("log: {level: ~}\n"), "log.level: has no value"},
        Refusal{With("log: {level: Info}\n"), "\"Info\" is not possible here; possible: debug, info, warning, error"},
        Refusal{With("log: {level: level_unspecified}\n"), "is not possible here"},
        Refusal{With("queue: {max_requests: -1}\n"), "\"-1\" is not a number >= 0"},
        Refusal{With("queue: {max_requests: 1.5}\n"), "is not a count"},
        Refusal{With("queue: {max_requests: 0x10}\n"), "is not a number"},
        Refusal{With("queue: {max_requests: 99999999999999999999}\n"), "queue.max_requests"},
        Refusal{With("queue: {max_bypass: 5000000000}\n"), "is more than 1000000"},
        Refusal{With("queue: {max_requests: [1]}\n"), "is a list: expected one value"},
        Refusal{With("queue: {ageing: 0s}\n"), "\"0s\" is less than 1ms"},
        Refusal{With("queue: {max_wait: 25h}\n"), "\"25h\" is more than 24h"},
        Refusal{With("queue: {max_wait: -5s}\n"), "is not a duration"},
        Refusal{With("queue: {max_wait: 1e300s}\n"), "is not a duration"},
        Refusal{With("limits: {message_bytes: 2GiB}\n"), "\"2GiB\" is more than 1GiB"},
        Refusal{With("limits: {request_id_bytes: 257}\n"), "is more than 256"},
        Refusal{With("gateways: {paths: {chat: chat}}\n"), "gateways.paths.chat: \"chat\" is no path such as /my/chat"},
        Refusal{With("gateways: {paths: {/a/: chat}}\n"), "is no path"},
        Refusal{With("gateways: {paths: {/a%20b: chat}}\n"), "is no path"},
        Refusal{With("gateways: {paths: {/: chat}}\n"), "is no path"},
        Refusal{With("gateways: {paths: {/chat: telepathy}}\n"), "is not possible here; possible: pass, refuse, chat"},
        Refusal{With("gateways: {tenant_headers: [X-Tenant]}\n"),
                "gateways.tenant_headers[0]: \"X-Tenant\" is no header's name in lower case"},
        Refusal{With("gateways: {timeout_headers: [\"a b\"]}\n"), "gateways.timeout_headers[0]"},
        Refusal{With("gateways: {priorities: {a: 1000001}}\n"),
                "gateways.priorities.a: 1000001 is not within -1000000"},
        Refusal{With("gateways: {priorities: {a: high}}\n"), "\"high\" is not a whole number"},
        Refusal{With("gateways: {priorities: {a: -99999999999}}\n"), "is not a whole number"},
        Refusal{But("name: m\n", "name: m\n    prompt_tokens: guessed\n"), "possible: bound, calibrated"},
        Refusal{But("name: m\n", "name: m\n    min_tokens_per_s: nan\n"), "\"nan\" is not a number"},
        Refusal{But("name: m\n", "name: m\n    min_tokens_per_s: 0\n"), "is less than 0.001"},
        Refusal{But("name: m\n", "name: m\n    assurance: best_case\n"),
                "\"best_case\" is not possible here; possible: worst_case, lockstep, statistical"},
        Refusal{But("name: m\n", "name: m\n    assurance: statistical\n    risk: 0.3\n"), "is more than 0.2"},
        Refusal{But("name: m\n", "name: m\n    assurance: statistical\n    risk: 0\n"), "is less than 1e-6"},
        Refusal{But("name: m\n", "name: m\n    assurance: lockstep\n    risk: 0.01\n"),
                "models[0].risk: is for `assurance: statistical` alone"},
        Refusal{But("name: m\n", "name: m\n    assurance: lockstep\n    steps: {per_s: 50, lookahead_tokens: 0}\n"),
                "is less than 1"},
        Refusal{But("name: m\n", "name: m\n    assurance: lockstep\n    steps: {per_s: 50, min_tokens: 2}\n"),
                "models[0].steps.min_tokens: 2 is more than max_tokens (1)"},
        Refusal{But("kv_pool: 40GiB", "pool: dynamic}\n    assurance: lockstep\n    steps: {per_s: 50"),
                "models[0].instances[0].pool: must be preallocated where the model's assurance is above worst_case"},
        Refusal{But("name: m\n", "name: \"\"\n"), "models[0].name: \"\" has 0 bytes: that is less than 1"},
        Refusal{But("name: m\n", "name: \"a\\nb\"\n"), "control characters"},
        Refusal{With("listeners: {grpc: [{address: \"127.0.0.1:1\", insecure: yes}]}\n"),
                "\"yes\" is neither true nor false"},
        Refusal{With("listeners: {grpc: [{insecure: true}]}\n"), "listeners.grpc[0].address: missing"},
        Refusal{With("listeners: {grpc: []}\n"), "0 entries: that is less than 1"},
        Refusal{With("listeners: {grpc: unix:/a}\n"), "expected a list"}));

INSTANTIATE_TEST_SUITE_P(Yaml, RefusalTest,
                         ::testing::Values(Refusal{"a: [1\n", "f.yaml:"}, Refusal{"a: b: c\n", "not YAML"},
                                           Refusal{"a: &x 1\nb: *x\n", "f.yaml:1: anchors"},
                                           Refusal{With("log: !x {}\n"), "tags"},
                                           Refusal{"[a, b]\n", "is a list: expected a mapping"},
                                           Refusal{"text\n", "expected a mapping"},
                                           Refusal{"? [a]\n: b\n", "a key must be a plain name"},
                                           Refusal{"a: 1\n---\nb: 2\n", "more than one YAML document"},
                                           Refusal{"a: \"\xff\"\n", "f.yaml:1: not valid UTF-8"},
                                           Refusal{std::string("a: 1\nb: \0\n", 10), "f.yaml:2: not valid UTF-8"},
                                           Refusal{std::string(100, '[') + std::string(100, ']'), "nested deeper"},
                                           Refusal{std::string(100'000, '['), "f.yaml:"},
                                           Refusal{std::string(kMaxYamlBytes + 1, ' '), "larger than"}));

INSTANTIATE_TEST_SUITE_P(
    Listeners, RefusalTest,
    ::testing::Values(
        Refusal{With("listeners: {grpc: [\"127.0.0.1:9443\"]}\n"),
                "Write {address: \"127.0.0.1:9443\", insecure: true} to accept that"},
        Refusal{With("listeners: {grpc: [\"/run/x.sock\"]}\n"), "is not an address"},
        Refusal{With("listeners: {grpc: [\"unix:\"]}\n"), "has no path"},
        Refusal{With("listeners: {grpc: [\"unix:///run/x\"]}\n"), "has a slash too many"},
        Refusal{With(absl::StrCat("listeners: {grpc: [\"unix:/", std::string(107, 'x'), "\"]}\n")), "at most 107"},
        Refusal{With("listeners: {grpc: [\"localhost:70000\"]}\n"), "no usable port"},
        Refusal{With("listeners: {grpc: [\"::1:9443\"]}\n"), "stands in brackets"},
        Refusal{With("listeners: {grpc: [\"unix:/a\", \"unix:/a\"]}\n"),
                "listeners.grpc[1]: \"unix:/a\" is also listeners.grpc[0]"},
        Refusal{With("listeners: {operator: \"unix:/run/vramgate/gate.sock\"}\n"), "is also listeners.grpc[0]"},
        Refusal{With("listeners: {operator: \"127.0.0.1:1\"}\n"), "must be a Unix socket"},
        Refusal{With("listeners: {admin: \"0.0.0.0:9901\"}\n"), "must be a loopback port"},
        Refusal{With("listeners: {admin: \"unix:/a\"}\n"), "must be a loopback port"}));

INSTANTIATE_TEST_SUITE_P(
    Fleet, RefusalTest,
    ::testing::Values(
        Refusal{But("  - {id", "  - {id: \"0\"}\n  - {id"), "devices[1].id: \"0\" is also devices[0].id"},
        Refusal{But("id: \"0\"", "id: \"a/b\""), "nor a slash"},
        Refusal{But("80GiB}", "80GiB}, headroom: 80GiB"), "leaves nothing"},
        Refusal{But("80GiB}", "80GiB}, poll_interval: 6s"), "must be at least twice poll_interval (6s)"},
        Refusal{But("80GiB", "1KiB"), "is less than 1MiB"},
        Refusal{But("source: m/config.json", "block_tokens: 16"), "models[0]: needs source"},
        Refusal{But("m/config.json",
                    "x\n    shape: {parameters: 8e9, layers: 32, heads: 32, hidden: 4096}\n    max_model_len: 8"),
                "has both source and shape"},
        Refusal{But("source: m/config.json", "shape: {parameters: 8e9, layers: 32, heads: 32, hidden: 4096}"),
                "models[0].max_model_len: missing"},
        Refusal{But("source: m/config.json", "shape: {parameters: 8e9, layers: 0, heads: 32}"),
                "shape.hidden: missing"},
        Refusal{But("source: m/config.json",
                    "max_model_len: 8\n    activation: batched\n    shape: {parameters: 8e9, layers: 3, heads: 2, "
                    "hidden: 4}"),
                "needs intermediate and vocab"},
        Refusal{But("name: m\n", "name: m\n    aliases: [m]\n"), "models[0].aliases[0]: \"m\" is also models[0].name"},
        Refusal{But("name: m\n", "name: m\n    max_model_len: 8\n    default_max_output_tokens: 8\n"),
                "leaves no room for a prompt"},
        Refusal{But("name: m\n", "name: m\n    overhead_ratio: 0.2\n    overhead_bytes: 1GiB\n"),
                "stands beside overhead_bytes"},
        Refusal{But("name: m\n", "name: \"a,b\"\n"), "must not hold"},
        Refusal{But("[\"0\"]", "[\"0\", \"0\"]"), "devices[1]: \"0\" is also models[0].instances[0].devices[0]"},
        Refusal{But("[\"0\"]", "[]"), "0 entries"},
        Refusal{But(", kv_pool: 40GiB", ""), "a preallocated pool needs its size"},
        Refusal{But("kv_pool", "pool: dynamic, kv_pool"), "stands beside `pool: dynamic`"},
        Refusal{But("kv_pool: 40GiB", "pool: dynamic, engine_metrics: \"http://a/metrics\""),
                "engine_metrics: stands beside `pool: dynamic`"},
        Refusal{But("kv_pool: 40GiB", "pool: dynamic, engine_log: vllm.log"),
                "engine_log: stands beside `pool: dynamic`"},
        Refusal{But("kv_pool", "engine_metrics: \"https://a/metrics\", kv_pool"),
                "\"https://a/metrics\" is no http://HOST[:PORT]/PATH"},
        Refusal{But("kv_pool", "engine_poll_interval: 1ms, kv_pool"), "engine_poll_interval"},
        Refusal{But("      - {name: a", "      - {name: a, devices: [\"0\"], pool: dynamic}\n      - {name: a"),
                "\"a\" is also"}));

INSTANTIATE_TEST_SUITE_P(
    Rest, RefusalTest,
    ::testing::Values(Refusal{With("tenants: {a: {limit: 0}}\n"), "tenants.a.limit: \"0\" is less than 1"},
                      Refusal{With("tenants: {a: {weight: -1}}\n"), "tenants.a.weight"},
                      Refusal{With("http_status: {QUEUE_FUL: 429}\n"), "http_status.QUEUE_FUL: is no reason"},
                      Refusal{With("http_status: {QUEUE_FULL: 200}\n"), "200 is no HTTP error"},
                      Refusal{With("trusted_cost: [gateway]\n"),
                              "trusted_cost[0]: \"gateway\" is no address of listeners.grpc"}));

}  // namespace
}  // namespace vramgate
