"""A real Triton with gates before its models: requests are forwarded as they are, and what they hold ends with them."""

from __future__ import annotations

import numpy
import pytest
import tritonclient.grpc as triton_grpc  # type: ignore[import-untyped]
from tritonclient.utils import InferenceServerException, triton_to_np_dtype  # type: ignore[import-untyped]

import models
from clients import Call, HttpStream, Stream, echo_body, infer
from conftest import ROOM_TOKENS
from programs import Gate, Triton, http_json, wait_for

TOKENS = [f"tok{index} " for index in range(20)]


def test_a_decoupled_stream_comes_in_order_and_its_lease_is_as_long(gate: Gate, triton: Triton) -> None:
    stream = Stream(triton, "gate_llm", max_tokens=20, delay_ms=20)
    assert stream.next_token() == TOKENS[0]
    (lease,) = gate.leases("held")
    assert lease["model"] == "llm"
    assert lease["vram_bytes"] == (1 + 20) * 2**20, "the prompt's byte and 20 tokens"
    assert stream.tokens() == TOKENS[1:]
    wait_for("the lease ends with the stream", gate.empty, 2)


def test_generate_stream_over_http(gate: Gate, triton: Triton) -> None:
    status, text = triton.post("/v2/models/gate_llm/generate_stream", {"PROMPT": "x", "max_tokens": 3})
    assert status == 200
    assert [line.split('"TOKEN":"')[1].split('"')[0] for line in text.splitlines() if line] == TOKENS[:3]


def test_what_comes_with_a_request_reaches_the_target(triton: Triton) -> None:
    outputs, told = infer(
        triton,
        "gate_echo",
        sequence_id=77,
        sequence_start=True,
        sequence_end=True,
        timeout=9_000_000,
        parameters={"number": 5, "text": "t", "flag": True},
        headers={"x-tenant-id": "team-a"},
    )
    assert outputs == [b"a", b"bcd"]
    assert (told["correlation"], told["flags"]) == ("77", 3)
    assert 0 < told["timeout_us"] <= 9_000_000, "what it has waited is taken off"
    assert (told["got_number"], told["got_text"], told["got_flag"]) == (5, "t", True)
    assert told["got_x-tenant-id"] == "team-a"


def test_a_sequence_may_be_named_by_a_text(triton: Triton) -> None:
    assert infer(triton, "gate_echo", sequence_id="abc")[1]["correlation"] == "abc"


def test_http_without_a_gate_and_with_one_say_the_same(triton: Triton) -> None:
    body = {"id": "one", **echo_body(number=5)}
    (plain_status, plain), (status, gated) = (
        triton.post(f"/v2/models/{name}/infer", body) for name in ("echo", "gate_echo")
    )
    assert plain_status == status == 200
    assert {**plain, "model_name": ""} == {**gated, "model_name": ""}


def test_tenants_come_by_header_with_either_case(gate: Gate, triton: Triton, full: Stream) -> None:
    stream = HttpStream(triton, "gate_llm", max_tokens=1, **{"X-Tenant-ID": "team-b"})
    wait_for("it waits", lambda: [lease["tenant"] for lease in gate.leases("waiting")] == ["team-b"])
    full.leave()
    assert "tok0" in stream.line()


def test_the_gate_is_told_the_tokens_of_inputs(gate: Gate, triton: Triton) -> None:
    """Token ids and lengths as input tensors, in a batch: what TensorRT-LLM's models are asked."""
    interface = """max_batch_size: 8
input [{ name: "INPUT0" data_type: TYPE_INT32 dims: [-1] }, { name: "INPUT1" data_type: TYPE_INT32 dims: [1] }]
output [{ name: "OUTPUT0" data_type: TYPE_INT32 dims: [-1] }, { name: "OUTPUT1" data_type: TYPE_INT32 dims: [1] }]
"""
    config = models.gate("ids", gate.plugin, interface, GATE_MODEL="llm", PROMPT_TOKENS="INPUT0", MAX_TOKENS="INPUT1")
    triton.add_model("ids", models.target(interface))
    triton.add_model("gate_ids", config)
    assert triton.load("ids")[0] == triton.load("gate_ids")[0] == 200
    inputs = []
    for name, values in ("INPUT0", [[1, 2, 3], [4, 5, 6]]), ("INPUT1", [[10], [7]]):
        array = numpy.array(values, dtype=numpy.int32)
        tensor = triton_grpc.InferInput(name, list(array.shape), "INT32")
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    call = Call(triton, "gate_ids", inputs, parameters={"delay_ms": 500})
    (lease,) = wait_for("its lease", lambda: gate.leases("held"))
    assert lease["vram_bytes"] == 2 * (3 + 10) * 2**20, "two rows of 3 tokens and at most 10"
    result = call.result()
    assert result.as_numpy("OUTPUT0").tolist() == [[1, 2, 3], [4, 5, 6]]
    assert result.as_numpy("OUTPUT1").tolist() == [[10], [7]]


def test_every_type_is_forwarded(gate: Gate, triton: Triton) -> None:
    types = ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"]
    names = ", ".join(
        f'{{ name: "XPUT{index}" data_type: TYPE_{name} dims: [-1, 2] }}' for index, name in enumerate(types)
    )
    interface = f"input [{names.replace('XPUT', 'INPUT')}]\noutput [{names.replace('XPUT', 'OUTPUT')}]\n"
    triton.add_model("types", models.target(interface))
    triton.add_model("gate_types", models.gate("types", gate.plugin, interface, GATE_MODEL="llm"))
    assert triton.load("types")[0] == triton.load("gate_types")[0] == 200
    data = [0, 1, 1, 0, 1, 0]
    tensors = []
    for index, name in enumerate(types):
        tensor = triton_grpc.InferInput(f"INPUT{index}", [3, 2], name)
        tensor.set_data_from_numpy(numpy.array(data).reshape(3, 2).astype(triton_to_np_dtype(name)))
        tensors.append(tensor)
    result = Call(triton, "gate_types", tensors, parameters={"max_tokens": 1}).result()
    for index in range(len(types)):
        assert result.as_numpy(f"OUTPUT{index}").reshape(-1).astype(int).tolist() == data, types[index]


def test_only_outputs_that_were_asked_for(triton: Triton) -> None:
    wanted = [triton_grpc.InferRequestedOutput("OUTPUT0")]
    assert infer(triton, "gate_echo", outputs=wanted)[0] == [b"a", b"bcd"]


def test_several_requests_in_one_execute(gate: Gate, triton: Triton) -> None:
    """The gate model's own batcher hands over many at once: each is admitted by itself."""
    more = "max_batch_size: 8\ndynamic_batching { max_queue_delay_microseconds: 200000 preferred_batch_size: [4] }\n"
    interface = models.ECHO_INTERFACE.replace("[-1]", "[1]")
    triton.add_model("one", models.target(interface, "max_batch_size: 8\n"))
    triton.add_model("gate_one", models.gate("one", gate.plugin, interface, more, GATE_MODEL="llm"))
    assert triton.load("one")[0] == triton.load("gate_one")[0] == 200
    calls = []
    for index in range(4):
        tensor = triton_grpc.InferInput("INPUT0", [1, 1], "BYTES")
        tensor.set_data_from_numpy(numpy.array([[f"r{index}".encode()]], dtype=object))
        parameters = {"max_tokens": 1, "delay_ms": 300}
        calls.append(Call(triton, "gate_one", [tensor], parameters=parameters))
    wait_for("four leases", lambda: gate.count("held") == 4)
    outputs = [call.result().as_numpy("OUTPUT0").tolist() for call in calls]
    assert outputs == [[[f"r{index}".encode()]] for index in range(4)]


def test_an_error_of_the_target_is_the_clients_and_ends_the_lease(gate: Gate, triton: Triton) -> None:
    stream = Stream(triton, "gate_llm", fail_after=2, max_tokens=9)
    assert [stream.next_token(), stream.next_token()] == TOKENS[:2]
    with pytest.raises(InferenceServerException, match="the target has failed"):
        stream.next_token()
    stream.close()
    with pytest.raises(InferenceServerException, match="the target has failed"):
        infer(triton, "gate_echo", parameters={"fail_after": 0})


# Triton's codes, and what they become in gRPC and in HTTP's /infer (of 2.51; of 2.41 all are 400): docs/triton.md.
CODES = {
    "INTERNAL": (1, "INTERNAL", 500),
    "NOT_FOUND": (2, "NOT_FOUND", 404),
    "INVALID_ARG": (3, "INVALID_ARGUMENT", 400),
    "UNAVAILABLE": (4, "UNAVAILABLE", 503),
    "UNSUPPORTED": (5, "UNIMPLEMENTED", 501),
    "ALREADY_EXISTS": (6, "ALREADY_EXISTS", 400),
    "CANCELLED": (7, "CANCELLED", 400),
}


@pytest.mark.parametrize("code", CODES)
def test_an_error_keeps_its_code(triton: Triton, code: str) -> None:
    number, grpc_code, http_status = CODES[code]
    parameters = {"fail_after": 0, "fail_code": number, "max_tokens": 1}
    for model in ("echo", "gate_echo"):
        with pytest.raises(InferenceServerException, match="the target has failed") as failed:
            infer(triton, model, parameters=parameters)
        assert failed.value.status() == f"StatusCode.{grpc_code}"
        status, _ = triton.post(f"/v2/models/{model}/infer", echo_body(**parameters))
        assert status == (http_status if triton.version == "2.51" else 400)
    assert triton.post("/v2/models/gate_llm/generate", {"PROMPT": "x", **parameters})[0] == 400


def test_a_model_that_the_gate_does_not_know(gate: Gate, triton: Triton) -> None:
    triton.add_model("unknown", models.gate("echo", gate.plugin, models.ECHO_INTERFACE, GATE_MODEL="unheard-of"))
    assert triton.load("unknown")[0] == 200
    with pytest.raises(InferenceServerException, match="vramgate: UNKNOWN_MODEL") as refused:
        infer(triton, "unknown", parameters={"max_tokens": 1})
    assert refused.value.status() == "StatusCode.NOT_FOUND"


def test_a_refusal_says_why_and_when_to_come_back(gate: Gate, triton: Triton, full: Stream) -> None:
    with pytest.raises(InferenceServerException, match="vramgate: BUDGET_EXHAUSTED") as refused:
        infer(triton, "now_echo", parameters={"max_tokens": 5})
    assert refused.value.status() == "StatusCode.UNAVAILABLE"
    status, said = triton.post("/v2/models/now_echo/infer", echo_body(max_tokens=5))
    assert status == (503 if triton.version == "2.51" else 400)
    assert "BUDGET_EXHAUSTED" in said["error"]
    stream = Stream(triton, "now_llm", max_tokens=5)
    with pytest.raises(InferenceServerException, match="BUDGET_EXHAUSTED"):
        stream.next_token()
    stream.close()


@pytest.mark.parametrize(
    ("max_tokens", "why"), [(0, "max_tokens: 0 is below 1"), ("many", "max_tokens: the parameter is no whole number")]
)
def test_a_wrong_number_of_tokens_is_refused(triton: Triton, max_tokens: object, why: str) -> None:
    with pytest.raises(InferenceServerException, match=why):
        infer(triton, "gate_echo", parameters={"max_tokens": max_tokens})


def test_what_can_never_fit_is_refused_at_once(triton: Triton) -> None:
    body = {"PROMPT": "x", "max_tokens": ROOM_TOKENS - 1, "n": 2}
    status, said = triton.post("/v2/models/gate_llm/generate", body)
    assert status == 400
    assert "vramgate: NEVER_FITS" in said["error"]


def test_an_unknown_target_is_an_error_and_no_crash(gate: Gate, triton: Triton) -> None:
    triton.add_model("gate_none", models.gate("none", gate.plugin, models.ECHO_INTERFACE, GATE_MODEL="llm"))
    assert triton.load("gate_none")[0] == 200
    with pytest.raises(InferenceServerException, match="none"):
        infer(triton, "gate_none", parameters={"max_tokens": 1})
    assert http_json(triton.http, "GET", "/v2/health/live")[0] == 200


def test_a_gate_that_forgets_that_its_target_streams_says_so(gate: Gate, triton: Triton) -> None:
    interface = models.LLM_INTERFACE.replace("decoupled: true", "decoupled: false")
    triton.add_model("gate_flat", models.gate("llm", gate.plugin, interface))
    assert triton.load("gate_flat")[0] == 200
    status, said = triton.post("/v2/models/gate_flat/generate", {"PROMPT": "x", "max_tokens": 1})
    assert status == 400
    assert "is decoupled and gate_flat is not" in said["error"]
