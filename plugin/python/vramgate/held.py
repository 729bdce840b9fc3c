"""A lease that a client of this process holds.

Made by aio.AsyncClient. One event loop. Lifetime rule: it may outlive its client, and then does nothing.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, Self

from vramgate import _wire
from vramgate.values import EndReason, Lease, LeaseEnded, Revoke, Usage


class _Client(Protocol):
    def _send(self, number: int, frame: bytes) -> None: ...
    def _end(self, number: int, reason: EndReason, usage: Usage | None) -> None: ...


class HeldLease:
    """A lease that was granted. It ends once, by end(), `async with` or the gate's own word; later calls do nothing."""

    def __init__(self, client: _Client, number: int, lease: Lease | None) -> None:
        self._client = client
        self._number = number
        self.lease = lease  # None: let in while the gate was away (fail_open)
        self.revoke: asyncio.Future[Revoke] = asyncio.get_running_loop().create_future()  # done: stop the request
        self.over: asyncio.Future[LeaseEnded] = (
            asyncio.get_running_loop().create_future()
        )  # done: the lease has ended, by whatever hand
        if lease is None:
            self.over.set_result(LeaseEnded(None))

    def report(self, usage: Usage) -> None:
        """What the whole request uses by now."""
        self._client._send(self._number, _wire.usage_frame(self._number, usage))

    def extend(self, tokens: int) -> None:
        """Asks to hear, by a larger `lease.granted_tokens`, when so many more tokens of output are covered."""
        self._client._send(self._number, _wire.extend_frame(self._number, tokens))

    def ack_revoke(self) -> None:
        """The engine has stopped: the bytes may go to others."""
        self._client._send(self._number, _wire.revoke_ack_frame(self._number))

    def end(self, reason: EndReason = EndReason.COMPLETED, usage: Usage | None = None) -> None:
        self._client._end(self._number, reason, usage)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.end()
        elif issubclass(kind, asyncio.CancelledError):
            self.end(EndReason.CLIENT_GONE)
        else:
            self.end(EndReason.BACKEND_ERROR)
