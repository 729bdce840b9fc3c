"""SGLang's entry point, by SGLang's own code: its hook registry, as its wheel has it. The engine behind it needs a GPU.

The registry's file needs nothing else of SGLang, so it is loaded alone; the server module that it hooks is a stand-in.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import pathlib
import sys
import types
from typing import Any

import fastapi
import pytest
from vramgate.asgi import Gate


def load_registry(monkeypatch: pytest.MonkeyPatch) -> Any:
    name = "sglang.srt.plugins.hook_registry"
    located = importlib.metadata.distribution("sglang").locate_file("sglang/srt/plugins/hook_registry.py")
    spec = importlib.util.spec_from_file_location(name, pathlib.Path(str(located)))
    assert spec is not None
    assert spec.loader is not None
    registry = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, registry)
    spec.loader.exec_module(registry)
    return registry


def test_sglangs_hook_registry_puts_the_gate_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = load_registry(monkeypatch)
    launched = []
    for name in ("sglang", "sglang.srt", "sglang.srt.entrypoints"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    server: Any = types.ModuleType("sglang.srt.entrypoints.http_server")
    server.app = fastapi.FastAPI()
    server.launch_server = lambda *arguments: launched.append(arguments)
    monkeypatch.setitem(sys.modules, server.__name__, server)
    monkeypatch.setattr(sys.modules["sglang.srt.entrypoints"], "http_server", server, raising=False)
    monkeypatch.setenv("VRAMGATE_MODEL", "m")

    [plugin] = [
        entry for entry in importlib.metadata.entry_points(group="sglang.srt.plugins") if entry.name == "vramgate"
    ]
    plugin.load()()
    registry.HookRegistry.apply_hooks()
    server.launch_server("arguments")
    assert launched == [("arguments",)]
    assert [middleware.cls for middleware in server.app.user_middleware] == [Gate]


def test_sglangs_server_still_has_what_is_hooked() -> None:
    located = importlib.metadata.distribution("sglang").locate_file("sglang/srt/entrypoints/http_server.py")
    text = pathlib.Path(str(located)).read_text()
    assert "\ndef launch_server(" in text
    assert "\napp = FastAPI(" in text
