"""A client that leaves: while held, before the response's headers, in the middle of it; by closing an HTTP/1.1
connection, by resetting an HTTP/2 stream, or by closing its connection. Dequeued, lingering, or ended as
configured, within 100 ms."""

from __future__ import annotations

import collections.abc
import socket
import time

import pytest
from h2_client import H2Client
from programs import Client, wait_for
from rig import SOON_S, TRIES, Engine, Envoy, Gate, audit_is_clean, gate_config, settled


class Leaver:
    def __init__(self, how: str, address: str) -> None:
        self.client = (H2Client if how.startswith("h2") else Client)(address)
        self._leave = self.client.reset if how == "h2 reset" else self.client.close

    def await_line(self, text: bytes) -> None:
        if isinstance(self.client, H2Client):
            self.client.read_until(text + b"\n\n")
        else:
            assert self.client.answer().status == 200
            assert self.client.line() == text + b"\n"

    def leave(self) -> float:
        """When it left."""
        connection = getattr(self.client, "connection", None)
        if connection and getattr(self.client, "response", None):
            self.client.response.close()  # it shares the socket, and would keep it open
        self._leave()
        return time.monotonic()

    def close(self) -> None:
        self.client.close()


ways = pytest.mark.parametrize("how", ["h1 close", "h2 reset", "h2 close"])


def quickest(attempt: collections.abc.Callable[[], float]) -> None:
    """The least of what attempt() took, each tried until one is soon enough."""
    took: list[float] = []
    while len(took) < TRIES and (not took or min(took) > SOON_S):
        took.append(attempt())
    assert min(took) <= SOON_S, took


@ways
def test_while_held_it_leaves_the_queue(gate: Gate, envoy: Envoy, engine: Engine, how: str) -> None:
    holder = Client(envoy.address)
    held = engine.next()
    held.send("first")
    assert holder.answer().status == 200

    def attempt() -> float:
        leaver = Leaver(how, envoy.address)
        wait_for("the waiter", lambda: gate.leases("waiting"))
        left = leaver.leave()
        wait_for("its place to be free", lambda: not gate.leases("waiting"))
        took = time.monotonic() - left
        leaver.close()
        return took

    quickest(attempt)
    assert engine.idle(), "it never reached the engine"
    held.end()
    holder.close()
    settled(gate)


@ways
def test_before_the_headers_it_lingers(gate: Gate, envoy: Envoy, engine: Engine, how: str) -> None:
    def attempt() -> float:
        leaver = Leaver(how, envoy.address)
        answer = engine.next()
        wait_for("the lease", lambda: gate.leases("held"))
        left = leaver.leave()
        wait_for("the linger", lambda: gate.leases("lingering"))
        took = time.monotonic() - left
        assert not gate.leases("held")
        leaver.close()
        settled(gate)
        answer.end()
        return took

    quickest(attempt)


@ways
def test_in_the_middle_its_lease_ends(gate: Gate, envoy: Envoy, engine: Engine, how: str) -> None:
    def attempt() -> float:
        leaver = Leaver(how, envoy.address)
        answer = engine.next()
        answer.send("first")
        leaver.await_line(b"data: first")
        assert gate.leases("held")
        left = leaver.leave()
        wait_for("the lease's end", lambda: not gate.leases("held"))
        took = time.monotonic() - left
        assert not gate.leases("lingering"), "ext_proc.end: finished"
        leaver.close()
        answer.end()
        return took

    quickest(attempt)


@pytest.fixture(scope="module")
def lingering(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> collections.abc.Iterator[tuple[Gate, Envoy]]:
    """A gate and an Envoy for an engine that goes on after a disconnect."""
    gate = Gate(tmp_path_factory.mktemp("gate"), gate_config("end: linger"))
    envoy = Envoy(tmp_path_factory.mktemp("envoy") / "run", gate, engine)
    yield gate, envoy
    envoy.stop()
    audit_is_clean(gate)


@ways
def test_in_the_middle_it_lingers_where_so_configured(lingering: tuple[Gate, Envoy], engine: Engine, how: str) -> None:
    gate, envoy = lingering

    def attempt() -> float:
        leaver = Leaver(how, envoy.address)
        answer = engine.next()
        answer.send("first")
        leaver.await_line(b"data: first")
        left = leaver.leave()
        wait_for("the linger", lambda: gate.leases("lingering"))
        took = time.monotonic() - left
        leaver.close()
        settled(gate)
        answer.end()
        return took

    quickest(attempt)


def test_over_http1_a_half_close_counts_as_leaving(gate: Gate, envoy: Envoy, engine: Engine) -> None:
    """As Envoy has it: a client that closes its sending side while it is held has left."""
    holder = Client(envoy.address)
    held = engine.next()
    held.send("first")
    assert holder.answer().status == 200
    waiter = Client(envoy.address)
    wait_for("the waiter", lambda: gate.leases("waiting"))
    waiter.connection.sock.shutdown(socket.SHUT_WR)
    wait_for("its place to be free", lambda: not gate.leases("waiting"))
    assert engine.idle()
    waiter.close()
    held.end()
    holder.close()
    settled(gate)
