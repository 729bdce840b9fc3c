"""The shipped LiteLLM set-up on the real proxy: what is held, until when, and what clients see."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import signal
from collections.abc import Iterator

import httpx
import programs
import pytest
from doors import KEY, Backend, Call, DoorGate, LiteLlm, one_waits_for_the_other
from openai import APIStatusError, OpenAI


@pytest.fixture
def proxy(tmp_path: pathlib.Path, gate: DoorGate, backend: Backend) -> Iterator[LiteLlm]:
    proxy = LiteLlm(tmp_path, gate, backend)
    yield proxy
    if proxy.running():
        proxy.process.kill()
    proxy.process.wait(20)


def test_from_first_to_last(gate: DoorGate, backend: Backend, proxy: LiteLlm) -> None:
    """In one, since the proxy takes its time to start."""
    _whole_answer(gate, backend, proxy)
    _stream(gate, backend, proxy)
    _one_waits_for_the_other(gate, backend, proxy)
    _refusals(gate, backend, proxy)
    _failure(gate, backend, proxy)
    _client_gone_mid_stream(gate, backend, proxy)
    _client_gone_before_the_first_chunk(gate, backend, proxy)
    _client_gone_while_held(gate, backend, proxy)
    _openai_client_retries(gate, backend, proxy)
    _killed(gate, backend, proxy)


def _whole_answer(gate: DoorGate, backend: Backend, proxy: LiteLlm) -> None:
    call = Call(proxy.address, {})
    answer = backend.next()
    assert gate.counts() == (1, 0, 0)
    answer.end()
    assert call.reply()[0] == 200
    gate.settles(0, 0, 0)


def _stream(gate: DoorGate, backend: Backend, proxy: LiteLlm) -> None:
    call = Call(proxy.address, {"stream": True})
    answer = backend.next()
    answer.chunk()
    assert call.begin() == 200
    assert call.line().startswith(b"data: ")
    assert gate.counts() == (1, 0, 0), "it lasts as long as the stream"
    answer.end()
    while call.line():
        pass
    gate.settles(0, 0, 0)


def _one_waits_for_the_other(gate: DoorGate, backend: Backend, proxy: LiteLlm) -> None:
    one_waits_for_the_other(gate, backend, proxy.address)
    gate.settles(0, 0, 0)


def _refusals(gate: DoorGate, backend: Backend, proxy: LiteLlm) -> None:
    status, said, headers = Call(proxy.address, {"n": 100}).reply()
    assert (status, headers["x-should-retry"], headers["x-vramgate-reason"]) == (413, "false", "NEVER_FITS")
    assert "shorten the prompt" in said["error"]["message"]
    waiters = [Call(proxy.address, {}) for _ in range(11)]  # one runs, ten wait
    gate.settles(1, 0, 10)
    status, said, headers = Call(proxy.address, {}).reply()
    assert (status, headers["x-vramgate-reason"], headers["x-should-retry"]) == (429, "QUEUE_FULL", "true")
    assert int(headers["retry-after"]) >= 1
    assert int(headers["retry-after-ms"]) >= 1
    for _ in waiters:
        backend.next().end()
    assert [waiter.reply()[0] for waiter in waiters] == [200] * 11
    gate.settles(0, 0, 0)


def _failure(gate: DoorGate, backend: Backend, proxy: LiteLlm) -> None:
    call = Call(proxy.address, {})
    answer = backend.next()
    while True:  # the proxy's own client asks again
        answer.fail()
        try:
            answer = backend.arrived.get(timeout=3)
        except Exception:
            break
    assert call.reply()[0] == 500
    gate.settles(0, 0, 0)


def _client_gone_mid_stream(gate: DoorGate, backend: Backend, proxy: LiteLlm) -> None:
    call = Call(proxy.address, {"stream": True})
    answer = backend.next()
    answer.chunk()
    assert call.begin() == 200
    call.line()
    call.close()
    gate.settles(0, 1, 0)
    assert answer.left.wait(10), "the engine is told"
    gate.settles(0, 0, 0)


def _client_gone_before_the_first_chunk(gate: DoorGate, backend: Backend, proxy: LiteLlm) -> None:
    call = Call(proxy.address, {"stream": True})
    answer = backend.next()
    call.close()
    answer.chunk()
    for _ in range(20):
        answer.chunk()
    gate.settles(0, 0, 0)
    answer.end()


def _client_gone_while_held(gate: DoorGate, backend: Backend, proxy: LiteLlm) -> None:
    lease = gate.hold()
    call = Call(proxy.address, {"stream": True})
    gate.settles(1, 0, 1)
    call.close()
    assert gate.ask("DELETE", lease)[0] == 200
    answer = backend.next()  # the proxy sees it when its turn comes
    answer.chunk()
    answer.end()
    gate.settles(0, 0, 0)


def _openai_client_retries(gate: DoorGate, backend: Backend, proxy: LiteLlm) -> None:
    seen: list[int] = []
    hooks = {"response": [lambda response: seen.append(response.status_code)]}
    http_client = httpx.Client(event_hooks=hooks)
    with OpenAI(base_url=f"http://{proxy.address}/v1", api_key=KEY, max_retries=5, http_client=http_client) as client:

        def ask(**more: object) -> object:
            messages = [{"role": "user", "content": "hello"}]
            return client.chat.completions.create(model="llama-3.1-8b", messages=messages, max_tokens=1000, **more)

        with pytest.raises(APIStatusError):
            ask(n=100)
        assert seen == [413], "asked once"

        lease = gate.hold()
        waiters = [Call(proxy.address, {}) for _ in range(10)]
        gate.settles(1, 0, 10)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(ask)
            programs.wait_for("a 429", lambda: 429 in seen)
            assert gate.ask("DELETE", lease)[0] == 200
            for _ in range(11):
                backend.next().end()
            assert answer.result(30).choices[0].message.content == "hi"
        assert [waiter.reply()[0] for waiter in waiters] == [200] * 10
    gate.settles(0, 0, 0)


def _killed(gate: DoorGate, backend: Backend, proxy: LiteLlm) -> None:
    call = Call(proxy.address, {"stream": True})
    backend.next().chunk()
    assert call.begin() == 200
    os.kill(proxy.process.pid, signal.SIGKILL)
    assert gate.settles(0, 1, 0) < 2
    gate.settles(0, 0, 0)
