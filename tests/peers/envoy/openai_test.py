"""The official OpenAI client against the gateway: it comes back after a 429 when told to, and never after a 413."""

from __future__ import annotations

import collections.abc
import json
import threading
import typing

import openai
import pytest
from programs import Client, wait_for
from rig import Engine, Envoy, Gate, settled


@pytest.fixture
def full(gate: Gate, envoy: Envoy, engine: Engine) -> collections.abc.Iterator[collections.abc.Callable[[], None]]:
    """A gate whose pool and queue are full, until room() is called."""
    holder = Client(envoy.address)
    held = engine.next()
    held.send("first")
    assert holder.answer().status == 200
    waiter = Client(envoy.address)
    wait_for("the waiter", lambda: gate.leases("waiting"))
    ended: list[bool] = []

    def room() -> None:
        if ended:
            return
        ended.append(True)
        waiter.close()
        wait_for("the waiter to leave", lambda: not gate.leases("waiting"))
        held.end()
        holder.close()

    yield room
    room()
    settled(gate)


def refused_so_far(envoy: Envoy) -> int:
    stat = "http.llm.downstream_rq_4xx"
    return int(envoy.stats(stat).get(stat, 0))


def ask(envoy: Envoy, **arguments: typing.Any) -> typing.Any:
    client = openai.OpenAI(base_url=f"http://{envoy.address}/v1", api_key="none", max_retries=5, timeout=30)
    messages = [{"role": "user", "content": "hello"}]
    return client.chat.completions.create(model="m", messages=messages, **arguments)


def in_thread(call: collections.abc.Callable[[], str]) -> tuple[threading.Thread, list[str]]:
    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    return thread, results


CHUNK = json.dumps(
    {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": "hi"}}],
    }
)
MESSAGE = {"role": "assistant", "content": "hi"}
WHOLE = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": MESSAGE}],
}


def test_a_stream_refused_429_is_retried_and_succeeds(
    full: collections.abc.Callable[[], None], envoy: Envoy, engine: Engine
) -> None:
    before = refused_so_far(envoy)
    thread, results = in_thread(lambda: "".join(c.choices[0].delta.content for c in ask(envoy, stream=True)))
    wait_for("its first refusal", lambda: refused_so_far(envoy) > before)
    full()
    answer = engine.next()
    answer.send(CHUNK)
    answer.send("[DONE]")
    answer.end()
    thread.join(20)
    assert results == ["hi"]


def test_a_plain_request_refused_429_is_retried_and_succeeds(
    full: collections.abc.Callable[[], None], envoy: Envoy, engine: Engine
) -> None:
    before = refused_so_far(envoy)
    thread, results = in_thread(lambda: ask(envoy).choices[0].message.content)
    wait_for("its first refusal", lambda: refused_so_far(envoy) > before)
    full()
    engine.next().whole(json.dumps(WHOLE).encode())
    thread.join(20)
    assert results == ["hi"]


def test_a_429_reaches_the_user_as_a_rate_limit(
    full: collections.abc.Callable[[], None], envoy: Envoy, engine: Engine
) -> None:
    client = openai.OpenAI(base_url=f"http://{envoy.address}/v1", api_key="none", max_retries=0, timeout=30)
    with pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
    assert raised.value.code == "queue_full"
    assert raised.value.response.headers["x-vramgate-reason"] == "QUEUE_FULL"
    assert engine.idle()


def test_a_413_is_not_retried(gate: Gate, envoy: Envoy, engine: Engine) -> None:
    before = refused_so_far(envoy)
    with pytest.raises(openai.APIStatusError) as raised:
        ask(envoy, n=2, max_tokens=100000)
    assert raised.value.status_code == 413
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert refused_so_far(envoy) == before + 1, "asked once"
    assert engine.idle()
