"""Exact counts of a request's tokens, by vLLM's own rendering of it: `VRAMGATE_COUNT=render`, with --enable-scale-out.

    demand = await rendered(app, scope, raw, asked.demand)     # None: it cannot be rendered; the bound by bytes stands

The same body goes to `PATH/render` inside the process, which applies the chat template and the tokenizer and answers
with the token ids and the resolved max_tokens. The price is that every prompt is rendered twice.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Callable
from typing import Any

from vramgate.exchange import Message, Receive, Scope, Send
from vramgate.values import Demand

App = Callable[[Scope, Receive, Send], Awaitable[None]]

_RENDERED = {"/v1/completions", "/v1/chat/completions", "/v1/messages", "/v1/responses"}


async def rendered(app: App, scope: Scope, raw: bytes, demand: Demand) -> Demand | None:
    """The demand with its tokens counted."""
    path: str = scope["path"]
    if demand.prompt_tokens is not None or path.removeprefix(scope.get("root_path", "")) not in _RENDERED:
        return None
    parts = await _ask(app, {**scope, "path": f"{path}/render", "raw_path": f"{path}/render".encode()}, raw)
    counts = [len(part["token_ids"]) for part in parts if isinstance(part.get("token_ids"), list)]
    if not counts or len(counts) != len(parts) or max(counts) == 0:
        return None
    resolved = [part.get("sampling_params") or {} for part in parts]
    caps = [params["max_tokens"] for params in resolved if isinstance(params.get("max_tokens"), int)]
    output_tokens = max(caps) if len(caps) == len(parts) and max(caps) > 0 else demand.max_output_tokens
    return dataclasses.replace(demand, prompt_tokens=max(counts), prompt_bytes=None, max_output_tokens=output_tokens)


async def _ask(app: App, scope: Scope, raw: bytes) -> list[dict[str, Any]]:
    """What the path answers, as a list; empty where it does not."""
    status = 0
    chunks: list[bytes] = []
    body: list[Message] = [{"type": "http.request", "body": raw, "more_body": False}]

    async def receive() -> Message:
        return body.pop() if body else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            chunks.append(message.get("body", b""))

    await app(scope, receive, send)
    if status != 200:
        return []
    found = json.loads(b"".join(chunks))
    parts = found if isinstance(found, list) else [found]
    return [part for part in parts if isinstance(part, dict)]
