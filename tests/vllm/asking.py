"""What the tests of several files say to a vLLM: bodies, and how to fill its pool."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any, TypeVar

import aiohttp
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
