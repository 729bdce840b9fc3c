"""What the tests before real Envoys share: gates, Envoys of two versions, and what is asked of both."""

from __future__ import annotations

import collections.abc
import os
import pathlib
import urllib.request

from programs import GATE_CONFIG, Engine, Envoy, Gate, wait_for

# What fixtures give that start a gate and an Envoy of the test's own.
Start = collections.abc.Callable[..., tuple[Gate, Envoy]]

# Envoy by version; None: the one of the environment.
ENVOYS: dict[str, pathlib.Path | None] = {"1.40": None, "1.37": pathlib.Path(os.environ["ENVOY_1_37"])}

# A client's end must be seen within this; the quickest of a few tries counts, as a busy machine only makes it slower.
SOON_S = 0.1
TRIES = 5

# One instance with room for 1024 tokens, 16 to a block, and a queue for everybody.
CROWD_CONFIG = GATE_CONFIG.replace("max_requests: 1,", "max_requests: 10000,").replace("grants: all", "grants: none")


def gate_config(ext_proc: str = "", **replaced: str) -> str:
    """The common config with a section ext_proc, and with `replaced` keys' values: abort_linger="2s"."""
    text = GATE_CONFIG
    for key, value in replaced.items():
        head, found, rest = text.partition(f"{key}: ")
        assert found, key
        end = min(rest.index(mark) for mark in ",}" if mark in rest)
        text = head + found + value + rest[end:]
    return f"{text}ext_proc: {{{{{ext_proc}}}}}\n"


def metrics(gate: Gate) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{gate.ready['admin']}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line and line[0] != "#")}


def ends(gate: Gate, end: str) -> int:
    return int(metrics(gate)[f'vramgate_ext_proc_ends_total{{end="{end}"}}'])


def streams(gate: Gate) -> int:
    return int(metrics(gate)["vramgate_ext_proc_streams"])


def settled(gate: Gate, within_s: float = 5) -> None:
    """Every test ends as it began: nobody holds, waits or lingers."""
    for state in ("held", "waiting", "lingering"):
        wait_for(f"the last lease {state} to end", lambda s=state: not gate.leases(s), within_s)


def audit_is_clean(gate: Gate) -> None:
    """Stops the sidecar; its ledger must say that all came back and nothing was over the budget."""
    settled(gate)
    status = gate.status()
    assert [a["account"] for a in status["accounts"] if int(a["reserved_bytes"]) != 0] == []
    assert gate.stop() == 0, gate.log.read_text()[-3000:]
    audit = gate.audit()
    assert (audit["overruns"], audit["leaks"], audit["leaked_bytes"], audit["complete"]) == (0, 0, 0, True), audit


def healthy(envoy: Envoy, yes: bool = True) -> None:
    """Until Envoy's health check of the sidecar has succeeded, or failed."""
    wanted = 1 if yes else 0
    stat = "cluster.vramgate.membership_healthy"
    wait_for(f"Envoy to see the sidecar {'up' if yes else 'down'}", lambda: envoy.stats(stat).get(stat) == wanted, 20)


class Absent:
    """In the place of a gate: a socket where nobody listens."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.socket = directory / "gate.sock"


FAIL_CLOSED = [("failure_mode_allow: true", "failure_mode_allow: false")]


__all__ = ["Engine", "Envoy", "Gate", "wait_for"]
