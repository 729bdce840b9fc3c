"""The gate inside SGLang's HTTP server: a plugin of the entry point group `sglang.srt.plugins`.

    pip install vramgate && VRAMGATE_TARGET=unix:/run/vramgate/plugin.sock python -m sglang.launch_server ...

SGLang calls register() before its server starts; the hook adds the same ASGI gate as elsewhere. VRAMGATE_MODEL is
needed, since its own /generate names no model, and SGLANG_PLUGINS, where it is set, must name `vramgate`. Not reached
are the Rust and gRPC servers, and the workers of --tokenizer-worker-num above 1, which make their app anew.
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
    if not Settings.from_environment().model:
        raise ValueError("vramgate: VRAMGATE_MODEL is not set: name the model as the sidecar's config does")
    registry = importlib.import_module("sglang.srt.plugins.hook_registry")
    registry.HookRegistry.register(TARGET, _before_launch, registry.HookType.BEFORE)
