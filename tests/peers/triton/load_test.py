"""The repository agent: a model's fixed bytes are admitted before Triton loads it, and given back when it is gone."""

from __future__ import annotations

import collections.abc
import pathlib

import pytest

import models
from clients import Stream
from programs import Gate, Triton, model, wait_for

GIB = 2**30
# What Triton answers when an agent refuses a load; the reason stands in its log only.
REFUSED = {"2.51": 500, "2.41": 400}


def agent(plugin: str, **parameters: object) -> str:
    settings = {"GATE": plugin, **parameters}
    text = " ".join(f'parameters {{ key: "{key}" value: "{value}" }}' for key, value in settings.items())
    return f'model_repository_agents {{ agents [{{ name: "vramgate" {text} }}] }}\n'


@pytest.fixture
def own_gate(tmp_path: pathlib.Path) -> collections.abc.Iterator[Gate]:
    """A card with room for one of two models that are not loaded yet."""
    gate = Gate(tmp_path / "gate", [model(name, 6, loaded=False) for name in ("a", "b")], total_gib=10)
    yield gate
    wait_for("the last lease ends", gate.empty)
    assert gate.stop() == 0
    audit = gate.audit()
    assert audit["overruns"] == audit["leaks"] == 0, audit


def fixed_bytes(gate: Gate) -> int:
    (device,) = (account for account in gate.status()["accounts"] if account["account"] == "device/0")
    return int(device["fixed_bytes"])


def configs(gate: Gate, **parameters: object) -> dict[str, str]:
    out = {}
    for name in ("a", "b"):
        out[name] = models.target(more=agent(gate.plugin, **parameters))
        out[f"gate_{name}"] = models.gate(name, gate.plugin, models.LLM_INTERFACE)
    return out


def test_a_load_that_does_not_fit_is_refused_until_another_model_is_gone(
    own_gate: Gate, version: str, tmp_path: pathlib.Path
) -> None:
    empty = fixed_bytes(own_gate)
    triton = Triton(tmp_path, version, configs(own_gate), explicit=["gate_a", "gate_b"])
    assert triton.load("a")[0] == 200
    assert fixed_bytes(own_gate) - empty > 6 * GIB
    status, _ = triton.load("b")
    assert status == REFUSED[version]
    assert "vramgate: b is not loaded" in triton.text()
    assert fixed_bytes(own_gate) - empty < 7 * GIB, "nothing is charged for what was refused"

    stream = Stream(triton, "gate_a", max_tokens=100, delay_ms=20)
    stream.next_token()
    assert triton.unload("a")[0] == 200
    assert triton.load("b")[0] == REFUSED[version], "an unload frees nothing before its last request has ended"
    stream.tokens()
    wait_for("the unload is through", lambda: fixed_bytes(own_gate) == empty)
    assert triton.load("b")[0] == 200
    assert Stream(triton, "gate_b", max_tokens=2).tokens() == ["tok0 ", "tok1 "]
    assert triton.unload("b")[0] == 200
    wait_for("the unload is through", lambda: fixed_bytes(own_gate) == empty)
    assert triton.stop() == 0


def test_a_load_that_fails_gives_its_bytes_back(own_gate: Gate, version: str, tmp_path: pathlib.Path) -> None:
    empty = fixed_bytes(own_gate)
    broken = models.gate("a", own_gate.plugin, models.LLM_INTERFACE, agent(own_gate.plugin), WHEN_AWAY="never")
    triton = Triton(tmp_path, version, {"a": broken}, explicit=[])
    assert triton.load("a")[0] != 200
    if version == "2.51":  # 2.41 does not tell its agents that a load has failed
        wait_for("its bytes are back", lambda: fixed_bytes(own_gate) == empty)
    triton.add_model("a", configs(own_gate)["a"])
    assert triton.load("a")[0] == 200, "the next try has its bytes"
    assert fixed_bytes(own_gate) - empty < 7 * GIB
    assert triton.unload("a")[0] == 200
    wait_for("its bytes are back", lambda: fixed_bytes(own_gate) == empty)
    assert triton.stop() == 0


def test_a_reload_would_hold_two_copies(own_gate: Gate, version: str, tmp_path: pathlib.Path) -> None:
    empty = fixed_bytes(own_gate)
    triton = Triton(tmp_path, version, configs(own_gate), explicit=["a"])
    charged = fixed_bytes(own_gate) - empty
    triton.add_model("a", configs(own_gate)["a"] + 'parameters { key: "changed" value { string_value: "1" } }\n')
    if version == "2.51":
        assert triton.load("a")[0] == REFUSED[version]
        assert "ALREADY_LOADED" in triton.text()
        assert triton.model_ready("a"), "the first copy serves on"
    else:  # 2.41 tells its agents neither that a load has failed nor that it has not
        assert triton.load("a")[0] == 200
    assert fixed_bytes(own_gate) - empty == charged
    assert triton.unload("a")[0] == 200
    wait_for("the unload is through", lambda: fixed_bytes(own_gate) == empty)
    assert triton.stop() == 0


def test_a_reload_where_there_is_room_for_two(own_gate: Gate, version: str, tmp_path: pathlib.Path) -> None:
    empty = fixed_bytes(own_gate)
    triton = Triton(tmp_path, version, configs(own_gate, RELOAD="allow"), explicit=["a"])
    charged = fixed_bytes(own_gate) - empty
    changed = configs(own_gate, RELOAD="allow")["a"] + 'parameters { key: "changed" value { string_value: "1" } }\n'
    triton.add_model("a", changed)
    assert triton.load("a")[0] == 200
    assert fixed_bytes(own_gate) - empty == charged, "counted once, and not given back with the old copy"
    assert triton.unload("a")[0] == 200
    wait_for("the unload is through", lambda: fixed_bytes(own_gate) == empty)
    assert triton.stop() == 0


def test_at_the_servers_start_a_refused_model_is_left_out(own_gate: Gate, version: str, tmp_path: pathlib.Path) -> None:
    options = ["--exit-on-error=false", "--strict-readiness=false"]
    triton = Triton(tmp_path, version, configs(own_gate), options=options, ready=False)
    wait_for("one of them is there", lambda: triton.check_running() and triton.answers("/v2/health/ready"))
    assert [triton.model_ready(name) for name in ("a", "b")].count(True) == 1
    assert triton.stop() == 0


def test_without_a_gate_nothing_is_loaded(version: str, tmp_path: pathlib.Path) -> None:
    nobody = f"unix:{tmp_path}/nobody.sock"
    parameters = {"WHEN_AWAY": "fail_open", "TIMEOUT_MS": 3000}
    both = {
        "closed": models.target(more=agent(nobody, TIMEOUT_MS=3000)),
        "open": models.target(more=agent(nobody, **parameters)),
        "typo": models.target(more=agent(nobody, TIMEUOT_MS=3000)),
    }
    triton = Triton(tmp_path, version, both, explicit=[])
    assert triton.load("closed")[0] == REFUSED[version]
    assert "GATE_AWAY" in triton.text()
    assert triton.load("open")[0] == 200
    assert triton.load("typo")[0] in (400, 500)
    assert triton.stop() == 0
