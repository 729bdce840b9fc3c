"""A real vLLM whose leases are taken back, whose engine reports its steps, whose sidecar dies."""

from __future__ import annotations

import asyncio

import servers
from asking import BIG, SMALL, eventually, occupy, post, run
from conftest import MODEL, Served
from servers import events

# --- Taken back ---


def test_a_stream_that_is_revoked_ends_in_an_error_and_the_engine_stops(served: Served) -> None:
    async def body() -> None:
        async with served.engine.session() as session:
            [holder] = await occupy(session, served, many=1)
            [lease] = served.sidecar.leases("held")
            await asyncio.to_thread(served.sidecar.revoke, lease["name"])
            said = [event async for event in events(holder)]
            assert said[-1]["error"]["code"] == "lease_revoked"
            # Long before its grace, and the drain time after it, are over.
            await eventually("its bytes are free", lambda: served.sidecar.reserved_bytes() == 0, 5)

    run(body())


def test_an_answer_that_is_revoked_unseen_is_generated_again(served: Served) -> None:
    async def body() -> None:
        async with served.engine.session() as session:
            request = {**SMALL, "max_tokens": 300, "ignore_eos": True}
            task = asyncio.create_task(post(session, "/v1/completions", request))
            [lease] = await eventually("it is held", lambda: served.sidecar.leases("held"))
            await asyncio.to_thread(served.sidecar.revoke, lease["name"])
            status, _, answer = await task
            assert (status, answer["usage"]["completion_tokens"]) == (200, 300)
            assert lease["name"].removeprefix("leases/") not in answer["id"]

    run(body())


# --- From inside ---


def test_reported_steps_keep_lockstep_in_force(served: Served) -> None:
    """Reservations start small and grow with the output; what was used is learned; nobody is found late."""
    sidecar = served.sidecar
    request = {"model": MODEL, "prompt": [9] * 256, "max_tokens": 400, "ignore_eos": True, "stream": True}

    async def body() -> None:
        async with served.engine.session() as session:
            await post(session, "/v1/completions", SMALL)  # so that the API server is connected again
            await eventually("its reports count", lambda: 'in_force="lockstep"' in sidecar.metrics())
            answers = [await session.post("/v1/completions", json=request) for _ in range(6)]
            first = [await anext(events(answer)) for answer in answers]
            assert len(first) == 6
            held = sidecar.leases("held")
            # 656 tokens each at the worst; by now the prompt, a few, and 16 ahead.
            assert all(lease["vram_bytes"] < 500 * servers.KV_BYTES[MODEL] for lease in held)
            assert [len([event async for event in events(answer)]) for answer in answers] == [399] * 6

    sidecar.stop()
    sidecar.configure("assurance: lockstep\n    steps: {start_steps: 32, min_tokens: 0.95, report_within: 10s}")
    sidecar.start()
    try:
        run(body())
        sidecar.check_empty()
        found = {line.split("{")[0]: line.rsplit(" ", 1)[1] for line in sidecar.metrics().splitlines() if "{" in line}
        assert (found["vramgate_late_leases"], found["vramgate_assurance_fallbacks_total"]) == ("0", "0")
    finally:
        sidecar.stop()
        sidecar.configure()
        sidecar.start()


# --- Deaths ---


def test_the_sidecar_dies_and_comes_back(served: Served) -> None:
    async def body() -> None:
        async with served.engine.session() as session:
            holder = await session.post("/v1/completions", json={**BIG, "max_tokens": 200})
            await anext(events(holder))
            served.sidecar.program.process.kill()
            served.sidecar.program.process.wait()
            served.sidecar.start()
            # Its request runs, so it is asked for again, and charged.
            await eventually("it is held again", lambda: len(served.sidecar.leases("held")) == 1)
            assert [event async for event in events(holder)][-1]["choices"]
            await eventually("it has ended", lambda: served.sidecar.reserved_bytes() == 0)
            served.sidecar.program.process.kill()
            served.sidecar.program.process.wait()
            status, headers, _ = await post(session, "/v1/completions", SMALL)
            assert (status, headers["x-vramgate-reason"]) == (503, "GATE_UNREACHABLE")
            served.sidecar.start()
            status, _, _ = await post(session, "/v1/completions", SMALL)
            assert status == 200

    run(body())
