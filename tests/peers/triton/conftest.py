"""What the tests share: a gate and a Triton with gates before targets, for each version of Triton."""

from __future__ import annotations

import collections.abc

import pytest

import models
from clients import Stream
from programs import VERSIONS, Gate, Program, Triton, model, wait_for

ROOM_GIB = 4
ROOM_TOKENS = ROOM_GIB * 1024


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def gate(version: str, tmp_path_factory: pytest.TempPathFactory) -> collections.abc.Iterator[Gate]:
    gate = Gate(tmp_path_factory.mktemp("gate"), [model("llm", ROOM_GIB), model("echo", ROOM_GIB)], total_gib=16)
    yield gate
    assert gate.stop() == 0
    audit = gate.audit()
    assert audit["overruns"] == audit["leaks"] == 0, audit


@pytest.fixture(scope="module")
def triton(version: str, gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> collections.abc.Iterator[Triton]:
    configs = {
        "llm": models.target(),
        "echo": models.target(models.ECHO_INTERFACE),
        "gate_llm": models.gate("llm", gate.plugin, models.LLM_INTERFACE),
        "gate_echo": models.gate("echo", gate.plugin, models.ECHO_INTERFACE),
        "now_llm": models.gate("llm", gate.plugin, models.LLM_INTERFACE, MAX_WAIT_MS=0),
        "now_echo": models.gate("echo", gate.plugin, models.ECHO_INTERFACE, MAX_WAIT_MS=0, GATE_MODEL="llm"),
        # One pool for both, so that one can hold the other up.
        "echo_of_llm": models.gate("echo", gate.plugin, models.ECHO_INTERFACE, GATE_MODEL="llm", PROMPT_TEXT="INPUT0"),
    }
    options = ["--http-header-forward-pattern=(?i)x-.*", "--grpc-header-forward-pattern=(?i)x-.*"]
    triton = Triton(tmp_path_factory.mktemp("triton"), version, configs, explicit=sorted(configs), options=options)
    yield triton
    assert triton.stop() == 0, triton.text()[-3000:]


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> collections.abc.Iterator[None]:
    """Every test ends as it began: nobody holds, waits or lingers."""
    yield
    if "gate" in request.fixturenames:
        gate: Gate = request.getfixturevalue("gate")
        if gate.running():
            wait_for("the last lease ends", gate.empty)


@pytest.fixture(autouse=True)
def no_program_is_left() -> collections.abc.Iterator[None]:
    """What a test has started and, since it failed, not stopped."""
    before = list(Program.all)
    yield
    for program in Program.all:
        if program not in before and program.running():
            program.process.kill()
            program.process.wait()


@pytest.fixture
def full(gate: Gate, triton: Triton) -> collections.abc.Iterator[Stream]:
    """A request that holds all of llm's pool until it is ended, or the test is."""
    stream = Stream(triton, "gate_llm", max_tokens=ROOM_TOKENS - 1, delay_ms=10)
    stream.next_token()
    yield stream
    stream.leave()
