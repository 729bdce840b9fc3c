"""The gate inside vLLM's API-key check: an endpoint plugin, loaded where VLLM_PLUGINS names `vramgate`.

    VLLM_PLUGINS=vramgate VRAMGATE_TARGET=unix:/run/vramgate/plugin.sock vllm serve MODEL --api-key ...

A request without the key is refused before it can take a place in the gate's queue, which the middleware door,
outermost, cannot do. vLLM's own thread and event loop.
"""

from __future__ import annotations

from typing import Any

from vramgate.asgi import Gate
from vramgate.settings import Settings


class VramgateEndpoint:
    name = "vramgate"
    required_tasks = None  # whatever the server does

    def attach_router(self, app: Any) -> None:
        """Called before vLLM adds its own middlewares, so that they are outside of this one."""
        # Here, so that wrong settings stop the server at its start.
        app.add_middleware(Gate, settings=Settings.from_environment())

    async def init_state(self, engine_client: Any, state: Any, args: Any) -> None:
        """Nothing: the gate needs no engine."""
