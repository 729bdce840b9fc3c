"""A thousand requests that wait, and what happens to a queue when its gate or its server goes."""

from __future__ import annotations

import asyncio
import pathlib
import queue

import pytest
import tritonclient.grpc as triton_grpc  # type: ignore[import-untyped]
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

import models
from clients import Call, Stream, echo_body, posts, text_input
from conftest import ROOM_TOKENS
from programs import Gate, Triton, model, wait_for

CROWD = 1000


@pytest.mark.parametrize("what", ["granted", "refused"])
def test_a_thousand_wait_on_no_threads_and_all_are_answered(
    gate: Gate, triton: Triton, full: Stream, what: str
) -> None:
    threads = triton.threads()
    body = echo_body(["x"], max_tokens=1)

    async def crowd() -> list[int]:
        replies = asyncio.ensure_future(posts(triton, "/v2/models/echo_of_llm/infer", body, CROWD))
        while await asyncio.to_thread(gate.count, "waiting") < CROWD:
            assert not replies.done()
            await asyncio.sleep(0.05)
        assert triton.threads() <= threads + 2, "a request that waits has no thread"
        if what == "granted":
            await asyncio.to_thread(full.leave)
        else:
            status, _ = await asyncio.to_thread(triton.unload, "echo")
            assert status == 200
        return await replies

    statuses = asyncio.run(crowd())
    expected = 200 if what == "granted" else 503 if triton.version == "2.51" else 400
    assert statuses == [expected] * CROWD, {status: statuses.count(status) for status in set(statuses)}
    if what == "refused":
        assert triton.load("echo")[0] == 200


def test_a_thousand_over_grpc(gate: Gate, triton: Triton, full: Stream) -> None:
    client = triton_grpc.InferenceServerClient(triton.grpc)
    said: queue.Queue[InferenceServerException | None] = queue.Queue()
    threads = triton.threads()
    for _ in range(CROWD):
        inputs = text_input("INPUT0", [b"x"])
        client.async_infer("echo_of_llm", inputs, lambda result, error: said.put(error), parameters={"max_tokens": 1})
    wait_for("they wait", lambda: gate.count("waiting") == CROWD)
    assert triton.threads() <= threads + 8, "gRPC's own come with its connections, none with a request that waits"
    full.leave()
    assert [said.get(timeout=20) for _ in range(CROWD)] == [None] * CROWD
    client.close()


def test_a_queue_has_a_limit(gate: Gate, triton: Triton, full: Stream) -> None:
    more = {"GATE_MODEL": "llm", "MAX_HELD_REQUESTS": 2}
    triton.add_model("small", models.gate("llm", gate.plugin, models.LLM_INTERFACE, **more))
    assert triton.load("small")[0] == 200
    streams = [Stream(triton, "small", max_tokens=5) for _ in range(2)]
    wait_for("two wait", lambda: gate.count("waiting") == 2)
    third = Stream(triton, "small", max_tokens=5)
    with pytest.raises(InferenceServerException, match="HELD_REQUESTS_FULL"):
        third.next_token()
    third.close()
    full.leave()
    assert [len(stream.tokens()) for stream in streams] == [5, 5]


def test_bytes_that_wait_have_a_limit(gate: Gate, triton: Triton, full: Stream) -> None:
    more = {"GATE_MODEL": "llm", "MAX_HELD_MIB": 1, "PROMPT_TEXT": "nothing"}
    triton.add_model("narrow", models.gate("llm", gate.plugin, models.LLM_INTERFACE, **more))
    assert triton.load("narrow")[0] == 200
    stream = Stream(triton, "narrow", b"x" * 2**20, max_tokens=5)
    with pytest.raises(InferenceServerException, match="HELD_BYTES_FULL: input PROMPT of 1048580 bytes"):
        stream.next_token()
    stream.close()


def test_a_sequence_stays_in_order(gate: Gate, triton: Triton, full: Stream) -> None:
    """Small ones pass large ones in the gate's queue, but not within a sequence."""
    calls = [
        Call(
            triton,
            "echo_of_llm",
            text_input("INPUT0", [b"x"]),
            sequence_id=5,
            sequence_start=index == 0,
            parameters={"max_tokens": 3000 // (index + 1), "number": index},
        )
        for index in range(4)
    ]
    wait_for("the first waits, and the others for it", lambda: gate.count("waiting") == 1)
    full.leave()
    flags = [call.result().get_response().parameters["flags"].int64_param for call in calls]
    assert flags == [1, 0, 0, 0]


class Own:
    """A gate and a server that a test may end."""

    def __init__(self, directory: pathlib.Path, version: str):
        self.gate = Gate(directory / "gate", [model("llm", 4)], total_gib=8)
        configs = {
            "llm": models.target(),
            "echo": models.target(models.ECHO_INTERFACE),
            "gate_llm": models.gate("llm", self.gate.plugin, models.LLM_INTERFACE),
            "gate_echo": models.gate("echo", self.gate.plugin, models.ECHO_INTERFACE, GATE_MODEL="llm"),
        }
        self.triton = Triton(directory, version, configs, explicit=sorted(configs))
        self.full = Stream(self.triton, "gate_llm", max_tokens=ROOM_TOKENS - 1, delay_ms=10)
        self.full.next_token()
        self.waiting = [Call(self.triton, "gate_echo", text_input("INPUT0", [b"x"])) for _ in range(20)]
        wait_for("they wait", lambda: self.gate.count("waiting") == 20)

    def end(self) -> None:
        wait_for("the last lease ends", self.gate.empty)
        assert self.gate.stop() == 0
        audit = self.gate.audit()
        assert audit["overruns"] == audit["leaks"] == 0, audit


def test_a_gate_model_is_unloaded_with_a_queue(tmp_path: pathlib.Path, version: str) -> None:
    own = Own(tmp_path, version)
    assert own.triton.unload("gate_echo")[0] == 200
    assert own.gate.count("waiting") == 20, "Triton lets a model finish what it has"
    own.full.leave()
    assert [list(call.result().as_numpy("OUTPUT0")) for call in own.waiting] == [[b"x"]] * 20
    wait_for("it is gone", lambda: not own.triton.model_ready("gate_echo"))
    assert own.triton.stop() == 0
    own.end()


def test_the_server_is_terminated_with_a_queue(tmp_path: pathlib.Path, version: str) -> None:
    own = Own(tmp_path, version)
    own.triton.terminate()
    for call in own.waiting:
        with pytest.raises(InferenceServerException, match=r"TARGET_NOT_READY|(?i:cancel|shut|unavailable|stopping)"):
            call.result()
    own.full.leave()
    assert own.triton.wait(30) == 0
    own.end()


def test_the_server_is_killed_with_a_queue(tmp_path: pathlib.Path, version: str) -> None:
    own = Own(tmp_path, version)
    own.triton.process.kill()
    own.triton.wait()
    wait_for("nobody waits any more", lambda: own.gate.count("waiting") == 0, 2)
    # The gate cannot know that the engine died with its plugin: what was held stays counted for the drain time.
    assert own.gate.count("lingering") == 1
    wait_for("the drain time is over", own.gate.empty, 5)
    own.end()


def test_the_gate_is_killed_with_a_queue(tmp_path: pathlib.Path, version: str) -> None:
    own = Own(tmp_path, version)
    own.gate.process.kill()
    own.gate.wait()
    for call in own.waiting:
        with pytest.raises(InferenceServerException, match="vramgate: GATE_AWAY"):
            call.result()
    assert own.full.next_token() is not None, "what was granted goes on"
    own.full.leave()
    assert own.triton.stop() == 0
