"""The gate in a real vLLM, on the CPU, with a real sidecar: every path in, every way out, and what is left of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

import aiohttp
import psutil
import pytest
import servers
from conftest import GREEDY, MODEL, Served
from servers import POOL_TOKENS, events, wait_for

T = TypeVar("T")
# Half of the pool, but for a few blocks: two of them fit, and no third that WAITS.
BIG = {
    "model": MODEL,
    "prompt": [9] * 32,
    "n": 4,
    "max_tokens": POOL_TOKENS // 8 - 64,
    "ignore_eos": True,
    "stream": True,
}
WAITS = {"model": MODEL, "prompt": [9] * 40, "n": 8, "max_tokens": 8}
SMALL = {"model": MODEL, "prompt": "bafo", "max_tokens": 8}


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 120))


async def eventually(what: str, condition: Any, within_s: float = 20.0) -> Any:
    return await asyncio.to_thread(wait_for, what, condition, within_s)


async def post(session: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any], Any]:
    async with session.post(path, json=body) as answer:
        text = await answer.text()
        return answer.status, {key.lower(): value for key, value in answer.headers.items()}, json.loads(text)


async def occupy(session: aiohttp.ClientSession, served: Served, many: int = 2) -> list[aiohttp.ClientResponse]:
    """Streams that fill the pool, each past its first token."""
    answers = []
    for _ in range(many):
        answer = await session.post("/v1/completions", json=BIG)
        assert answer.status == 200, await answer.text()
        await anext(events(answer))
        answers.append(answer)
    await eventually("they are held", lambda: len(served.sidecar.leases("held")) == many)
    return answers


def choices(body: dict[str, Any]) -> list[str]:
    return [choice.get("text") or choice["message"]["content"] for choice in body["choices"]]


async def greedy(engine: servers.Vllm) -> list[list[str]]:
    found = []
    async with engine.session() as session:
        for path, body in GREEDY:
            status, _, answer = await post(session, path, {"model": MODEL, "temperature": 0, **body})
            assert status == 200, answer
            found.append(choices(answer))
    return found


# --- In ---


def test_greedy_outputs_are_the_same_with_and_without_the_gate(ungated: servers.Vllm, served: Served) -> None:
    ungated.ready()
    assert run(greedy(ungated)) == run(greedy(served.engine))


def test_every_answer_is_whole_and_ends_its_lease(served: Served) -> None:
    async def body() -> None:
        async with served.engine.session() as session:
            status, _, one = await post(session, "/v1/completions", SMALL)
            assert (status, len(one["choices"]), one["usage"]["completion_tokens"]) == (200, 1, 8)
            status, _, two = await post(session, "/v1/completions", {**SMALL, "n": 2, "temperature": 1})
            assert (status, len(two["choices"])) == (200, 2)
            status, _, four = await post(session, "/v1/completions", {**SMALL, "prompt": ["ba", "fo"], "n": 2})
            assert (status, len(four["choices"])) == (200, 4)
            chat = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
            status, _, said = await post(session, "/v1/chat/completions", chat)
            assert (status, said["usage"]["completion_tokens"]) == (200, 8)
            async with session.post("/v1/completions", json={**SMALL, "stream": True, "ignore_eos": True}) as answer:
                assert len([event async for event in events(answer)]) == 8

    run(body())
    wait_for("five ends are logged", lambda: served.sidecar.count("completed") >= 5)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/invocations", {"prompt": "bafo", "max_tokens": 4}),
        ("/v1/responses", {"input": "bafo", "max_output_tokens": 4}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}),
        ("/v1/chat/completions/batch", {"messages": [[{"role": "user", "content": "hi"}]] * 2, "max_tokens": 4}),
        ("/generative_scoring", {"query": "ba", "items": ["fo", "ge"], "label_token_ids": [5, 6]}),
        ("/inference/v1/generate", {"token_ids": [5, 6, 7], "sampling_params": {"max_tokens": 4}}),
    ],
)
def test_every_path_that_generates_is_gated(served: Served, path: str, body: dict[str, Any]) -> None:
    async def ask() -> None:
        async with served.engine.session() as session:
            async with session.post(path, json={"model": MODEL, **body}) as answer:
                assert answer.status == 200, await answer.text()
            # More sequences than the gate knows: only who asks it hears of them.
            counted = {"n": 5000, "messages": [[{"role": "user", "content": "hi"}]] * 5000, "items": ["a"] * 5000}
            over = {
                key: value for key, value in counted.items() if key == "n" or (key in body and path != "/v1/messages")
            }
            if path == "/inference/v1/generate":
                over = {"sampling_params": {"max_tokens": 4, "n": 5000}}
            if path != "/v1/responses":
                status, headers, refusal = await post(session, path, {"model": MODEL, **body, **over})
                assert (status, headers["x-vramgate-reason"]) == (400, "INVALID_REQUEST"), refusal

    before = served.sidecar.count("granted")
    run(ask())
    # The log is written within 100 ms.
    wait_for("a grant is logged", lambda: served.sidecar.count("granted") == before + 1)


def test_the_key_is_asked_for_before_the_gate(served: Served) -> None:
    async def body() -> None:
        async with served.engine.session() as session:
            holders = await occupy(session, served)
            wrong = {"authorization": "Bearer wrong"}
            async with session.post("/v1/completions", json=WAITS, headers=wrong) as answer:
                assert answer.status == 401  # at once, though the pool is full
            assert served.sidecar.leases("waiting") == []
            for holder in holders:
                holder.close()

    run(body())


# --- Refused ---


def test_a_refusal_says_why_and_when_to_come_back(served: Served) -> None:
    async def body() -> None:
        async with served.engine.session() as session:
            never = {**SMALL, "prompt": [5] * 40, "max_tokens": 1200, "n": 30}
            status, headers, answer = await post(session, "/v1/completions", never)
            assert (status, headers["x-vramgate-reason"], headers["x-should-retry"]) == (413, "NEVER_FITS", "false")
            assert answer["error"]["code"] == "never_fits"
            assert "retry-after" not in headers
            status, headers, _ = await post(session, "/v1/completions", {**SMALL, "model": "other"})
            assert (status, headers["x-vramgate-reason"]) == (404, "UNKNOWN_MODEL")

            holders = await occupy(session, served)
            waiting = [asyncio.create_task(post(session, "/v1/completions", BIG)) for _ in range(100)]
            await eventually("the queue is full", lambda: len(served.sidecar.leases("waiting")) == 100)
            status, headers, answer = await post(session, "/v1/completions", WAITS)
            assert (status, headers["x-vramgate-reason"], headers["x-should-retry"]) == (429, "QUEUE_FULL", "true")
            assert int(headers["retry-after"]) >= 1
            assert int(headers["retry-after-ms"]) >= 1
            assert answer["error"]["type"] == "server_overloaded"
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            await eventually("all have left the queue", lambda: not served.sidecar.leases("waiting"))
            for holder in holders:
                holder.close()

    run(body())


# --- Out ---


def test_one_who_waits_is_served_when_there_is_room(served: Served) -> None:
    async def body() -> None:
        async with served.engine.session() as session:
            holders = await occupy(session, served)
            waiter = asyncio.create_task(post(session, "/v1/completions", WAITS))
            await eventually("it waits", lambda: len(served.sidecar.leases("waiting")) == 1)
            holders[0].close()
            status, _, _ = await waiter
            assert status == 200
            holders[1].close()

    run(body())


def test_a_client_that_leaves_the_queue_leaves_it_at_once(served: Served) -> None:
    async def body() -> None:
        async with served.engine.session() as session:
            holders = await occupy(session, served)
            waiter = asyncio.create_task(post(session, "/v1/completions", WAITS))
            await eventually("it waits", lambda: len(served.sidecar.leases("waiting")) == 1)
            waiter.cancel()
            await eventually("it has left", lambda: not served.sidecar.leases("waiting"), 2)
            assert len(served.sidecar.leases("held")) == 2
            for holder in holders:
                holder.close()

    run(body())


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_its_answer_ends_its_lease_by_the_engines_word(served: Served, stream: bool) -> None:
    async def body() -> None:
        async with served.engine.session() as session:
            request = {**BIG, "stream": stream}
            task = asyncio.create_task(session.post("/v1/completions", json=request))
            await eventually("it is held", lambda: len(served.sidecar.leases("held")) == 1)
            if stream:
                await anext(events(await task))
                (await task).close()
            task.cancel()
            # Long before the drain time, and before abort_linger would be over: the engine says that it has stopped.
            await eventually("it is gone", lambda: served.sidecar.reserved_bytes() == 0, 0.9)

    run(body())


def test_a_request_that_the_engine_refuses_ends_its_lease(served: Served) -> None:
    async def body() -> None:
        async with served.engine.session() as session:
            status, _, _ = await post(session, "/v1/completions", {**SMALL, "temperature": -3})
            assert status == 400
            async with session.post(
                "/v1/completions", data=b"{", headers={"content-type": "application/json"}
            ) as answer:
                assert answer.status in (400, 422)

    run(body())


def test_a_storm_of_departures_leaves_nothing(served: Served) -> None:
    async def one(session: aiohttp.ClientSession, number: int) -> None:
        request = {**BIG, "n": 1 + number % 3, "stream": number % 2 == 0, "max_tokens": 60 + 7 * (number % 11)}
        try:
            async with (
                asyncio.timeout(0.05 * (number % 13) or None),
                session.post("/v1/completions", json=request) as answer,
            ):
                await answer.read()
        except TimeoutError:
            pass

    async def body() -> None:
        async with served.engine.session() as session:
            await asyncio.gather(*(one(session, number) for number in range(60)))

    run(body())


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


def test_two_api_servers_share_the_gate_and_leave_nothing(two: Served) -> None:
    async def body() -> None:
        answers = []
        # A connection goes to one of the two: many connections reach both.
        for _ in range(16):
            async with two.engine.session() as session:
                answers.append(await post(session, "/v1/completions", SMALL))
        assert {status for status, _, _ in answers} == {200}
        said = two.sidecar.program.log.read_text()
        assert len({line.split("of pid ")[1].split(",")[0] for line in said.splitlines() if "is open" in line}) == 2
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
