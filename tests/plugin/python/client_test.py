"""The clients, against a plugin socket that does what it is told."""

from __future__ import annotations

import asyncio
import pathlib
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from fake_gate import FakeGate, lease_name
from vramgate import AsyncClient, Client, Demand, EndReason, Refused, Revoked, Unreachable, Usage, WhenAway

T = TypeVar("T")
DEMAND = Demand(prompt_tokens=10, max_output_tokens=5, sequences=2)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def test_a_grant_and_its_end_say_what_was_asked(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        async with FakeGate(tmp_path / "s") as gate, AsyncClient(gate.target) as client:
            positions: list[int] = []
            task = asyncio.create_task(
                client.admit(
                    "m",
                    DEMAND,
                    tenant="t",
                    priority=3,
                    instance="a",
                    max_wait_s=1.5,
                    revocable=True,
                    request_id="r",
                    on_queued=lambda queued: positions.append(queued.position),
                )
            )
            admit = await gate.hear("admit")
            said = admit.message
            assert (said.model, said.tenant, said.priority, said.instance, said.request_id) == ("m", "t", 3, "a", "r")
            assert (said.max_wait.seconds, said.max_wait.nanos, said.revocable) == (1, 500_000_000, True)
            assert (said.demand.prompt_tokens, said.demand.max_output_tokens, said.demand.sequences) == (10, 5, 2)
            assert not said.demand.HasField("prompt_bytes")
            admit.queued(2)
            admit.grant(7)
            held = await task
            assert positions == [2]
            assert held.lease is not None
            assert (held.lease.name, held.lease.vram_bytes) == (lease_name(7), 1000)
            held.report(Usage(prompt_tokens=10, output_tokens=4))
            held.end(EndReason.BACKEND_ERROR, Usage(output_tokens=9))
            held.end()
            assert (await gate.hear("usage")).message.output_tokens == 4
            end = await gate.hear("end")
            assert (end.message.reason, end.message.usage.output_tokens) == (3, 9)
            assert gate.messages.empty()

    run(body())


def test_a_refusal_carries_its_details(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        async with FakeGate(tmp_path / "s") as gate, AsyncClient(gate.target) as client:
            task = asyncio.create_task(client.admit("m", DEMAND))
            (await gate.hear("admit")).status(8, "QUEUE_FULL", "full", 2.5)
            with pytest.raises(Refused) as caught:
                await task
            assert (caught.value.reason, caught.value.retry_after_s, caught.value.http_status) == (
                "QUEUE_FULL",
                2.5,
                429,
            )

    run(body())


def test_what_cannot_be_sent_is_refused_here(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        async with AsyncClient(f"unix:{tmp_path}/s") as client:
            for model, demand in [("\ud800", DEMAND), ("m", Demand(prompt_tokens=1 << 70))]:
                with pytest.raises(Refused) as caught:
                    await client.admit(model, demand)
                assert caught.value.http_status == 400

    run(body())


def test_one_who_stops_waiting_ends_its_wait(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        async with FakeGate(tmp_path / "s") as gate, AsyncClient(gate.target) as client:
            task = asyncio.create_task(client.admit("m", DEMAND))
            admit = await gate.hear("admit")
            task.cancel()
            end = await gate.hear("end")
            assert end.stream == admit.stream
            admit.grant()  # on its way already: nobody is there
            with pytest.raises(asyncio.CancelledError):
                await task

    run(body())


def test_a_broken_connection_loses_nobody(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        async with FakeGate(tmp_path / "s") as gate, AsyncClient(gate.target) as client:
            first = asyncio.create_task(client.admit("m", DEMAND))
            (await gate.hear("admit")).grant(1)
            held = await first
            second = asyncio.create_task(client.admit("m", DEMAND, max_wait_s=9))
            waiting = await gate.hear("admit")
            waiting.connection.drop()
            again = [await gate.hear("admit"), await gate.hear("admit")]
            assert [heard.message.reattach_lease for heard in again] == [lease_name(1), ""]
            assert again[1].message.request_id == waiting.message.request_id
            assert (again[0].message.max_wait.seconds, again[1].message.max_wait.seconds) == (0, 9)
            again[0].grant(1)
            again[1].grant(2)
            assert (await second).lease is not None
            # Its end comes while nobody is there, and is said to the next.
            again[0].connection.drop()
            while client.connected:
                await asyncio.sleep(0)
            held.end()
            late = [await gate.hear("admit"), await gate.hear("admit"), await gate.hear("end")]
            assert [heard.stream for heard in late] == [again[1].stream, again[0].stream, again[0].stream]
            assert late[1].message.reattach_lease == lease_name(1)

    run(body())


def test_a_lease_that_is_taken_back_says_so(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        async with FakeGate(tmp_path / "s") as gate, AsyncClient(gate.target) as client:
            task = asyncio.create_task(client.admit("m", DEMAND))
            admit = await gate.hear("admit")
            admit.grant()
            held = await task
            admit.revoke("full")
            assert (await held.revoke).reason == "full"
            held.ack_revoke()
            await gate.hear("revoke_ack")
            admit.status(10, "LEASE_REVOKED")
            assert isinstance((await held.over).refusal, Revoked)

    run(body())


def test_while_the_gate_is_away_the_policy_decides(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        target = f"unix:{tmp_path}/nobody"
        async with AsyncClient(target, connect_timeout_s=0.01) as client:
            with pytest.raises(Unreachable) as caught:
                await client.admit("m", DEMAND)
            assert caught.value.http_status == 503
        async with AsyncClient(target, connect_timeout_s=0.01, when_away=WhenAway.FAIL_OPEN) as client:
            held = await client.admit("m", DEMAND)
            assert held.lease is None
            held.end()
            async with FakeGate(tmp_path / "nobody") as gate:
                # It comes back: who asks then is asked for.
                while not client.connected:
                    await asyncio.sleep(0.01)
                task = asyncio.create_task(client.admit("m", DEMAND))
                (await gate.hear("admit")).grant()
                assert (await task).lease is not None

    run(body())


@pytest.mark.parametrize("nonsense", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x02\0\0\0\xff\xff"])
def test_nonsense_from_the_socket_ends_the_connection_only(tmp_path: pathlib.Path, nonsense: bytes) -> None:
    async def body() -> None:
        async with FakeGate(tmp_path / "s") as gate, AsyncClient(gate.target) as client:
            task = asyncio.create_task(client.admit("m", DEMAND))
            (await gate.hear("admit")).connection.send_raw(nonsense)
            (await gate.hear("admit")).grant()
            assert (await task).lease is not None

    run(body())


def test_the_blocking_client(tmp_path: pathlib.Path) -> None:
    ended = threading.Event()

    async def serve(ready: threading.Event) -> None:
        async with FakeGate(tmp_path / "s") as gate:
            ready.set()
            admit = await gate.hear("admit")
            admit.grant(3)
            admit.revoke()
            await gate.hear("usage")
            await gate.hear("revoke_ack")
            assert (await gate.hear("end")).message.reason == 1
            (await gate.hear("admit")).status(5, "UNKNOWN_MODEL", "no such model")
            ended.set()
            # The client is closed before the socket is.
            await asyncio.to_thread(closed.wait, 10)

    ready, closed = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: run(serve(ready)))
    thread.start()
    assert ready.wait(10)
    with Client(f"unix:{tmp_path}/s") as client:
        with client.admit("m", DEMAND) as held:
            assert held.lease is not None
            assert held.must_stop(10)
            held.report(Usage(output_tokens=1))
            held.ack_revoke()
        with pytest.raises(Refused) as caught:
            client.admit("other", DEMAND)
        assert caught.value.http_status == 404
        assert ended.wait(10)
    closed.set()
    thread.join(10)


def test_a_wrong_target_is_named() -> None:
    with pytest.raises(ValueError, match="must be unix:PATH"):
        AsyncClient("127.0.0.1:80")
