"""The gate in a real vLLM, on the CPU, with a real sidecar: every path in and every way out."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
import servers
from asking import BIG, SMALL, WAITS, eventually, greedy, occupy, post, run
from conftest import MODEL, Served
from servers import events, wait_for

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


def test_text_is_counted_by_the_tokenizer(served: Served) -> None:
    """Many bytes that are few tokens, and a chat, whose template adds some: charged to the block."""
    text = "diba difa " * 60

    async def body() -> None:
        async with served.engine.session() as session:
            for path, prompt in [
                ("/v1/completions", {"prompt": text}),
                ("/v1/chat/completions", {"messages": [{"role": "user", "content": text}]}),
            ]:
                request = {"model": MODEL, "max_tokens": 200, "ignore_eos": True, **prompt}
                task = asyncio.create_task(post(session, path, request))
                [lease] = await eventually("it is held", lambda: served.sidecar.leases("held"))
                status, _, answer = await task
                assert status == 200
                tokens = answer["usage"]["prompt_tokens"] + 200
                blocks = -(-tokens // servers.BLOCK_TOKENS)
                assert answer["usage"]["prompt_tokens"] < len(text) / 2
                assert lease["vram_bytes"] == blocks * servers.BLOCK_TOKENS * servers.KV_BYTES[MODEL]
                await eventually("it has ended", lambda: not served.sidecar.leases("held"))

    run(body())


def test_prefixes_are_still_shared(served: Served) -> None:
    async def hits(session: aiohttp.ClientSession) -> float:
        async with session.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:prefix_cache_hits_total{"))

    async def body() -> None:
        async with served.engine.session() as session:
            before = await hits(session)
            request = {"model": MODEL, "prompt": [31, 17, 54, 92] * 64, "max_tokens": 2}
            for _ in range(2):
                status, _, _ = await post(session, "/v1/completions", request)
                assert status == 200
            assert await hits(session) >= before + 224

    run(body())


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
