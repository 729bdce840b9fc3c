"""The settings of the doors into servers: environment variables, since a server makes its middleware without arguments.

settings = Settings.from_environment()      # raises ValueError: the variable, what is wrong, what would be right
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from vramgate.aio import DEFAULT_TARGET, socket_path
from vramgate.values import WhenAway

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
REVOCABLE = ("auto", "always", "never")


def _duration_s(name: str, text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if match is None:
        raise ValueError(f"{name}={text!r}: must be a duration like 30s, 250ms or 2m")
    return float(match[1]) * _SECONDS[match[2]]


def _size_bytes(name: str, text: str) -> int:
    match = re.fullmatch(r"(\d+)(|KiB|MiB|GiB)", text)
    if match is None:
        raise ValueError(f"{name}={text!r}: must be a size like 64MiB, or plain bytes")
    return int(match[1]) * _BYTES[match[2]]


def _one_of(name: str, text: str, words: tuple[str, ...]) -> str:
    if text not in words:
        raise ValueError(f"{name}={text!r}: must be one of {', '.join(words)}")
    return text


@dataclass(frozen=True, slots=True)
class Settings:
    target: str = DEFAULT_TARGET  # VRAMGATE_TARGET: unix:PATH, the sidecar's plugin socket
    model: str = ""  # VRAMGATE_MODEL: what the sidecar calls it; else as the request says
    instance: str = ""  # VRAMGATE_INSTANCE: which instance this server is; else the gate chooses
    tenant: str = ""  # VRAMGATE_TENANT: of every request that does not say
    tenant_header: bytes = b"x-tenant"  # VRAMGATE_TENANT_HEADER: who says it, lower case; empty: nobody
    priority_header: bytes = b""  # VRAMGATE_PRIORITY_HEADER: a whole number, higher = sooner; empty: nobody says
    max_wait_s: float | None = None  # VRAMGATE_MAX_WAIT: longest in the queue; else the sidecar's
    max_body_bytes: int = 64 << 20  # VRAMGATE_MAX_BODY: larger ones are refused
    max_bodies_bytes: int = 1 << 30  # VRAMGATE_MAX_BODIES: of all requests that wait or run, together
    count: str = "bytes"  # VRAMGATE_COUNT: text by its bytes, or render: by the engine's own rendering, exact and twice
    when_away: WhenAway = WhenAway.FAIL_CLOSED  # VRAMGATE_WHEN_AWAY: fail_closed or fail_open
    connect_timeout_s: float = 1.0  # VRAMGATE_CONNECT_TIMEOUT: then when_away decides
    revocable: str = "auto"  # VRAMGATE_REVOCABLE: auto (requests that can be run again unseen), always, never
    stop_wait_s: float = 1.0  # VRAMGATE_STOP_WAIT: longest wait for the engine's word that it has stopped

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        def text(name: str, default: str = "") -> str:
            return environment.get(f"VRAMGATE_{name}", default)

        def seconds(name: str, default: str) -> float:
            return _duration_s(f"VRAMGATE_{name}", text(name, default))

        target = text("TARGET", DEFAULT_TARGET)
        try:
            socket_path(target)
        except ValueError as error:
            raise ValueError(f"VRAMGATE_TARGET: {error}") from None
        away = _one_of(
            "VRAMGATE_WHEN_AWAY", text("WHEN_AWAY", "fail_closed"), tuple(policy.value for policy in WhenAway)
        )
        return cls(
            target=target,
            model=text("MODEL"),
            instance=text("INSTANCE"),
            tenant=text("TENANT"),
            tenant_header=text("TENANT_HEADER", "x-tenant").lower().encode(),
            priority_header=text("PRIORITY_HEADER").lower().encode(),
            max_wait_s=seconds("MAX_WAIT", "") if text("MAX_WAIT") else None,
            max_body_bytes=_size_bytes("VRAMGATE_MAX_BODY", text("MAX_BODY", "64MiB")),
            max_bodies_bytes=_size_bytes("VRAMGATE_MAX_BODIES", text("MAX_BODIES", "1GiB")),
            count=_one_of("VRAMGATE_COUNT", text("COUNT", "bytes"), ("bytes", "render")),
            when_away=WhenAway(away),
            connect_timeout_s=seconds("CONNECT_TIMEOUT", "1s"),
            revocable=_one_of("VRAMGATE_REVOCABLE", text("REVOCABLE", "auto"), REVOCABLE),
            stop_wait_s=seconds("STOP_WAIT", "1s"),
        )
