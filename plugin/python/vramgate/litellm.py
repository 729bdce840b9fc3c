"""The gate in LiteLLM's proxy: a callback that holds each request until the sidecar admits it, and lets go at its end.

In LiteLLM's config.yaml, with this package in the proxy's environment and VRAMGATE_TARGET set (settings.py):

    litellm_settings: {callbacks: ["vramgate.litellm.gate"]}

A refusal has the status, retry-after, retry-after-ms, x-should-retry and x-vramgate-reason of the sidecar's other
doors. The lease is a stream on the plugin socket: it ends with the answer, with the client's leaving, with the task
that served the request at the latest, and with the process.

Thread rule: one event loop in each process. Lifetime rule: made at import, connects when first asked.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger

from vramgate import demand, http
from vramgate.aio import AsyncClient
from vramgate.errors import Refused
from vramgate.held import HeldLease
from vramgate.settings import Settings
from vramgate.values import EndReason, Usage

# What the proxy calls its routes, as the path that says how the body is read.
_PATHS = {
    "completion": "/v1/chat/completions",
    "acompletion": "/v1/chat/completions",
    "text_completion": "/v1/completions",
    "atext_completion": "/v1/completions",
    "responses": "/v1/responses",
    "aresponses": "/v1/responses",
    "anthropic_messages": "/v1/messages",
    "embeddings": "/v1/embeddings",
    "embedding": "/v1/embeddings",
    "aembedding": "/v1/embeddings",
}
_MOST_NAME_BYTES = 256


class _Gated:
    """A request that was let in. Ends once."""

    def __init__(self, held: HeldLease) -> None:
        self.held = held
        self._output_tokens: int | None = None
        self._ended = False

    def saw(self, answer: object) -> None:
        """Takes the usage of an answer, or of the chunk that has it."""
        usage = answer.get("usage") if isinstance(answer, dict) else getattr(answer, "usage", None)
        for name in ("completion_tokens", "output_tokens"):
            tokens = usage.get(name) if isinstance(usage, dict) else getattr(usage, name, None)
            if isinstance(tokens, int):
                self._output_tokens = tokens

    def end(self, reason: EndReason) -> None:
        if self._ended:
            return
        self._ended = True
        usage = None if self._output_tokens is None else Usage(output_tokens=self._output_tokens)
        self.held.end(reason, usage)

    def task_over(self, _: asyncio.Task[Any]) -> None:
        # Nobody has said how it ended: the engine may still be at it.
        self.end(EndReason.CLIENT_GONE)


# Of the request that this task serves; tasks that it starts see it, too.
_current: contextvars.ContextVar[_Gated | None] = contextvars.ContextVar("vramgate_litellm", default=None)


def _refusal(refused: Refused) -> HTTPException:
    headers = {
        name.decode(): value.decode() for name, value in http.headers(refused, b"") if not name.startswith(b"content-")
    }
    return HTTPException(refused.http_status, detail=refused.message, headers=headers)


def _tenant(key: object, default: str) -> str:
    """Whose key it is, as LiteLLM has checked it."""
    for name in ("team_alias", "team_id", "key_alias", "user_id"):
        value = getattr(key, name, None)
        if isinstance(value, str) and value:
            return value.encode()[:_MOST_NAME_BYTES].decode(errors="ignore")
    return default


class Gate(CustomLogger):  # type: ignore[misc]
    """`models`: the proxy's name of a model -> the sidecar's. Others pass ungated; None: all are gated, as named."""

    def __init__(self, settings: Settings, models: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._settings = settings
        self._models = models
        self._client: AsyncClient | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Gate:
        """VRAMGATE_LITELLM_MODELS: `name=sidecar's name`, with commas; else as in settings.py. Raises ValueError."""
        text = environment.get("VRAMGATE_LITELLM_MODELS", "")
        models: dict[str, str] = {}
        for part in filter(None, text.split(",")):
            name, _, served = part.partition("=")
            if not name:
                raise ValueError(f"VRAMGATE_LITELLM_MODELS={text!r}: write name or name=sidecar's name, with commas")
            models[name] = served or name
        return cls(Settings.from_environment(environment), models or None)

    def _model_of(self, name: str) -> str | None:
        if self._models is not None:
            return self._models.get(name)
        return self._settings.model or name

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any] | None:
        """Waits until the sidecar lets the request in. Raises HTTPException where it does not."""
        path = _PATHS.get(call_type)
        if path is None:
            return None
        asked = demand.asked_of(path, data)
        model = self._model_of(asked.model)
        if model is None:
            return None
        if self._client is None:
            self._client = AsyncClient(
                self._settings.target,
                when_away=self._settings.when_away,
                connect_timeout_s=self._settings.connect_timeout_s,
            )
        before = _current.get()
        if before is not None:  # the proxy asks once more, for another model
            before.end(EndReason.COMPLETED)
        try:
            held = await self._client.admit(
                model,
                asked.demand,
                tenant=_tenant(user_api_key_dict, self._settings.tenant),
                route=path,
                instance=self._settings.instance,
                max_wait_s=self._settings.max_wait_s,
            )
        except Refused as refused:
            raise _refusal(refused) from None
        gated = _Gated(held)
        _current.set(gated)
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(gated.task_over)
        return None

    async def async_post_call_success_hook(self, data: dict[str, Any], user_api_key_dict: Any, response: Any) -> None:
        """An answer that is whole is about to be sent."""
        gated = _current.get()
        if gated is not None:
            gated.saw(response)
            gated.end(EndReason.COMPLETED)

    async def async_post_call_failure_hook(
        self,
        request_data: dict[str, Any],
        original_exception: Exception,
        user_api_key_dict: Any,
        traceback_str: str | None = None,
    ) -> None:
        gated = _current.get()
        if gated is not None:
            gated.end(EndReason.BACKEND_ERROR)

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: Any, response: AsyncIterator[Any], request_data: dict[str, Any]
    ) -> AsyncIterator[Any]:
        """Every chunk of a stream passes here."""
        gated = _current.get()
        try:
            async for chunk in response:
                if gated is not None:
                    gated.saw(chunk)
                    if gated.held.revoke.done():
                        raise HTTPException(503, detail=f"the lease was revoked: {gated.held.revoke.result().reason}")
                yield chunk
        except (GeneratorExit, asyncio.CancelledError):
            if gated is not None:
                gated.end(EndReason.CLIENT_GONE)
            raise
        except Exception:
            if gated is not None:
                gated.end(EndReason.BACKEND_ERROR)
            raise
        if gated is not None:
            gated.end(EndReason.COMPLETED)


gate = Gate.from_environment()
