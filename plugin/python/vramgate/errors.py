"""Answers that are errors. All are GateError; `Refused` is the gate's own word, and what an HTTP client should see."""

from __future__ import annotations

# Canonical codes (those of gRPC) that matter here.
CANCELLED = 1
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
ABORTED = 10
UNAVAILABLE = 14

# What an HTTP client should see, by code; all else is 503.
_HTTP_STATUS = {RESOURCE_EXHAUSTED: 429, FAILED_PRECONDITION: 413, NOT_FOUND: 404, INVALID_ARGUMENT: 400}
_RETRY = {RESOURCE_EXHAUSTED, UNAVAILABLE}
_DEFAULT_RETRY_AFTER_S = 1.0


class GateError(Exception):
    """Any failure of vramgate's."""


class Refused(GateError):
    """The gate said no, or took back what it had given.

    `reason` is the gate's word (QUEUE_FULL, NEVER_FITS, LEASE_REVOKED, ...; may be empty), `retry_after_s` when to come
    back, None where no retry can help, `http_status` what to tell an HTTP client.
    """

    def __init__(
        self, code: int, reason: str, message: str, retry_after_s: float | None = None, quota_subject: str = ""
    ) -> None:
        super().__init__(f"{reason}: {message}" if reason else message)
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s
        self.quota_subject = quota_subject

    @property
    def http_status(self) -> int:
        return _HTTP_STATUS.get(self.code, 503)

    @property
    def may_retry(self) -> bool:
        return self.retry_after_s is not None


class Revoked(Refused):
    """The lease was taken back while its request ran: stop it."""


class Unreachable(Refused):
    """Nobody answers on the plugin socket, and the policy is fail_closed."""

    def __init__(self, message: str) -> None:
        super().__init__(UNAVAILABLE, "GATE_UNREACHABLE", message, _DEFAULT_RETRY_AFTER_S)


def refused(code: int, reason: str, message: str, retry_after_s: float | None, quota_subject: str) -> Refused:
    """The error for a status of the gate's."""
    if retry_after_s is None and code in _RETRY:
        retry_after_s = _DEFAULT_RETRY_AFTER_S
    if reason == "LEASE_REVOKED":
        return Revoked(code, reason, message, retry_after_s, quota_subject)
    return Refused(code, reason, message, retry_after_s, quota_subject)
