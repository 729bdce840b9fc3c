"""What the tests of the HTTP door share."""

from __future__ import annotations

import contextlib
import pathlib
import sys
from collections.abc import Iterator

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from doors import Backend, DoorGate


@contextlib.contextmanager
def _served(gate: DoorGate) -> Iterator[DoorGate]:
    """A sidecar, whose ledger is clean at the end, with nothing reserved."""
    try:
        yield gate
        gate.settles(0, 0, 0)
        assert all(account.get("reserved_bytes", "0") == "0" for account in gate.status()["accounts"])
    finally:
        status = gate.stop()
    assert status == 0, gate.log.read_text()[-3000:]
    audit = gate.audit()
    assert (audit["overruns"], audit["leaks"], audit["complete"]) == (0, 0, True), audit


@pytest.fixture
def gate(tmp_path: pathlib.Path) -> Iterator[DoorGate]:
    with _served(DoorGate(tmp_path)) as gate:
        yield gate


@pytest.fixture
def impatient(tmp_path: pathlib.Path) -> Iterator[DoorGate]:
    """It has room for many, and nobody waits in it for long."""
    with _served(DoorGate(tmp_path, max_wait="200ms", pool_gib=1000)) as gate:
        yield gate


@pytest.fixture
def backend() -> Iterator[Backend]:
    backend = Backend()
    yield backend
    backend.stop()
