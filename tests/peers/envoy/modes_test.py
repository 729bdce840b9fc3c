"""A gateway that allows mode_override and sets no modes of its own is told them: so that the lease is the
response, with no response headers where ext_proc.low_latency says so, with response bodies where
ext_proc.response_usage does."""

from __future__ import annotations

import collections.abc
import pathlib

import pytest
from programs import Client, wait_for
from rig import Engine, Envoy, Gate, Start, audit_is_clean, ends, gate_config, metrics, settled, streams

SENT = "http.llm.ext_proc.stream_msgs_sent"
MODES = ["request_body_mode: BUFFERED", "response_header_mode: SEND", "response_trailer_mode: SEND"]
CHANGES = [
    *((mode, mode.split(":")[0] + (": NONE" if "body" in mode else ": SKIP")) for mode in MODES),
]


@pytest.fixture
def rig(tmp_path: pathlib.Path, engine: Engine, binary: pathlib.Path | None) -> collections.abc.Iterator[Start]:
    """rig(ext_proc) -> a gate so configured, and an Envoy that leaves the modes to it."""
    started: list[tuple[Gate, Envoy]] = []

    def start(ext_proc: str) -> tuple[Gate, Envoy]:
        gate = Gate(tmp_path, gate_config(ext_proc))
        started.append((gate, Envoy(tmp_path / "envoy", gate, engine, CHANGES, binary)))
        return started[0]

    yield start
    for gate, envoy in started:
        envoy.stop()
        audit_is_clean(gate)


def finished_request(gate: Gate, envoy: Envoy, engine: Engine) -> int:
    """A streamed request from its start to its end; how many messages it took."""
    before = envoy.stats(SENT)[SENT]
    client = Client(envoy.address)
    answer = engine.next()
    for n in range(3):
        answer.send(n)
    assert client.answer().status == 200
    for n in range(3):
        assert client.line() == f"data: {n}\n".encode()
    assert len(gate.leases("held")) == 1, "the lease is as long as the response"
    assert streams(gate) == 1
    answer.end()
    client.response.read()
    client.close()
    wait_for("the lease's end", lambda: not gate.leases("held"))
    assert not gate.leases("lingering")
    return envoy.stats(SENT)[SENT] - before


def test_the_lease_is_the_response(rig: Start, engine: Engine) -> None:
    gate, envoy = rig("")
    assert finished_request(gate, envoy, engine) == 3
    assert ends(gate, "finished") == 1


def test_low_latency_asks_for_no_response_headers(rig: Start, engine: Engine) -> None:
    gate, envoy = rig("low_latency: true")
    assert finished_request(gate, envoy, engine) == 2
    assert ends(gate, "finished") == 1


def test_what_does_not_generate_costs_one_message(rig: Start, engine: Engine) -> None:
    gate, envoy = rig("")
    before = envoy.stats(SENT)[SENT]
    client = Client(envoy.address, {"file": "x"}, "/v1/audio/speech")
    answer = engine.next()
    answer.send("passed")
    assert client.answer().status == 200
    answer.end()
    client.response.read()
    client.close()
    assert envoy.stats(SENT)[SENT] - before == 1
    wait_for("its stream's end", lambda: ends(gate, "passed") == 1)


@pytest.mark.parametrize("streamed", [True, False], ids=["events", "one object"])
def test_usage_is_read_from_the_response(rig: Start, engine: Engine, streamed: bool) -> None:
    gate, envoy = rig("response_usage: true")
    client = Client(envoy.address)
    answer = engine.next()
    usage = '{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}}'
    if streamed:
        for n in range(20):
            answer.send(n)
        answer.send(usage)
        answer.send("[DONE]")
        answer.end()
    else:
        answer.whole(usage.encode())
    assert client.answer().status == 200
    body = client.response.read()
    assert usage.encode() in body, "and the response is unchanged"
    client.close()
    settled(gate)
    wait_for("the usage", lambda: metrics(gate)["vramgate_ext_proc_usages_total"] == 1)
    assert ends(gate, "finished") == 1
