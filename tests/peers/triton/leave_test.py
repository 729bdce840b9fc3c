"""Clients that leave: over gRPC and HTTP, while they wait for the gate and while the target works for them."""

from __future__ import annotations

import pytest
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

from clients import Call, HttpStream, Stream, killed_client, text_input
from programs import Gate, Triton, wait_for

# Ten tokens a second, for as long as nobody stops it.
LONG = {"max_tokens": 600, "delay_ms": 100}
SOON_S = 1.0


def test_a_unary_call_is_cancelled_while_it_waits(gate: Gate, triton: Triton, full: Stream) -> None:
    call = Call(triton, "echo_of_llm", text_input("INPUT0", [b"x"]), parameters={"max_tokens": 9})
    wait_for("it waits", lambda: gate.count("waiting") == 1)
    call.cancel()
    with pytest.raises(InferenceServerException, match=r"(?i)cancel"):
        call.result()
    wait_for("it has left the queue", lambda: gate.count("waiting") == 0, SOON_S)


def test_a_stream_is_cancelled_while_it_waits(gate: Gate, triton: Triton, full: Stream) -> None:
    stream = Stream(triton, "gate_llm", max_tokens=9)
    wait_for("it waits", lambda: gate.count("waiting") == 1)
    stream.leave()
    wait_for("it has left the queue", lambda: gate.count("waiting") == 0, SOON_S)


def test_a_stream_is_cancelled_while_it_runs(gate: Gate, triton: Triton) -> None:
    stream = Stream(triton, "gate_llm", **LONG)
    stream.next_token()
    assert gate.count("held") == 1
    before = triton.text().count("target: stopped")
    stream.leave()
    wait_for("the target has stopped", lambda: triton.text().count("target: stopped") > before, SOON_S)
    wait_for("its lease has ended", gate.empty, SOON_S)


def test_a_client_is_killed_while_it_waits(gate: Gate, triton: Triton, full: Stream) -> None:
    client = killed_client(triton, "gate_llm", max_tokens=9)
    wait_for("it waits", lambda: gate.count("waiting") == 1)
    client.kill()
    client.communicate()
    wait_for("it has left the queue", lambda: gate.count("waiting") == 0, SOON_S)


def test_a_client_is_killed_while_it_runs(gate: Gate, triton: Triton) -> None:
    client = killed_client(triton, "gate_llm", **LONG)
    assert client.stdout is not None
    assert client.stdout.readline() == "sent\n"
    assert client.stdout.readline() == "tok0 \n"
    client.kill()
    client.communicate()
    wait_for("its lease has ended", gate.empty, SOON_S)


def test_an_http_client_hangs_up_while_it_runs(gate: Gate, triton: Triton) -> None:
    stream = HttpStream(triton, "gate_llm", **LONG)
    assert "tok0" in stream.line()
    assert gate.count("held") == 1
    stream.hang_up()
    # Seen at the next token that Triton cannot write, and by the poll after that.
    wait_for("its lease has ended", gate.empty)


def test_an_http_client_that_hung_up_while_it_waited_costs_one_token(gate: Gate, triton: Triton, full: Stream) -> None:
    """Triton does not say that it has left: it keeps its place, and is stopped at its first tokens."""
    stream = HttpStream(triton, "gate_llm", **LONG)
    wait_for("it waits", lambda: gate.count("waiting") == 1)
    stream.hang_up()
    full.leave()
    wait_for("its lease has ended", gate.empty)


def test_many_leave_at_once(gate: Gate, triton: Triton, full: Stream) -> None:
    streams = [Stream(triton, "gate_llm", max_tokens=9) for _ in range(40)]
    wait_for("they wait", lambda: gate.count("waiting") == 40)
    for stream in streams:
        stream.leave()
    wait_for("they have left the queue", lambda: gate.count("waiting") == 0, SOON_S)
    assert full.next_token() is not None, "the one that runs is not disturbed"
