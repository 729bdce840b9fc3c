"""What is left when a process dies: each test has a vLLM of its own, and kills it."""

from __future__ import annotations

import asyncio
import os
import signal

import psutil
from asking import SMALL, eventually, occupy, post, run
from conftest import Served


def test_two_api_servers_share_the_gate_and_leave_nothing(two: Served) -> None:
    async def body() -> None:
        def asked() -> set[str]:
            lines = two.sidecar.program.log.read_text().splitlines()
            return {line.split("of pid ")[1].split(",")[0] for line in lines if "is open" in line}

        async def one() -> int:
            # A connection goes to whichever of the two is free: several at once reach both, soon.
            async with two.engine.session() as session:
                status, _, _ = await post(session, "/v1/completions", SMALL)
                return status

        for _ in range(100):
            assert await asyncio.gather(*(one() for _ in range(8))) == [200] * 8
            if len(asked()) == 2:
                break
        assert len(asked()) == 2
        async with two.engine.session() as session:
            wrong = {"authorization": "Bearer wrong"}
            async with session.post("/v1/completions", json=SMALL, headers=wrong) as answer:
                assert answer.status == 401

    run(body())


def test_an_api_server_that_is_killed_leaves_its_lease_to_the_engine(doomed: Served) -> None:
    async def body() -> None:
        async with doomed.engine.session() as session:
            await occupy(session, doomed, many=1)
            [engine] = doomed.engine.processes("EngineCore")
            os.kill(doomed.engine.program.process.pid, signal.SIGKILL)
            # The engine generates on, for nobody: the memory is in use until it has ended.
            await eventually("it lingers", lambda: doomed.sidecar.leases("lingering"))
            assert psutil.pid_exists(engine.pid)
            await eventually("it has ended", lambda: doomed.sidecar.reserved_bytes() == 0, 60)

    run(body())


def test_an_engine_that_is_killed_frees_its_memory(doomed: Served) -> None:
    async def body() -> None:
        async with doomed.engine.session() as session:
            await occupy(session, doomed, many=1)
            [engine] = doomed.engine.processes("EngineCore")
            os.kill(engine.pid, signal.SIGKILL)
            await eventually("its leases are gone", lambda: doomed.sidecar.reserved_bytes() == 0, 5)

    run(body())
