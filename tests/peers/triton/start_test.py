"""How a gate model gets into a Triton: at its start, by a later load, with its config completed from its target's."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import typing

import pytest

import models
from clients import infer
from conftest import ROOM_GIB
from programs import ROOT, VERSIONS, Gate, Triton, http_json, model, paths, wait_for

MAKE_CONFIG = ROOT / "plugin" / "triton" / "make_config.py"
DECLARED = re.compile(r"^\s*(VRAMGATE_TRITON_WEAK)?[\w* ]*?\b(TRITON(?:SERVER|BACKEND|REPOAGENT)_\w+)\(", re.MULTILINE)


def symbols(path: pathlib.Path, *options: str) -> set[str]:
    listed = subprocess.run(
        ["nm", "-D", "--format=just-symbols", *options, str(path)], capture_output=True, text=True, check=True
    )
    return {line.split("@")[0] for line in listed.stdout.split()}


def server_symbols(version: str) -> set[str]:
    libraries = paths().servers[version] / "nvidia_pytriton.libs"
    (library,) = libraries.glob("libtritonserver*.so")
    return symbols(library, "--defined-only")


def declared() -> dict[str, bool]:
    """What the headers declare, and whether an old server may lack it."""
    found: dict[str, bool] = {}
    for header in sorted((ROOT / "plugin" / "triton").glob("triton_*api.h")):
        for weak, name in DECLARED.findall(header.read_text()):
            found[name] = bool(weak)
    assert len(found) > 80
    return found


def test_every_declared_function_is_one_of_the_server(version: str) -> None:
    has = server_symbols(version)
    lacks = {name: weak for name, weak in declared().items() if name not in has}
    assert all(lacks.values()), f"not weak, and {version} lacks it: {lacks}"
    if version == VERSIONS[0]:
        assert not lacks, "the newest has all of them"


@pytest.mark.parametrize(("name", "entries"), [("triton", "TRITONBACKEND_"), ("tritonrepoagent", "TRITONREPOAGENT_")])
def test_the_plugins_need_and_give_nothing_else(name: str, entries: str) -> None:
    (library,) = (
        found for path in [*paths().backends, paths().repoagents] for found in path.glob(f"*/lib{name}_vramgate.so")
    )
    assert {symbol for symbol in symbols(library, "--defined-only") if not symbol.startswith(entries)} == set()
    assert len(symbols(library, "--defined-only")) == 5
    needed = {symbol for symbol in symbols(library, "--undefined-only") if symbol.startswith("TRITON")}
    assert needed <= set(declared())
    libraries = re.findall(r"NEEDED.*\[(.*)\]", subprocess.check_output(["readelf", "-d", str(library)], text=True))
    assert set(libraries) <= {"libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libc.so.6", "ld-linux-x86-64.so.2"}
    versions = re.findall(r"GLIBC_2\.(\d+)", subprocess.check_output(["objdump", "-T", str(library)], text=True))
    assert max(map(int, versions)) <= 35, "Triton's images of 22.12 to 24.10 have glibc 2.35"


@pytest.fixture
def own_gate(tmp_path: pathlib.Path) -> typing.Iterator[Gate]:
    gate = Gate(tmp_path / "gate", [model("llm", ROOM_GIB), model("echo", ROOM_GIB)], total_gib=16)
    yield gate
    wait_for("the last lease ends", gate.empty)
    assert gate.stop() == 0


def check_works(triton: Triton, name: str = "gate_echo") -> None:
    assert infer(triton, name)[0] == [b"a", b"bcd"]
    assert triton.stop() == 0


@pytest.mark.parametrize("explicit", [None, ("echo", "gate_echo"), ("*",)])
def test_a_whole_config_loads_at_the_servers_start(
    own_gate: Gate, version: str, tmp_path: pathlib.Path, explicit: tuple[str, ...] | None
) -> None:
    configs = {
        "echo": models.target(models.ECHO_INTERFACE),
        "gate_echo": models.gate("echo", own_gate.plugin, models.ECHO_INTERFACE),
    }
    check_works(Triton(tmp_path, version, configs, explicit=explicit))


@pytest.mark.parametrize("place", ["gate_echo", "gate_echo/1"])
def test_the_library_may_lie_beside_the_config(
    own_gate: Gate, version: str, tmp_path: pathlib.Path, place: str
) -> None:
    (library,) = (found for path in paths().backends for found in path.glob("vramgate/libtriton_vramgate.so"))
    (tmp_path / "models" / "gate_echo" / "1").mkdir(parents=True)
    shutil.copy(library, tmp_path / "models" / place)
    configs = {
        "echo": models.target(models.ECHO_INTERFACE),
        "gate_echo": models.gate("echo", own_gate.plugin, models.ECHO_INTERFACE),
    }
    check_works(Triton(tmp_path, version, configs, without=["vramgate"]))


def test_a_later_load_takes_the_interface_from_the_target(own_gate: Gate, version: str, tmp_path: pathlib.Path) -> None:
    interface = models.ECHO_INTERFACE.replace("[-1]", "[2]")
    configs = {
        "echo": models.target(interface, "max_batch_size: 4\n"),
        "gate_echo": models.gate("echo", own_gate.plugin),
    }
    triton = Triton(tmp_path, version, configs, explicit=["echo"])
    assert triton.load("gate_echo")[0] == 200
    config = http_json(triton.http, "GET", "/v2/models/gate_echo/config")[1]
    assert (config["max_batch_size"], config["input"][0]["dims"]) == (4, [2])
    body = {"inputs": [{"name": "INPUT0", "shape": [1, 2], "datatype": "BYTES", "data": ["a", "b"]}]}
    status, said = triton.post("/v2/models/gate_echo/infer", body)
    assert status == 200
    assert said["outputs"][0]["data"] == ["a", "b"]
    assert triton.stop() == 0


def test_a_config_without_an_interface_says_what_to_do_at_the_start(
    own_gate: Gate, version: str, tmp_path: pathlib.Path
) -> None:
    configs = {"echo": models.target(models.ECHO_INTERFACE), "gate_echo": models.gate("echo", own_gate.plugin)}
    triton = Triton(
        tmp_path, version, configs, options=["--exit-on-error=false", "--strict-readiness=false"], ready=False
    )
    wait_for("it says so", lambda: triton.check_running() and "make_config.py" in triton.text())
    wait_for("it is up, without that model", lambda: triton.answers("/v2/health/live"))
    assert triton.stop() == 0


@pytest.mark.parametrize("source", ["server", "file"])
def test_make_config_writes_what_a_static_start_needs(
    own_gate: Gate, version: str, tmp_path: pathlib.Path, source: str
) -> None:
    (tmp_path / "first").mkdir()
    configs = {"echo": models.target(models.ECHO_INTERFACE), "llm": models.target()}
    first = Triton(tmp_path / "first", version, configs)
    for name in configs:
        place = (
            f"http://{first.http}/v2/models/{name}"
            if source == "server"
            else str(first.repository / name / "config.pbtxt")
        )
        arguments = [place, "--target", name, "--gate", own_gate.plugin, "--set", "MAX_WAIT_MS=5000"]
        made = subprocess.run(
            [sys.executable, str(MAKE_CONFIG), *arguments], capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stderr
        (tmp_path / f"{name}.pbtxt").write_text(made.stdout)
    assert first.stop() == 0
    configs |= {f"gate_{name}": (tmp_path / f"{name}.pbtxt").read_text() for name in ("echo", "llm")}
    (tmp_path / "second").mkdir()
    second = Triton(tmp_path / "second", version, configs)
    assert http_json(second.http, "GET", "/v2/models/gate_llm/config")[1]["model_transaction_policy"]["decoupled"]
    check_works(second)


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"TARGET_MODEL": ""}, "TARGET_MODEL: .* is missing"),
        ({"TARGET_MODEL": "gate_bad"}, "is this model itself"),
        ({"GATE": "localhost:1"}, "is no address of a plugin socket"),
        ({"MAX_WAIT_MS": "soon"}, "is not a whole number from 0"),
        ({"MAX_WIAT_MS": "5"}, "MAX_WIAT_MS: .* is no parameter of the backend vramgate"),
        ({"WHEN_AWAY": "panic"}, "is none of fail_closed, fail_open, local_share"),
        ({"WHEN_AWAY": "local_share"}, "LOCAL_SHARE_MIB"),
    ],
)
def test_a_wrong_config_names_the_key(triton: Triton, gate: Gate, parameters: dict[str, str], why: str) -> None:
    settings: dict[str, object] = {"GATE": gate.plugin, **parameters}
    target = str(settings.pop("TARGET_MODEL", "echo"))
    plugin = str(settings.pop("GATE"))
    triton.add_model("gate_bad", models.gate(target, plugin, models.ECHO_INTERFACE, **settings))
    status, said = triton.load("gate_bad")
    assert status == 400
    assert re.search(why, said["error"])


def test_without_a_gate_requests_are_refused_and_not_let_through(version: str, tmp_path: pathlib.Path) -> None:
    nobody = f"unix:{tmp_path}/nobody.sock"
    configs = {
        "echo": models.target(models.ECHO_INTERFACE),
        "closed": models.gate("echo", nobody, models.ECHO_INTERFACE),
        "open": models.gate("echo", nobody, models.ECHO_INTERFACE, WHEN_AWAY="fail_open"),
    }
    triton = Triton(tmp_path, version, configs)
    body = {"inputs": [{"name": "INPUT0", "shape": [1], "datatype": "BYTES", "data": ["x"]}]}
    status, said = triton.post("/v2/models/closed/infer", body)
    assert status in (400, 503), said
    assert said["error"].startswith(
        f"vramgate: GATE_AWAY: the sidecar cannot be reached at {nobody}; retry_after_ms="
    ), said
    assert triton.post("/v2/models/open/infer", body)[0] == 200
    assert triton.stop() == 0


def test_the_environment_is_as_the_tests_think() -> None:
    assert os.access(paths().vramgate, os.X_OK)
