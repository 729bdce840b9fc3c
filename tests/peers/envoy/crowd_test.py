"""Thousands of requests held at once behind the shipped config: every one is answered, none by an error of Envoy's."""

from __future__ import annotations

import collections
import collections.abc
import pathlib

import pytest
from crowd import Crowd, QuickEngine
from programs import LARGE, Client, wait_for
from rig import CROWD_CONFIG, Engine, Envoy, Gate, audit_is_clean, metrics

# Sixteen of them fit at a time.
SMALL = LARGE | {"max_tokens": 16, "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture
def quick() -> collections.abc.Iterator[QuickEngine]:
    engine = QuickEngine()
    yield engine
    engine.stop()


@pytest.mark.parametrize("size", [2000, 5000])
def test_all_that_are_held_are_answered(tmp_path: pathlib.Path, engine: Engine, quick: QuickEngine, size: int) -> None:
    """With the shipped circuit breakers and message_timeout, 1 s."""
    config = CROWD_CONFIG.replace("max_wait: 20s", "max_wait: 120s")
    gate = Gate(tmp_path, config)
    # The holder's request goes to an engine that keeps it; all others to one that answers.
    hosts = """            - name: holder
              domains: ["holder"]
              routes: [{match: {prefix: "/"}, route: {cluster: holder, timeout: 0s}}]
"""
    address = f"{{address: 127.0.0.1, port_value: {engine.port}}}"
    cluster = f"""  - name: holder
    type: STATIC
    load_assignment:
      cluster_name: holder
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {address}}}}}}}]}}]
"""
    changes = [
        ("            - name: all\n", hosts + "            - name: all\n"),
        ("  clusters:\n", "  clusters:\n" + cluster),
    ]
    envoy = Envoy(tmp_path / "envoy", gate, quick, changes)
    try:
        holder = Client(envoy.address, host="holder")
        answer = engine.next()
        answer.send("first")
        assert holder.answer().status == 200

        def waiting() -> float:
            return metrics(gate)['vramgate_leases{model="m",state="waiting"}']

        crowd = Crowd(envoy.address, size, SMALL, waiting)
        wait_for(f"{size} waiters", lambda: waiting() == size or crowd.done(), 60)
        assert waiting() == size, (crowd.done() and crowd.statuses(), envoy.stats("ext_proc"))
        assert quick.served == 0
        assert metrics(gate)["vramgate_ext_proc_streams"] == size + 1

        answer.end()
        assert crowd.statuses() == collections.Counter({200: size})
        assert quick.served == size
        holder.response.read()
        holder.close()
        stats = envoy.stats("ext_proc")
        for trouble in (
            "message_timeouts",
            "streams_failed",
            "failure_mode_allowed",
            "override_message_timeout_ignored",
        ):
            assert stats[f"http.llm.ext_proc.{trouble}"] == 0, stats
    finally:
        envoy.stop()
    audit_is_clean(gate)
    assert gate.audit()["peak_used_bytes"]["pool/m/a"] == 1 << 30
