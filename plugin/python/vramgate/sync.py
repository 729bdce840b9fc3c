"""The client for code that blocks: AsyncClient on a thread of its own.

    with Client("unix:/run/vramgate/plugin.sock") as gate:
        with gate.admit("llama-3.1-8b", Demand(prompt_tokens=900, max_output_tokens=200), max_wait_s=5) as held:
            ...                                          # raises Refused where the gate says no

Thread rule: every method from any thread. Lifetime rule: leases end before, or with, close(). Make it after a fork.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Self

from vramgate import aio
from vramgate.held import HeldLease
from vramgate.values import Demand, EndReason, Lease, Usage, WhenAway


class SyncLease:
    """As held.HeldLease."""

    def __init__(self, loop: asyncio.AbstractEventLoop, held: HeldLease) -> None:
        self._loop = loop
        self._held = held
        self._stop = threading.Event()
        loop.call_soon_threadsafe(held.revoke.add_done_callback, lambda _: self._stop.set())

    @property
    def lease(self) -> Lease | None:
        return self._held.lease

    def must_stop(self, timeout_s: float | None = 0.0) -> bool:
        """Whether the gate wants the request stopped, at once or within so long."""
        return self._stop.wait(timeout_s)

    def report(self, usage: Usage) -> None:
        self._loop.call_soon_threadsafe(self._held.report, usage)

    def extend(self, tokens: int) -> None:
        self._loop.call_soon_threadsafe(self._held.extend, tokens)

    def ack_revoke(self) -> None:
        self._loop.call_soon_threadsafe(self._held.ack_revoke)

    def end(self, reason: EndReason = EndReason.COMPLETED, usage: Usage | None = None) -> None:
        self._loop.call_soon_threadsafe(self._held.end, reason, usage)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.end(EndReason.COMPLETED if kind is None else EndReason.BACKEND_ERROR)


class Client:
    def __init__(
        self,
        target: str = aio.DEFAULT_TARGET,
        *,
        when_away: WhenAway = WhenAway.FAIL_CLOSED,
        connect_timeout_s: float = 1.0,
    ) -> None:
        self._client = aio.AsyncClient(target, when_away=when_away, connect_timeout_s=connect_timeout_s)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vramgate", daemon=True)
        self._thread.start()

    def admit(
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
        timeout_s: float | None = None,
    ) -> SyncLease:
        """Blocks until the gate grants. Raises Refused, or TimeoutError after `timeout_s`."""

        async def admitted() -> HeldLease:
            return await self._client.admit(
                model,
                demand,
                request_id=request_id,
                tenant=tenant,
                route=route,
                priority=priority,
                instance=instance,
                max_wait_s=max_wait_s,
                revocable=revocable,
                labels=labels,
            )

        answer: Future[HeldLease] = asyncio.run_coroutine_threadsafe(
            asyncio.wait_for(admitted(), timeout_s), self._loop
        )
        try:
            return SyncLease(self._loop, answer.result())
        except BaseException:
            answer.cancel()
            raise

    def close(self) -> None:
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._client.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
