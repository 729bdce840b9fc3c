"""Servers that the tests share: each start of vLLM takes twenty seconds."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import servers

# Slow enough to be looked at while it generates: some 15 ms a step.
MODEL = "mid"
GREEDY: list[tuple[str, dict[str, Any]]] = [
    ("/v1/completions", {"prompt": "bafo geku", "max_tokens": 40}),
    ("/v1/completions", {"prompt": [list(range(5, 95)), [7, 8, 9]], "max_tokens": 24}),
    ("/v1/completions", {"prompt": [11] * 300, "max_tokens": 64}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "la po"}], "max_tokens": 32}),
]


@dataclass
class Served:
    sidecar: servers.Sidecar
    engine: servers.Vllm


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return servers.make_model(tmp_path_factory.mktemp("models"), MODEL)


def check_nothing_is_left(sidecar: servers.Sidecar) -> None:
    """The budget as it began, and a ledger without a finding but that it goes on."""
    sidecar.check_empty()
    audit = sidecar.audit()
    assert (audit["overruns"], audit["leaks"]) == (0, 0), audit["findings"]


def serve(directory: pathlib.Path, model: pathlib.Path, *arguments: str, **more: Any) -> Iterator[Served]:
    sidecar = servers.Sidecar(directory, model)
    engine = servers.Vllm(directory / "vllm", model, *arguments, sidecar=sidecar, **more)
    try:
        engine.ready()
        yield Served(sidecar, engine)
        check_nothing_is_left(sidecar)
    finally:
        engine.stop()
        sidecar.stop()


@pytest.fixture(scope="session")
def ungated(model: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Vllm]:
    """vLLM alone. It starts while others run, and is waited for by who needs it."""
    engine = servers.Vllm(tmp_path_factory.mktemp("ungated"), model)
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def served(model: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Through the endpoint plugin, with the KV connector."""
    environment = {"VRAMGATE_COUNT": "render"}
    directory = tmp_path_factory.mktemp("served")
    yield from serve(directory, model, "--enable-scale-out", connector=True, environment=environment)


@pytest.fixture
def two(model: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two API servers, the gate as --middleware, without the connector."""
    directory = tmp_path_factory.mktemp("two")
    arguments = ["--middleware", "vramgate.asgi.Gate", "--api-server-count", "2"]
    yield from serve(directory, model, *arguments, environment={"VLLM_PLUGINS": ""})


@pytest.fixture
def doomed(model: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """As `served`, for a test that kills it."""
    yield from serve(tmp_path_factory.mktemp("doomed"), model, connector=True)


@pytest.fixture(autouse=True)
def empty_at_the_end(request: pytest.FixtureRequest) -> Iterator[None]:
    """Of a server that tests share, each gives back what it found."""
    yield
    if "served" in request.fixturenames:
        check_nothing_is_left(request.getfixturevalue("served").sidecar)
