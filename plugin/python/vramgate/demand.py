"""What a request to an OpenAI-shaped server will need, read from its path and body.

    if is_gated(path): found = asked(path, raw)

Prompts given as token ids are counted exactly; of text only the bytes are known, and bound the tokens
(tokens_per_byte of the sidecar's config). Whatever is odd in a body is left to the engine, which will refuse it.

Pure functions; any thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vramgate.values import Demand

# More of either is refused by the gate, and must not be too large to be said.
_TOO_MANY_SEQUENCES = 4097
_MOST_TOKENS = 1 << 40
_MOST_BYTES = 1 << 40
# vLLM and SGLang generate so many for a completion that does not say.
_COMPLETION_TOKENS = 16
# Pictures, sounds and films are tokens that no bytes of the body bound: each counts as so much text.
_MEDIA = {"image", "image_url", "input_image", "audio", "audio_url", "input_audio", "video", "video_url", "file"}
_MEDIA_BYTES = 16384


@dataclass(frozen=True, slots=True)
class Asked:
    """What a body asks for."""

    model: str
    demand: Demand
    request_id: str = ""  # the body's own
    counted: bool = True  # demand.sequences is what the engine will make of it: false for beam search
    streams: bool = False
    background: bool = False  # the answer comes before the generation ends


Body = dict[str, Any]


def _positive(value: object) -> int | None:
    """A count of tokens or sequences."""
    return min(value, _MOST_TOKENS) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _bytes_of(value: object) -> int:
    """An upper bound on the bytes of all text in a JSON value."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, list):
        return sum(map(_bytes_of, value)) + len(value)
    if isinstance(value, dict):
        if value.get("type") in _MEDIA:
            return _MEDIA_BYTES
        return sum(_bytes_of(key) + _bytes_of(item) + 2 for key, item in value.items())
    return 8


def _is_ids(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, int) for item in value)


def _choices(body: Body) -> int:
    return max(_positive(body.get("n")) or 1, _positive(body.get("best_of")) or 1)


def _priced(prompts: list[object], each: int, output_tokens: int | None) -> Demand:
    """`each` sequences of every prompt; every sequence is priced as the longest."""
    sequences = min(max(1, len(prompts)) * each, _TOO_MANY_SEQUENCES)
    if prompts and all(_is_ids(prompt) for prompt in prompts):
        tokens = max(len(prompt) for prompt in prompts if isinstance(prompt, list))
        return Demand(prompt_tokens=tokens, max_output_tokens=output_tokens, sequences=sequences)
    # One more for a token that begins the text.
    text_bytes = max((_bytes_of(prompt) for prompt in prompts), default=0) + 1
    return Demand(prompt_bytes=text_bytes, max_output_tokens=output_tokens, sequences=sequences)


def _prompts(value: object) -> list[object]:
    """A prompt, or a list of them, as a list."""
    if isinstance(value, list) and value and not _is_ids(value):
        return value
    return [value]


def _completion(body: Body) -> Demand:
    output_tokens = _positive(body.get("max_tokens"))
    if "max_tokens" not in body:
        output_tokens = _COMPLETION_TOKENS
    prompts = _prompts(body["prompt"]) if body.get("prompt") is not None else []
    if body.get("prompt_embeds") is not None:
        embeds = body["prompt_embeds"]
        prompts += embeds if isinstance(embeds, list) else [embeds]
    return _priced(prompts, _choices(body), output_tokens)


def _chat_text(body: Body) -> list[object]:
    # The template sees these, and may say them again in words of its own.
    return [body.get("messages"), body.get("tools"), body.get("documents"), body.get("system")]


def _chat(body: Body) -> Demand:
    output_tokens = _positive(body.get("max_completion_tokens")) or _positive(body.get("max_tokens"))
    return _priced([_chat_text(body)], _choices(body), output_tokens)


def _batch_chat(body: Body) -> Demand:
    output_tokens = _positive(body.get("max_completion_tokens")) or _positive(body.get("max_tokens"))
    messages = body.get("messages")
    conversations = messages if isinstance(messages, list) and messages else [messages]
    return _priced(list(conversations), 1, output_tokens)


def _responses(body: Body) -> Demand:
    text: object = [body.get("input"), body.get("instructions"), body.get("tools"), body.get("messages")]
    return _priced([text], 1, _positive(body.get("max_output_tokens")))


def _generate(body: Body) -> Demand:
    """vLLM's tokens in, tokens out."""
    params = body.get("sampling_params")
    params = params if isinstance(params, dict) else {}
    output_tokens = _positive(params.get("max_tokens"))
    if "max_tokens" not in params:
        output_tokens = _COMPLETION_TOKENS
    ids = body.get("token_ids")
    return _priced([ids if _is_ids(ids) else body], _choices(params), output_tokens)


def _sglang(body: Body) -> Demand:
    """SGLang's own /generate."""
    params = body.get("sampling_params")
    each = params if isinstance(params, list) else [params]
    known = [item for item in each if isinstance(item, dict)]
    output_tokens: int | None = max((_positive(item.get("max_new_tokens")) or 128 for item in known), default=128)
    choices = max((_choices(item) for item in known), default=1)
    prompts = _prompts(body.get("input_ids") if body.get("input_ids") is not None else body.get("text"))
    return _priced(prompts, choices, output_tokens)


def _ollama(body: Body) -> Demand:
    """SGLang's /api/chat and /api/generate."""
    options = body.get("options")
    most = _positive(options.get("num_predict")) if isinstance(options, dict) else None
    return _priced([[body.get("messages"), body.get("prompt"), body.get("system"), body.get("tools")]], 1, most)


def _vertex(body: Body) -> Demand:
    """SGLang's /vertex_generate: texts, and parameters that all share."""
    instances = body.get("instances")
    texts = instances if isinstance(instances, list) and instances else [instances]
    params = body.get("parameters")
    sampling = params.get("sampling_params", params) if isinstance(params, dict) else {}
    return _sglang({"text": [[text] for text in texts], "sampling_params": sampling})


def _scoring(body: Body) -> Demand:
    """A query with each of many items: one token of each."""
    items = body.get("items")
    items = items if isinstance(items, list) and items else [items]
    query = body.get("query")
    if _is_ids(query) and all(_is_ids(item) for item in items):
        return _priced([[*query, *item] for item in items], 1, 1)  # type: ignore[misc]
    return _priced([[query, item] for item in items], 1, 1)


def _decisions(body: Body) -> Demand:
    """Questions about one state: a short answer to each."""
    questions = body.get("questions")
    many = len(questions) if isinstance(questions, dict) and questions else 1
    return _priced([body], many, None)


def _pooling(body: Body) -> Demand:
    """Embeddings, scores, classes: the prompt alone, of each input."""
    for key in ("input", "inputs", "texts", "documents", "text_2", "data_2", "data", "text"):
        if body.get(key) is not None:
            other = [
                body.get(name) for name in ("query", "text_1", "data_1", "instruction") if body.get(name) is not None
            ]
            prompts = _prompts(body[key])
            return _priced([[*other, prompt] for prompt in prompts] if other else prompts, 1, 1)
    return _priced([body.get("messages", body)], 1, 1)


_READERS: dict[str, Callable[[Body], Demand]] = {
    "/v1/completions": _completion,
    "/v1/chat/completions": _chat,
    "/v1/chat/completions/batch": _batch_chat,
    "/v1/responses": _responses,
    "/v1/messages": _chat,
    "/cohere/v2/chat": _chat,
    "/inference/v1/generate": _generate,
    "/generate": _sglang,
    "/generative_scoring": _scoring,
    "/v1/systemone": _decisions,
    "/v1/decisions": _decisions,
    "/api/chat": _ollama,
    "/api/generate": _ollama,
    "/vertex_generate": _vertex,
    "/v1/embeddings": _pooling,
    "/v2/embed": _pooling,
    "/pooling": _pooling,
    "/classify": _pooling,
    "/v1/classify": _pooling,
    "/score": _pooling,
    "/v1/score": _pooling,
    "/rerank": _pooling,
    "/v1/rerank": _pooling,
    "/v2/rerank": _pooling,
    "/encode": _pooling,
}
# The engine names their requests itself, or makes as many as it likes: nobody can tell how many are to end.
_OWN_IDS = {"/v1/responses", "/v1/systemone", "/v1/decisions"}
# Not JSON: a file of sound, whose length says little of its tokens.
_UPLOADS = {"/v1/audio/transcriptions", "/v1/audio/translations"}
# SageMaker's door: what it is shows in the body.
_ANY = "/invocations"


def is_gated(path: str) -> bool:
    return path in _READERS or path in _UPLOADS or path == _ANY


def _reader_of_any(body: Body) -> Callable[[Body], Demand]:
    if "messages" in body:
        messages = body["messages"]
        nested = isinstance(messages, list) and bool(messages) and isinstance(messages[0], list)
        return _batch_chat if nested else _chat
    if "prompt" in body or "prompt_embeds" in body:
        return _completion
    if "token_ids" in body or ("input_ids" in body and "sampling_params" in body):
        return _generate
    return _pooling


def asked(path: str, raw: bytes) -> Asked | None:
    """What the request asks for. None: the body is no JSON object, and the engine will refuse it.

    REQUIRES: is_gated(path).
    """
    if path in _UPLOADS:
        return Asked("", Demand(prompt_bytes=max(1, len(raw))), counted=False)
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return asked_of(path, body, len(raw)) if isinstance(body, dict) else None


def asked_of(path: str, body: Body, most_bytes: int = _MOST_BYTES) -> Asked:
    """What a body asks for that somebody has parsed; it was of `most_bytes` at most.

    REQUIRES: is_gated(path), and no upload.
    """
    reader = _reader_of_any(body) if path == _ANY else _READERS[path]
    try:
        demand = reader(body)
    except RecursionError:  # nested deeper than anything that is meant
        demand = Demand(prompt_bytes=most_bytes)
    model = body.get("model")
    request_id = body.get("request_id")
    return Asked(
        model=model if isinstance(model, str) else "",
        demand=demand,
        request_id=request_id if isinstance(request_id, str) else "",
        counted=body.get("use_beam_search") is not True and path not in _OWN_IDS,
        streams=body.get("stream") is True,
        background=body.get("background") is True,
    )
