"""The asyncio client of the plugin socket: one connection for any number of leases.

    async with AsyncClient("unix:/run/vramgate/plugin.sock") as gate:
        async with await gate.admit("llama-3.1-8b", Demand(prompt_tokens=900, max_output_tokens=200)) as held:
            ...                                          # raises Refused where the gate says no
            if held.revoke.done(): ...                   # stop, then held.ack_revoke()

It connects when first asked, and again with growing pauses when the connection breaks: who waits asks again under the
same request id, who holds takes its lease up again. While nobody answers, `when_away` says what becomes of requests.

Thread rule: one event loop. Lifetime rule: leases end before, or with, close(). The process forks before, not after.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self, cast

from vramgate import _wire
from vramgate.errors import CANCELLED, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, Refused, Unreachable
from vramgate.held import HeldLease
from vramgate.values import (
    Demand,
    EndReason,
    Extended,
    Granted,
    LeaseEnded,
    Queued,
    Revoke,
    Usage,
    WhenAway,
)

DEFAULT_TARGET = "unix:/run/vramgate/plugin.sock"
MOST_STREAMS = 100_000
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
# A sidecar that reads nothing must not make the engine's process hold everything it would have been told.
_MOST_UNSENT_BYTES = 16 << 20

_log = logging.getLogger("vramgate")

OnQueued = Callable[[Queued], None]


def socket_path(target: str) -> str:
    """The path of `unix:PATH`. Raises ValueError."""
    path = target.removeprefix("unix:")
    if path == target or not path:
        raise ValueError(f"target {target!r}: must be unix:PATH, the plugin socket of the sidecar (listeners.plugin)")
    return path


class _Stream:
    """One lease on the connection, from its admit to its status."""

    def __init__(self, number: int, admit: Callable[[str, float | None], bytes], on_queued: OnQueued | None) -> None:
        self.number = number
        self.admit = admit  # (lease to take up again, max_wait_s) -> frame
        self.on_queued = on_queued
        self.answer: asyncio.Future[HeldLease] = asyncio.get_running_loop().create_future()
        self.held: HeldLease | None = None
        self.timer: asyncio.TimerHandle | None = None  # until it is given up for want of a connection
        self.last_words: bytes | None = None  # its end, not yet said for want of a connection


class _Protocol(asyncio.Protocol):
    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._decoder = _wire.FrameDecoder()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in deed, not in name

    def data_received(self, data: bytes) -> None:
        try:
            for number, message in self._decoder.feed(data):
                self._client._on_message(number, message)
        except _wire.ProtocolError as error:
            _log.error("the plugin socket speaks something else (%s): connecting anew", error)
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._client._on_lost(self, exc)


class AsyncClient:
    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        when_away: WhenAway = WhenAway.FAIL_CLOSED,
        connect_timeout_s: float = 1.0,
    ) -> None:
        self._path = socket_path(target)
        self._when_away = when_away
        self._connect_timeout_s = connect_timeout_s
        self._streams: dict[int, _Stream] = {}
        self._last_number = 0
        self._connection: _Protocol | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._failed = False  # the last attempt to connect
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def connected(self) -> bool:
        return self._connection is not None

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    async def admit(
        self,
        model: str,
        demand: Demand,
        *,
        request_id: str = "",
        tenant: str = "",
        route: str = "",
        priority: int = 0,
        instance: str = "",
        max_wait_s: float | None = None,
        revocable: bool = False,
        labels: Mapping[str, str] | None = None,
        on_queued: OnQueued | None = None,
    ) -> HeldLease:
        """Waits in the gate's queue until it grants. Raises Refused; cancelling leaves the queue at once.

        `request_id` is an idempotency key; one is made where it is empty, so that a broken connection loses nothing.
        `route` is what it is asked for by: the gate learns output lengths by tenant and route.
        """
        if self._closed:
            raise Refused(CANCELLED, "", "the client is closed")
        if len(self._streams) >= MOST_STREAMS:
            raise Refused(
                RESOURCE_EXHAUSTED, "QUEUE_FULL", f"{MOST_STREAMS} requests are under way in this process", 1.0
            )
        number = self._last_number = self._last_number + 1
        key = request_id or uuid.uuid4().hex

        def admit_frame(reattach: str, wait_s: float | None) -> bytes:
            return _wire.admit_frame(
                number,
                demand,
                model=model,
                request_id=key,
                tenant=tenant,
                route=route,
                priority=priority,
                instance=instance,
                max_wait_s=wait_s,
                revocable=revocable,
                reattach=reattach,
                labels=labels,
            )

        try:
            frame = admit_frame("", max_wait_s)
        except (ValueError, TypeError) as error:  # text that is no Unicode, a number that is too large
            raise Refused(INVALID_ARGUMENT, "INVALID_REQUEST", f"it cannot be sent: {error}") from error
        stream = _Stream(
            number, lambda lease, wait_s: admit_frame(lease, max_wait_s if not lease else wait_s), on_queued
        )
        self._streams[number] = stream
        if self._connection is not None:
            self._write(frame)
        else:
            self._await_connection(stream)
        try:
            return await stream.answer
        except asyncio.CancelledError:
            # Both while it waits and where the grant is on its way this frees at once: nothing runs yet.
            self._end(number, EndReason.COMPLETED, None)
            raise
        finally:
            if stream.timer is not None:
                stream.timer.cancel()

    async def close(self) -> None:
        """Gives up what waits, and leaves what is held to the sidecar, as the end of this process would."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._connecting
        for stream in list(self._streams.values()):
            self._finish(stream, LeaseEnded(Refused(CANCELLED, "", "the client was closed")))
        if self._connection is not None:
            self._connection.transport.close()
            self._connection = None

    # --- Streams ---

    def _on_message(self, number: int, message: _wire.ServerMessage) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return  # ended here already: the two ends cross
        match message:
            case Queued():
                if stream.on_queued is not None and not stream.answer.done():
                    stream.on_queued(message)
            case Granted(lease=lease):
                if stream.held is not None:
                    stream.held.lease = lease  # taken up again
                elif not stream.answer.done():
                    stream.held = HeldLease(self, number, lease)
                    stream.answer.set_result(stream.held)
            case Extended(lease=lease):
                if stream.held is not None:
                    stream.held.lease = lease
            case Revoke():
                if stream.held is not None and not stream.held.revoke.done():
                    stream.held.revoke.set_result(message)
            case LeaseEnded():
                self._finish(stream, message)

    def _finish(self, stream: _Stream, ended: LeaseEnded) -> None:
        self._streams.pop(stream.number, None)
        if stream.held is not None:
            if not stream.held.over.done():
                stream.held.over.set_result(ended)
        elif not stream.answer.done():
            stream.answer.set_exception(
                ended.refusal or Refused(CANCELLED, "", "the gate ended the wait without a grant")
            )

    def _end(self, number: int, reason: EndReason, usage: Usage | None) -> None:
        stream = self._streams.get(number)
        if stream is None or stream.last_words is not None:
            return
        frame = _wire.end_frame(number, reason, usage)
        self._send(number, frame)
        self._finish(stream, LeaseEnded(None))
        if self._connection is None and stream.held is not None and not self._closed:
            stream.last_words = frame
            self._streams[number] = stream

    # --- The connection ---

    def _send(self, number: int, frame: bytes) -> None:
        if number in self._streams and self._connection is not None:
            self._write(frame)

    def _write(self, frame: bytes) -> None:
        assert self._connection is not None
        transport = self._connection.transport
        transport.write(frame)
        if transport.get_write_buffer_size() > _MOST_UNSENT_BYTES:
            _log.error("the sidecar reads nothing: connecting anew")
            transport.abort()

    def _await_connection(self, stream: _Stream) -> None:
        if self._connecting is None:
            self._connecting = self._loop.create_task(self._connect())
        elif self._failed and self._when_away is WhenAway.FAIL_OPEN:
            self._give_up(stream)
            return
        stream.timer = self._loop.call_later(self._connect_timeout_s, self._give_up, stream)

    def _give_up(self, stream: _Stream) -> None:
        """Nobody has answered for so long: the policy decides on one that waits."""
        stream.timer = None
        if self._connection is not None or stream.answer.done():
            return
        if self._when_away is WhenAway.FAIL_OPEN:
            self._streams.pop(stream.number, None)
            stream.answer.set_result(HeldLease(self, stream.number, None))
        else:
            self._finish(
                stream, LeaseEnded(Unreachable(f"nobody answers at unix:{self._path}: is vramgate serving there?"))
            )

    async def _connect(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                _, connection = await self._loop.create_unix_connection(lambda: _Protocol(self), self._path)
                break
            except OSError as error:
                if not self._failed:
                    _log.warning(
                        "no connection to unix:%s (%s): %s meanwhile", self._path, error, self._when_away.value
                    )
                self._failed = True
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._connection = connection
        self._connecting = None
        self._failed = False
        for stream in list(self._streams.values()):
            if stream.timer is not None:
                stream.timer.cancel()
                stream.timer = None
            # Where the lease is gone (another sidecar than before), it is a request like any other, that must not wait.
            held = stream.held.lease if stream.held is not None else None
            self._write(stream.admit(held.name if held else "", 0.0))
            if stream.last_words is not None:
                self._write(stream.last_words)
                del self._streams[stream.number]

    def _on_lost(self, connection: _Protocol, error: Exception | None) -> None:
        if self._connection is not connection:
            return
        self._connection = None
        if self._closed:
            return
        _log.warning("the connection to unix:%s is gone (%s)", self._path, error or "closed by the sidecar")
        if self._connecting is None:
            self._connecting = self._loop.create_task(self._connect())
        for stream in self._streams.values():
            if stream.held is None and not stream.answer.done():
                stream.timer = self._loop.call_later(self._connect_timeout_s, self._give_up, stream)
