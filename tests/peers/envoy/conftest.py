"""Fixtures of the tests before real Envoys."""

from __future__ import annotations

import collections.abc
import pathlib
import resource

import pytest
from rig import ENVOYS, Engine, Envoy, Gate, audit_is_clean, gate_config


@pytest.fixture(scope="session", autouse=True)
def enough_files() -> None:
    """A request held is a connection of the client's and one of Envoy's: as many as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@pytest.fixture(scope="module")
def engine() -> collections.abc.Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> collections.abc.Iterator[Gate]:
    gate = Gate(tmp_path_factory.mktemp("gate"), gate_config())
    yield gate
    audit_is_clean(gate)


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory, gate: Gate, engine: Engine) -> collections.abc.Iterator[Envoy]:
    envoy = Envoy(tmp_path_factory.mktemp("envoy") / "run", gate, engine)
    yield envoy
    envoy.stop()


@pytest.fixture(params=sorted(ENVOYS, reverse=True))
def binary(request: pytest.FixtureRequest) -> pathlib.Path | None:
    return ENVOYS[request.param]
