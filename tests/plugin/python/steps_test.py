"""The step reporter's thread, against a plugin socket that does what it is told."""

from __future__ import annotations

import asyncio
import pathlib
import time
from collections.abc import Awaitable, Callable

from fake_gate import FakeGate, Heard
from vramgate.steps import StepReporter
from vramgate.values import Progress

Test = Callable[[FakeGate, StepReporter], Awaitable[None]]


def run(tmp_path: pathlib.Path, test: Test) -> None:
    async def body() -> None:
        async with FakeGate(tmp_path / "s") as gate:
            reporter = StepReporter(gate.target, model="m", instance="a")
            reporter.start()
            await test(gate, reporter)
            await asyncio.to_thread(reporter.stop)

    asyncio.run(asyncio.wait_for(body(), 30))


async def steps_heard(gate: FakeGate, *, lost: tuple[str, ...] = ()) -> Heard:
    heard = await gate.hear("steps")
    assert (heard.message.model, heard.message.instance) == ("m", "a")
    heard.answer_steps(lost)
    return heard


async def until_ready(reporter: StepReporter) -> None:
    while not reporter.ready():
        await asyncio.sleep(0)


def test_an_idle_engine_says_so_and_a_busy_one_never(tmp_path: pathlib.Path) -> None:
    async def test(gate: FakeGate, reporter: StepReporter) -> None:
        assert (await steps_heard(gate)).message.steps == 0
        reporter.busy()
        for _ in range(3):
            await until_ready(reporter)
            reporter.step()
            reporter.tell([Progress("leases/1", 1)], [])
            heard = (await steps_heard(gate)).message
            assert heard.steps >= 1
            assert [(said.lease, said.output_tokens) for said in heard.emitted] == [("leases/1", 1)]
        reporter.idle([Progress("leases/1", 3)])
        heard = (await steps_heard(gate)).message
        assert [said.output_tokens for said in heard.ended] == [3]
        assert (await steps_heard(gate)).message.steps == 0

    run(tmp_path, test)


def test_what_happens_during_a_report_is_said_with_the_next(tmp_path: pathlib.Path) -> None:
    async def test(gate: FakeGate, reporter: StepReporter) -> None:
        await steps_heard(gate)
        reporter.busy()
        await until_ready(reporter)
        reporter.step()
        reporter.tell([], [])
        unanswered = await gate.hear("steps")
        assert not reporter.ready()
        for _ in range(4):
            reporter.step()
        unanswered.answer_steps(("leases/9",))
        await until_ready(reporter)
        assert reporter.take_lost() == ["leases/9"]
        reporter.step()
        reporter.tell([], [Progress("leases/2", 5)])
        heard = (await steps_heard(gate)).message
        assert (heard.steps, heard.ended[0].lease) == (5, "leases/2")

    run(tmp_path, test)


def test_a_fast_engine_is_not_reported_after_each_step(tmp_path: pathlib.Path) -> None:
    async def test(gate: FakeGate, reporter: StepReporter) -> None:
        await steps_heard(gate)
        reporter.busy()
        await until_ready(reporter)
        reporter.step()
        reporter.tell([], [])
        await steps_heard(gate)
        start = time.monotonic()
        steps = 0
        while not reporter.ready():
            reporter.step()
            steps += 1
            await asyncio.sleep(0.001)
        assert steps >= 8 or time.monotonic() - start >= 0.09

    run(tmp_path, test)


def test_a_connection_that_breaks_is_made_again(tmp_path: pathlib.Path) -> None:
    async def test(gate: FakeGate, reporter: StepReporter) -> None:
        (await steps_heard(gate)).connection.drop()
        assert (await steps_heard(gate)).message.steps == 0
        assert len(gate.connections) == 2

    run(tmp_path, test)
