"""Every kind of API through a real Envoy: charged for what its own engine would take, by whom its headers name."""

import http.client
import json
import pathlib

import pytest
from programs import ROOT, Envoy, get_json, wait_for
from rig import metrics, settled

# A token is 1 MiB, in blocks of 16.
IDS = [1] * 40
TEXT = "x" * 40

CHAT = {"max_tokens": 20, "messages": [{"role": "user", "content": TEXT}]}

CHARGED = [
    # path, body, least and most tokens
    ("/v1/completions", {"model": "m", "prompt": IDS, "max_tokens": 20}, 64, 64),
    ("/v1/completions?x=1", {"model": "m", "prompt": [IDS, IDS[:8]], "max_tokens": 20}, 128, 128),
    ("/openai/v1/chat/completions", {"model": "m"} | CHAT, 64, 160),
    ("/openai/deployments/m/chat/completions", CHAT, 64, 160),
    ("/v1/responses", {"model": "m", "input": TEXT, "max_output_tokens": 20}, 64, 112),
    ("/v1/messages", {"model": "m", "messages": [{"role": "user", "content": TEXT}], "max_tokens": 20}, 64, 160),
    ("/v1/embeddings", {"model": "m", "input": [IDS[:8], IDS[:16]]}, 32, 32),
    ("/rerank", {"model": "m", "query": TEXT, "documents": [TEXT, TEXT]}, 160, 320),
    ("/generate", {"model": "m", "input_ids": IDS, "sampling_params": {"max_new_tokens": 20}}, 64, 64),
    ("/v2/models/m/generate_stream", {"text_input": TEXT, "max_tokens": 20}, 64, 112),
    (
        "/v2/models/m/versions/1/infer",
        {
            "inputs": [
                {"name": "input_ids", "shape": [1, 40], "datatype": "INT32", "data": IDS},
                {"name": "request_output_len", "shape": [1, 1], "datatype": "INT32", "data": [20]},
            ]
        },
        64,
        64,
    ),
]


def post(envoy, path, body, headers=()):
    connection = http.client.HTTPConnection(envoy.address, timeout=30)
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"} | dict(headers))
    return connection


def held(gate):
    return get_json(gate.ready["admin"], "/leases?state=held")["leases"]


@pytest.mark.parametrize(("path", "body", "least", "most"), CHARGED, ids=[case[0] for case in CHARGED])
def test_it_is_charged(path, body, least, most, gate, envoy, engine):
    connection = post(envoy, path, body)
    answer = engine.next()
    (lease,) = held(gate)
    assert least <= lease["vram_bytes"] >> 20 <= most  # activation is a few KiB on top
    answer.whole(b"{}")
    response = connection.getresponse()
    assert response.status == 200
    assert int(response.headers["x-vramgate-prompt-tokens"]) > 0
    counted = "[1, 1" in json.dumps(body)
    assert response.headers["x-vramgate-prompt-tokens-source"] == ("given" if counted else "bound")
    response.read()
    connection.close()
    settled(gate)


@pytest.mark.parametrize("path", ["/tokenize", "/v1/messages/count_tokens", "/v2/models/m/load"])
def test_what_does_not_generate_passes(path, gate, envoy, engine):
    connection = post(envoy, path, {"model": "unheard-of"})
    answer = engine.next()
    assert held(gate) == []
    answer.whole(b"{}")
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/inference.GRPCInferenceService/ModelStreamInfer"])
def test_what_cannot_be_priced_is_refused(path, gate, envoy, engine):
    connection = post(envoy, path, {"file": "x" * 100_000})
    response = connection.getresponse()
    assert response.status == 400
    assert "gateways.paths" in json.load(response)["error"]["message"]
    assert response.headers["x-should-retry"] == "false"
    connection.close()
    assert engine.idle()
    settled(gate)


def test_headers_say_who_asks_and_the_log_what_was_charged(gate, envoy, engine):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    body = {"model": "m", "prompt": IDS, "max_tokens": 20}
    before = metrics(gate)['vramgate_prompt_tokens_source_total{model="m",source="given"}']
    headers = {
        "x-gateway-inference-fairness-id": "team-a",
        "x-gateway-inference-objective": "sheddable",
        "traceparent": trace,
    }
    connection = post(envoy, "/v1/completions", body, headers)
    answer = engine.next()
    (lease,) = held(gate)
    assert (lease["tenant"], lease["priority"]) == ("team-a", -10)
    answer.whole(b"{}")
    connection.getresponse().read()
    connection.close()
    settled(gate)

    def logged():
        lines = [json.loads(line) for line in gate.log.read_text().splitlines()]
        return [line for line in lines if line.get("traceparent") == trace and line["event"] == "granted"]

    ((line,), _) = wait_for("the line of its grant", logged)
    assert (line["tenant"], line["prompt_tokens"], line["prompt_tokens_source"]) == ("team-a", 40, "given")
    assert line["request_id"]  # Envoy has given it one
    assert metrics(gate)['vramgate_prompt_tokens_source_total{model="m",source="given"}'] == before + 1
    assert metrics(gate)['vramgate_gateway_headers_total{header="tenant",use="used"}'] > 0


def test_a_client_that_waits_no_longer_is_told_so(gate, envoy, engine):
    connection = post(envoy, "/v1/completions", {"model": "m", "prompt": [1], "max_tokens": 1023})
    answer = engine.next()
    body = {"model": "m", "prompt": [1], "max_tokens": 1023}
    waiter = post(envoy, "/v1/completions", body, {"x-request-timeout": "200ms"})
    response = waiter.getresponse()
    assert response.status == 504
    assert response.headers["x-should-retry"] == "false"
    waiter.close()
    answer.whole(b"{}")
    connection.getresponse().read()
    connection.close()
    settled(gate)


def removal():
    """The lines of docs/gateways.md that take the tenants' headers away, as a change to the shipped config."""
    page = (pathlib.Path(ROOT) / "docs" / "gateways.md").read_text()
    _, found, rest = page.partition("early_header_mutation_extensions:\n")
    lines = (found + rest.partition("```")[0]).splitlines()
    indent = " " * 10
    return ("stat_prefix: llm\n", "stat_prefix: llm\n" + "".join(f"{indent}{line}\n" for line in lines))


def test_what_envoy_takes_away_is_not_believed(gate, engine, tmp_path):
    envoy = Envoy(tmp_path / "run", gate, engine, [removal()])
    try:
        headers = {"x-llm-d-inference-fairness-id": "team-a", "x-gateway-inference-objective": "critical"}
        connection = post(envoy, "/v1/completions", {"model": "m", "prompt": [1], "max_tokens": 1}, headers)
        answer = engine.next()
        (lease,) = held(gate)
        assert (lease["tenant"], lease["priority"]) == ("", 10)
        answer.whole(b"{}")
        connection.getresponse().read()
        connection.close()
        settled(gate)
    finally:
        envoy.stop()
