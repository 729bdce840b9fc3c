"""vramgate for Python: the gate's clients, and its doors into the servers of language models.

`AsyncClient` and `Client` ask the sidecar over its plugin socket; `vramgate.asgi.Gate` is an ASGI middleware that asks
for every request that generates; `vramgate.vllm` and `vramgate.sglang` put it, and more, into those engines.
"""

from vramgate.aio import DEFAULT_TARGET, AsyncClient
from vramgate.errors import GateError, Refused, Revoked, Unreachable
from vramgate.held import HeldLease
from vramgate.sync import Client, SyncLease
from vramgate.values import Demand, EndReason, Lease, Queued, Revoke, Usage, WhenAway

__all__ = [
    "DEFAULT_TARGET",
    "AsyncClient",
    "Client",
    "Demand",
    "EndReason",
    "GateError",
    "HeldLease",
    "Lease",
    "Queued",
    "Refused",
    "Revoke",
    "Revoked",
    "SyncLease",
    "Unreachable",
    "Usage",
    "WhenAway",
]
