"""The gate as ASGI middleware: for `vllm serve --middleware vramgate.asgi.Gate`, and any ASGI server that generates.

A request that generates is held while it waits in the gate's queue, refused with 429, 413 or 503 where the gate
refuses, and passed on, its body unchanged, where it grants. The lease ends with the last chunk of the answer, with the
client's leaving (also while it waits) or with an error. A lease that is taken back ends the request: one that nobody
has seen anything of is asked for and run again, a stream gets an error event. Settings: vramgate.settings.

Thread rule: one event loop an app. Any number of processes may each have one. It keeps no thread and no state on disk.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from vramgate import demand, names
from vramgate.aio import AsyncClient
from vramgate.errors import ABORTED, Refused, Revoked
from vramgate.exchange import Answer, Body, ClientGone, Receive, Room, Scope, Send
from vramgate.held import HeldLease
from vramgate.rendering import rendered
from vramgate.settings import Settings
from vramgate.values import EndReason, Usage

App = Callable[[Scope, Receive, Send], Awaitable[None]]

_METHODS = {"POST", "PUT"}  # SGLang takes both
_REQUEST_ID = b"x-request-id"
_PRIORITY = re.compile(r"-?\d{1,7}", re.ASCII)
_MOST_PRIORITY = 1_000_000  # of the gate
_MOST_ROUTE = 128
# A request that was taken back is asked for again at most so often.
_MOST_RUNS = 4


class Gate:
    def __init__(self, app: App, settings: Settings | None = None) -> None:
        self.app = app
        self.settings = settings or Settings.from_environment()
        self._client: AsyncClient | None = None
        self._room = Room(self.settings.max_bodies_bytes, self.settings.max_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _METHODS or not demand.is_gated(_path(scope)):
            return await self.app(scope, receive, send)
        answer = Answer(send)
        body = Body(receive)
        try:
            raw = await body.read(self._room)
            asked = demand.asked(_path(scope), raw)
            if asked is None:
                await self.app(scope, body.player(), send)
            else:
                if self.settings.count == "render":
                    exact = await rendered(self.app, scope, raw, asked.demand)
                    asked = dataclasses.replace(asked, demand=exact or asked.demand)
                await self._run(scope, asked, body, answer)
        except ClientGone:
            return None
        except Refused as refused:
            await answer.refuse(refused)
        finally:
            body.close()
        return None

    def client(self) -> AsyncClient:
        """Of the process that serves, made at its first request: not before a fork."""
        if self._client is None:
            timeout_s = self.settings.connect_timeout_s
            self._client = AsyncClient(
                self.settings.target, when_away=self.settings.when_away, connect_timeout_s=timeout_s
            )
        return self._client

    async def _run(self, scope: Scope, asked: demand.Asked, body: Body, answer: Answer) -> None:
        """Asks and runs, again where what was granted is taken back before the client saw anything."""
        key = uuid.uuid4().hex
        for run in range(_MOST_RUNS):
            held = await self._admit(scope, asked, body, key)
            revoked = await self._forward(scope, asked, body, answer, held)
            if revoked is None:
                return
            if answer.status != 0 or run + 1 == _MOST_RUNS:
                raise revoked

    async def _admit(self, scope: Scope, asked: demand.Asked, body: Body, key: str) -> HeldLease:
        """Raises Refused, and ClientGone where the client leaves the queue."""
        settings = self.settings
        revocable = settings.revocable == "always" or (settings.revocable == "auto" and not asked.streams)
        admit = asyncio.ensure_future(
            self.client().admit(
                settings.model or asked.model,
                asked.demand,
                request_id=key,
                tenant=_header(scope, settings.tenant_header) or settings.tenant,
                route=_path(scope)[:_MOST_ROUTE],
                priority=_priority(_header(scope, settings.priority_header)),
                instance=settings.instance,
                max_wait_s=settings.max_wait_s,
                revocable=revocable,
            )
        )
        try:
            await _first_of(admit, body.left())
        except asyncio.CancelledError:
            await _drop(admit)
            raise
        if not admit.done() or body.left().done():
            await _drop(admit)
            raise ClientGone
        return admit.result()

    async def _forward(
        self, scope: Scope, asked: demand.Asked, body: Body, answer: Answer, held: HeldLease
    ) -> Revoked | None:
        """Runs the request. What it returns has stopped it; None: nothing has."""
        if held.lease is not None:
            scope = _with_request_id(scope, asked, held.lease.name)
        reason = EndReason.CLIENT_GONE

        def end() -> None:
            tokens = answer.output_tokens if reason is EndReason.COMPLETED else None
            held.end(reason, None if tokens is None else Usage(output_tokens=tokens))

        def complete() -> None:
            # Before it is sent: a client that has the last chunk may ask again at once, and finds the memory free.
            nonlocal reason
            if not body.gone and not asked.background:
                reason = EndReason.COMPLETED if answer.status < 400 else EndReason.BACKEND_ERROR
            end()

        answer.on_complete = complete
        app = asyncio.ensure_future(self._engine(scope, body, answer))
        try:
            await _first_of(app, held.revoke, held.over)
            revoked = _taken_back(held)
            if revoked is None or app.done() or answer.complete:
                await app
                return None
            await _cancel(app)
            await self._acknowledge(held)
            return revoked
        except asyncio.CancelledError:
            await _cancel(app)
            raise
        except Exception:
            reason = EndReason.CLIENT_GONE if body.gone else EndReason.BACKEND_ERROR
            raise
        finally:
            end()

    async def _engine(self, scope: Scope, body: Body, answer: Answer) -> None:
        await self.app(scope, body.player(), answer)

    async def _acknowledge(self, held: HeldLease) -> None:
        """After the request was cancelled: when the engine has said that it stopped, or should have by now."""
        await asyncio.wait({held.over}, timeout=self.settings.stop_wait_s)
        held.ack_revoke()


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _header(scope: Scope, name: bytes) -> str:
    if not name:
        return ""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _priority(text: str) -> int:
    if not _PRIORITY.fullmatch(text):
        return 0
    return max(-_MOST_PRIORITY, min(int(text), _MOST_PRIORITY))


def _with_request_id(scope: Scope, asked: demand.Asked, lease: str) -> Scope:
    own = _header(scope, _REQUEST_ID) or asked.request_id or uuid.uuid4().hex
    sequences = asked.demand.sequences if asked.counted else 0
    name = names.tagged(own, lease, sequences)
    headers = [(key, value) for key, value in scope["headers"] if key != _REQUEST_ID]
    return {**scope, "headers": [*headers, (_REQUEST_ID, name.encode())]}


def _taken_back(held: HeldLease) -> Revoked | None:
    if held.revoke.done():
        why = held.revoke.result().reason
        return Revoked(ABORTED, "LEASE_REVOKED", f"the request was stopped to free its memory: {why}", 1.0)
    ended = held.over.result().refusal if held.over.done() else None
    # Any other end is the engine's own word, or that of a sidecar that has gone: the request goes on.
    return ended if isinstance(ended, Revoked) else None


async def _first_of(*what: asyncio.Future[Any]) -> None:
    await asyncio.wait(what, return_when=asyncio.FIRST_COMPLETED)


async def _cancel(task: asyncio.Future[Any]) -> None:
    """Cancels and waits until it has ended."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # looked at: it is of no interest any more


async def _drop(admit: asyncio.Future[HeldLease]) -> None:
    """Gives up an admit whose request is not run, granted or not."""
    await _cancel(admit)
    if not admit.cancelled() and admit.exception() is None:
        admit.result().end(EndReason.COMPLETED)
