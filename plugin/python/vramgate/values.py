"""What is said to the gate and what it says: plain, immutable values. No I/O, no protobuf; any thread."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

from vramgate.errors import Refused


@dataclass(frozen=True, slots=True)
class Demand:
    """What is known of a request before it runs. Of prompt_tokens and prompt_bytes at least one is needed."""

    prompt_tokens: int | None = None  # of each sequence
    max_output_tokens: int | None = None  # None: the model's default, else all that its length leaves
    prompt_bytes: int | None = None  # a bound, where nobody has counted tokens
    sequences: int = 1  # n, best_of, prompts of a list
    cached_prefix_tokens: int | None = None
    vram_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Of the whole request, all its sequences."""

    prompt_tokens: int | None = None
    output_tokens: int | None = None


class EndReason(enum.Enum):
    COMPLETED = "completed"
    CLIENT_GONE = "client_gone"  # the engine may go on: its bytes linger
    BACKEND_ERROR = "backend_error"
    BACKEND_OUT_OF_MEMORY = "backend_out_of_memory"


class WhenAway(enum.Enum):
    """What becomes of requests while the gate cannot be reached."""

    FAIL_CLOSED = "fail_closed"  # refused: GATE_UNREACHABLE
    FAIL_OPEN = "fail_open"  # let in, without a lease


@dataclass(frozen=True, slots=True)
class Lease:
    name: str  # "leases/<16 hex digits>"
    model: str
    instance: str
    vram_bytes: int  # reserved now, over all devices
    assurance: str
    granted_tokens: int  # of output, of each sequence, that the reservation covers; 0: all
    revocable: bool


@dataclass(frozen=True, slots=True)
class Queued:
    position: int
    ahead_total: int
    estimated_wait_s: float | None


@dataclass(frozen=True, slots=True)
class Granted:
    lease: Lease


@dataclass(frozen=True, slots=True)
class Extended:
    lease: Lease


@dataclass(frozen=True, slots=True)
class Revoke:
    """Stop the request, then acknowledge."""

    reason: str
    grace_s: float


@dataclass(frozen=True, slots=True)
class LeaseEnded:
    refusal: Refused | None  # None: as it should be


class Progress(NamedTuple):
    lease: str
    output_tokens: int  # of each sequence, so far


@dataclass(frozen=True, slots=True)
class StepAnswer:
    stop: tuple[str, ...]  # leases that were told to stop and have not ended
    lost: tuple[str, ...]  # leases that are not there
