"""What an HTTP client sees of a refusal: status, retry headers, an OpenAI-shaped error, as from the sidecar's ext_proc.

Pure functions.
"""

from __future__ import annotations

import json
import math

from vramgate.errors import Refused

_LONGEST_RETRY_S = 24 * 3600
# Clients sleep as long as retry-after-ms says, to the letter.
_LONGEST_RETRY_MS = 60_000

Headers = list[tuple[bytes, bytes]]


def error_body(refused: Refused) -> bytes:
    code = refused.reason.lower() or "refused"
    kind = "server_overloaded" if refused.may_retry else "invalid_request_error"
    return json.dumps({"error": {"message": refused.message, "type": kind, "param": None, "code": code}}).encode()


def error_event(refused: Refused) -> bytes:
    """For a stream that has begun."""
    return b"data: " + error_body(refused) + b"\n\n"


def headers(refused: Refused, body: bytes) -> Headers:
    found = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-should-retry", b"true" if refused.may_retry else b"false"),
    ]
    if refused.reason:
        found.append((b"x-vramgate-reason", refused.reason.encode("ascii", "replace")))
    if refused.retry_after_s is not None:
        seconds = min(max(1, math.ceil(refused.retry_after_s)), _LONGEST_RETRY_S)
        millis = min(max(1, math.ceil(refused.retry_after_s * 1000)), _LONGEST_RETRY_MS)
        found += [(b"retry-after", str(seconds).encode()), (b"retry-after-ms", str(millis).encode())]
    return found
