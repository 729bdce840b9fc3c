"""The ASGI gate, between a client and an app that do what they are told."""

from __future__ import annotations

import asyncio
import json
import pathlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fake_gate import FakeGate, lease_name
from vramgate.asgi import Gate
from vramgate.exchange import Message, Receive, Scope, Send
from vramgate.names import lease_of
from vramgate.settings import Settings

BODY = {"model": "m", "prompt": [1, 2, 3], "max_tokens": 4}


class Client:
    """One HTTP request. What the app sends lies in `sent`."""

    def __init__(
        self, body: object = BODY, *, path: str = "/v1/completions", headers: dict[str, str] | None = None
    ) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.raw = raw
        named = [(key.encode(), value.encode()) for key, value in (headers or {}).items()]
        self.scope: Scope = {"type": "http", "method": "POST", "path": path, "root_path": "", "headers": named}
        middle = len(raw) // 2
        self._coming: asyncio.Queue[Message] = asyncio.Queue()
        self._coming.put_nowait({"type": "http.request", "body": raw[:middle], "more_body": True})
        self._coming.put_nowait({"type": "http.request", "body": raw[middle:], "more_body": False})
        self.sent: list[Message] = []

    def leave(self) -> None:
        self._coming.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> Message:
        return await self._coming.get()

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {key.decode(): value.decode() for key, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])


async def read_all(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            return body


class Engine:
    """The app behind the gate: each request waits for the test's word."""

    def __init__(self) -> None:
        self.began: asyncio.Queue[tuple[Scope, bytes]] = asyncio.Queue()
        self.go = asyncio.Event()
        self.cancelled = 0
        self.kind = b"application/json"
        self.status = 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_all(receive)
        try:
            if self.kind == b"text/event-stream":
                await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", self.kind)]})
                await send({"type": "http.response.body", "body": b"data: {}\n\n", "more_body": True})
            self.began.put_nowait((scope, body))
            gone = asyncio.ensure_future(receive())
            go = asyncio.ensure_future(self.go.wait())
            await asyncio.wait({gone, go}, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            go.cancel()
            if not self.go.is_set():
                return  # as a server that follows the disconnect
            if self.kind != b"text/event-stream":
                await send(
                    {"type": "http.response.start", "status": self.status, "headers": [(b"content-type", self.kind)]}
                )
            await send({"type": "http.response.body", "body": b'{"usage":{"completion_tokens":4}}', "more_body": False})
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


Test = Callable[[FakeGate, Engine, Gate], Coroutine[Any, Any, None]]


def run(tmp_path: pathlib.Path, test: Test, **settings: Any) -> None:
    async def body() -> None:
        async with FakeGate(tmp_path / "s") as gate:
            engine = Engine()
            app = Gate(engine, Settings(target=gate.target, stop_wait_s=0.05, **settings))
            await test(gate, engine, app)
            await app.client().close()

    asyncio.run(asyncio.wait_for(body(), 30))


def start(app: Gate, client: Client) -> asyncio.Task[None]:
    async def call() -> None:
        await app(client.scope, client.receive, client.send)

    return asyncio.create_task(call())


def test_a_request_goes_through_unchanged_and_its_lease_ends_before_the_last_chunk(tmp_path: pathlib.Path) -> None:
    async def test(gate: FakeGate, engine: Engine, app: Gate) -> None:
        client = Client(headers={"x-tenant": "t", "x-request-id": "mine"})
        task = start(app, client)
        admit = await gate.hear("admit")
        assert (admit.message.model, admit.message.tenant, admit.message.revocable) == ("m", "t", True)
        assert admit.message.route == client.scope["path"]
        assert (admit.message.demand.prompt_tokens, admit.message.demand.max_output_tokens) == (3, 4)
        assert engine.began.empty()
        admit.grant(5)
        scope, body = await engine.began.get()
        assert body == client.raw
        [request_id] = [value.decode() for key, value in scope["headers"] if key == b"x-request-id"]
        assert request_id.startswith("mine-")
        assert lease_of(f"cmpl-{request_id}-0-12345678") == (lease_name(5), 1)
        engine.go.set()
        await task
        end = await gate.hear("end")
        assert (end.message.reason, end.message.usage.output_tokens) == (1, 4)
        assert client.status == 200

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("code", "reason", "retry_s", "status"),
    [
        (8, "QUEUE_FULL", 1.2, 429),
        (9, "NEVER_FITS", None, 413),
        (14, "DRAINING", 3.0, 503),
        (5, "UNKNOWN_MODEL", None, 404),
    ],
)
def test_a_refusal_is_an_http_answer(
    tmp_path: pathlib.Path, code: int, reason: str, retry_s: float | None, status: int
) -> None:
    async def test(gate: FakeGate, engine: Engine, app: Gate) -> None:
        client = Client()
        task = start(app, client)
        (await gate.hear("admit")).status(code, reason, "because", retry_s)
        await task
        assert (client.status, client.headers["x-vramgate-reason"]) == (status, reason)
        assert client.headers["x-should-retry"] == ("true" if retry_s else "false")
        assert ("retry-after" in client.headers) == (retry_s is not None)
        if reason == "QUEUE_FULL":
            assert (client.headers["retry-after"], client.headers["retry-after-ms"]) == ("2", "1200")
        assert json.loads(client.body)["error"]["message"] == "because"
        assert engine.began.empty()

    run(tmp_path, test)


def test_a_client_that_leaves_while_it_waits(tmp_path: pathlib.Path) -> None:
    async def test(gate: FakeGate, engine: Engine, app: Gate) -> None:
        client = Client()
        task = start(app, client)
        await gate.hear("admit")
        client.leave()
        await gate.hear("end")
        await task
        assert client.sent == []
        assert engine.began.empty()

    run(tmp_path, test)


def test_a_client_that_leaves_its_answer(tmp_path: pathlib.Path) -> None:
    async def test(gate: FakeGate, engine: Engine, app: Gate) -> None:
        client = Client()
        task = start(app, client)
        (await gate.hear("admit")).grant()
        await engine.began.get()
        client.leave()
        await task
        assert (await gate.hear("end")).message.reason == 2  # CLIENT_GONE: it lingers

    run(tmp_path, test)


def test_an_engine_that_refuses_or_fails(tmp_path: pathlib.Path) -> None:
    async def test(gate: FakeGate, engine: Engine, app: Gate) -> None:
        engine.status = 400
        engine.go.set()
        task = start(app, Client())
        (await gate.hear("admit")).grant()
        await task
        assert (await gate.hear("end")).message.reason == 3

        async def broken(scope: Scope, receive: Receive, send: Send) -> None:
            raise OSError

        app.app = broken
        task = start(app, Client())
        (await gate.hear("admit")).grant()
        with pytest.raises(OSError):  # noqa: PT011  the very one
            await task
        assert (await gate.hear("end")).message.reason == 3

    run(tmp_path, test)


def test_a_stream_that_is_taken_back_ends_in_an_error_event(tmp_path: pathlib.Path) -> None:
    async def test(gate: FakeGate, engine: Engine, app: Gate) -> None:
        engine.kind = b"text/event-stream"
        client = Client({**BODY, "stream": True})
        task = start(app, client)
        admit = await gate.hear("admit")
        assert not admit.message.revocable
        admit.grant()
        await engine.began.get()
        admit.revoke("an operator")
        await gate.hear("revoke_ack")
        await task
        assert engine.cancelled == 1
        assert b'"code": "lease_revoked"' in client.body
        assert not client.sent[-1].get("more_body")

    run(tmp_path, test)


def test_what_nobody_has_seen_is_asked_for_again(tmp_path: pathlib.Path) -> None:
    async def test(gate: FakeGate, engine: Engine, app: Gate) -> None:
        client = Client()
        task = start(app, client)
        first = await gate.hear("admit")
        first.grant(1)
        await engine.began.get()
        first.revoke()
        await gate.hear("revoke_ack")
        first.status(10, "LEASE_REVOKED")
        await gate.hear("end")
        again = await gate.hear("admit")
        assert again.message.request_id == first.message.request_id
        engine.go.set()
        again.grant(2)
        _, body = await engine.began.get()
        assert body == client.raw
        await task
        assert client.status == 200

    run(tmp_path, test)


def test_what_does_not_generate_passes(tmp_path: pathlib.Path) -> None:
    async def test(gate: FakeGate, engine: Engine, app: Gate) -> None:
        engine.go.set()
        for client in [Client(path="/tokenize"), Client(b"{", path="/v1/completions"), Client(b"[]")]:
            await app(client.scope, client.receive, client.send)
            assert client.status == 200
        assert gate.messages.empty()

    run(tmp_path, test)


def test_a_body_that_is_too_large_is_refused_unread(tmp_path: pathlib.Path) -> None:
    async def test(gate: FakeGate, engine: Engine, app: Gate) -> None:
        client = Client({**BODY, "prompt": "x" * 200})
        await app(client.scope, client.receive, client.send)
        assert client.status == 413
        assert b"VRAMGATE_MAX_BODY" in client.body
        assert engine.began.empty()

    run(tmp_path, test, max_body_bytes=100)


def test_bodies_that_are_too_many_are_refused_and_then_forgotten(tmp_path: pathlib.Path) -> None:
    async def test(gate: FakeGate, engine: Engine, app: Gate) -> None:
        first, second, third = Client(), Client(), Client()
        task = start(app, first)
        waits = await gate.hear("admit")
        await app(second.scope, second.receive, second.send)
        assert (second.status, second.headers["x-should-retry"]) == (429, "true")
        engine.go.set()
        waits.grant()
        await task
        await gate.hear("end")
        task = start(app, third)
        (await gate.hear("admit")).grant()
        await task
        assert third.status == 200

    run(tmp_path, test, max_bodies_bytes=len(Client().raw) + 1)


@pytest.mark.parametrize(
    ("answer", "prompt_tokens", "output_tokens"),
    [
        (b'[{"token_ids":[1,2,3,4],"sampling_params":{"max_tokens":7}}]', 4, 7),
        (b'{"token_ids":[1,2]}', 2, 4),
        (b'[{"token_ids":[]}]', None, 4),
        (b'{"error":{}}', None, 4),
    ],
)
def test_text_is_counted_by_the_engines_rendering(
    tmp_path: pathlib.Path, answer: bytes, prompt_tokens: int | None, output_tokens: int
) -> None:
    async def test(gate: FakeGate, engine: Engine, app: Gate) -> None:
        client = Client({"model": "m", "prompt": "four words of text", "max_tokens": 4})
        asked = []

        async def renders(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] != "/v1/completions/render":
                return await engine(scope, receive, send)
            asked.append(await read_all(receive))
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": answer})
            return None

        app.app = renders
        task = start(app, client)
        admit = await gate.hear("admit")
        demand = admit.message.demand
        assert asked == [client.raw]
        assert (demand.prompt_tokens if demand.HasField("prompt_tokens") else None) == prompt_tokens
        assert demand.HasField("prompt_bytes") == (prompt_tokens is None)
        assert demand.max_output_tokens == output_tokens
        engine.go.set()
        admit.grant()
        await task

    run(tmp_path, test, count="render")


def test_while_the_gate_is_away(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        engine = Engine()
        engine.go.set()
        client = Client()
        app = Gate(engine, Settings(target=f"unix:{tmp_path}/nobody", connect_timeout_s=0.01))
        await app(client.scope, client.receive, client.send)
        assert (client.status, client.headers["x-vramgate-reason"]) == (503, "GATE_UNREACHABLE")
        await app.client().close()

    asyncio.run(asyncio.wait_for(body(), 30))
