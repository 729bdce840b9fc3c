"""The gate inside SGLang's HTTP server: a plugin of the entry point group `sglang.srt.plugins`.

    pip install vramgate && VRAMGATE_TARGET=unix:/run/vramgate/plugin.sock python -m sglang.launch_server ...

SGLang calls register() in each of its processes; the hook runs where the HTTP server is set up, and adds the same ASGI gate
as elsewhere. SGLANG_PLUGINS, where it is set, must name `vramgate`.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

from vramgate.asgi import Gate
from vramgate.settings import Settings

# The module that makes the app, and its function that is called before the app serves.
_MODULE = "sglang.srt.entrypoints.http_server"
TARGET = f"{_MODULE}.launch_server"

_log = logging.getLogger("vramgate")


def add_gate(app: Any) -> None:
    """Puts the gate around `app`, once."""
    if any(getattr(middleware, "cls", None) is Gate for middleware in app.user_middleware):
        return
    app.add_middleware(Gate, settings=Settings.from_environment())
    _log.info("the gate is in front of SGLang's HTTP server")


def _before_launch(*args: Any, **kwargs: Any) -> None:
    add_gate(importlib.import_module(_MODULE).app)


def register() -> None:
    """The entry point."""
    registry = importlib.import_module("sglang.srt.plugins.hook_registry")
    registry.HookRegistry.register(TARGET, _before_launch, registry.HookType.BEFORE)
