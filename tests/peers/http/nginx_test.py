"""The shipped nginx set-up on Debian's nginx: what is held, until when, and what clients see."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import programs
import pytest
from doors import Backend, Call, DoorGate, Nginx, one_waits_for_the_other


@pytest.fixture
def nginx(tmp_path: pathlib.Path, gate: DoorGate, backend: Backend) -> Iterator[Nginx]:
    nginx = Nginx(tmp_path, gate, backend)
    yield nginx
    nginx.stop()


def test_a_lease_lasts_as_long_as_the_answer(gate: DoorGate, backend: Backend, nginx: Nginx) -> None:
    call = Call(nginx.address, {"stream": True})
    answer = backend.next()
    assert answer.body["messages"], "the body came through"
    answer.chunk()
    assert call.begin() == 200
    assert call.line().startswith(b"data: ")
    gate.settles(1, 0, 0)
    answer.end()
    while call.line():
        pass
    gate.settles(0, 0, 0)
    call.close()


def test_it_outlives_the_time_to_confirm(gate: DoorGate, backend: Backend, nginx: Nginx) -> None:
    call = Call(nginx.address, {})
    answer = backend.next()
    lease = gate.status()  # leases.confirm_within is 2 s: renewed, it has its TTL
    assert int(lease["held"]) == 1
    with pytest.raises(AssertionError):
        programs.wait_for("it to be taken for lost", lambda: gate.counts() != (1, 0, 0), 3.0)
    answer.end()
    assert call.reply()[0] == 200
    gate.settles(0, 0, 0)


def test_one_that_does_not_fit_waits_for_the_other(gate: DoorGate, backend: Backend, nginx: Nginx) -> None:
    one_waits_for_the_other(gate, backend, nginx.address)


def test_refusals_come_with_status_and_headers(gate: DoorGate, nginx: Nginx) -> None:
    status, said, headers = Call(nginx.address, {"n": 100}).reply()
    assert (status, said["error"]["code"]) == (413, "never_fits")
    assert (headers["x-should-retry"], headers["x-vramgate-reason"]) == ("false", "NEVER_FITS")
    assert Call(nginx.address, {"model": "nobody's"}).reply()[0] == 404
    assert Call(nginx.address, {"model": 7}).reply()[0] == 400
    assert gate.counts() == (0, 0, 0)


def test_a_client_that_leaves_mid_stream_lingers(gate: DoorGate, backend: Backend, nginx: Nginx) -> None:
    call = Call(nginx.address, {"stream": True})
    answer = backend.next()
    answer.chunk()
    assert call.begin() == 200
    call.line()
    call.close()
    assert answer.left.wait(10), "the engine is told"
    gate.settles(0, 1, 0)
    gate.settles(0, 0, 0)


def test_a_client_that_leaves_while_held_goes_when_its_turn_comes(
    gate: DoorGate, backend: Backend, nginx: Nginx
) -> None:
    lease = gate.hold()
    call = Call(nginx.address, {})
    gate.settles(1, 0, 1)
    call.close()
    assert gate.ask("DELETE", lease)[0] == 200
    gate.settles(0, 0, 0)


def test_without_the_sidecar_nothing_passes(tmp_path: pathlib.Path, backend: Backend) -> None:
    gate = DoorGate(tmp_path)
    nginx = Nginx(tmp_path, gate, backend)
    try:
        assert gate.stop() == 0
        status, said, headers = Call(nginx.address, {}).reply()
        assert (status, said["error"]["code"], headers["retry-after"]) == (503, "gate_unreachable", "1")
        assert backend.arrived.empty()
    finally:
        nginx.stop()
