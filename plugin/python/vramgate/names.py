"""How a lease is known inside the engine: by its id and its sequences, at the end of the request's X-Request-Id.

vLLM makes its own ids of that header, with parts before and after it (`cmpl-`, `-0`, `1_`, eight random digits): the KV
connector finds the lease in any of them. Pure functions.
"""

from __future__ import annotations

import re

_TAG = re.compile(r"-vg([0-9a-f]{16})x(\d{1,4})(?![0-9a-f])")
_PREFIX = "leases/"
_MOST_OWN = 128


def tagged(own_id: str, lease: str, sequences: int) -> str:
    """The request id to send on: the client's own, and the lease. `sequences` 0: nobody knows how many it will be."""
    own = "".join(c for c in own_id[:_MOST_OWN] if c.isascii() and (c.isalnum() or c in "-_.:"))
    return f"{own or 'r'}-vg{lease.removeprefix(_PREFIX)}x{sequences}"


def lease_of(engine_id: str) -> tuple[str, int] | None:
    """The lease and its sequences, by the last tag: those before it are the client's."""
    found = list(_TAG.finditer(engine_id))
    return (_PREFIX + found[-1][1], int(found[-1][2])) if found else None
