"""The plugin socket's frames: bytes to and from typed values. All that knows protobuf is here.

    sender.write(session_frame(stream, admit_message(demand, model="m")))
    for stream, message in decoder.feed(bytes_that_came): ...

The messages live in a descriptor pool of their own: they meet no other copy of the same protos in the engine's process.
Thread rule: functions are free; a FrameDecoder belongs to one thread.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from vramgate import _schema
from vramgate.errors import Refused, refused
from vramgate.values import (
    Demand,
    EndReason,
    Extended,
    Granted,
    Lease,
    LeaseEnded,
    Progress,
    Queued,
    Revoke,
    StepAnswer,
    Usage,
)

MOST_FRAME_BYTES = 64 << 20
_LENGTH = struct.Struct("<I")


class ProtocolError(Exception):
    """What came is no frame of the plugin socket: the connection is of no more use."""


def _message_class(name: str) -> Any:
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(name))


def _make_pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    files = descriptor_pb2.FileDescriptorSet.FromString(_schema.FILES)
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_pool = _make_pool()
_PluginRequest = _message_class("vramgate.v1.PluginRequest")
_PluginResponse = _message_class("vramgate.v1.PluginResponse")
_SessionRequest = _message_class("vramgate.v1.SessionRequest")
_ErrorInfo = _message_class("google.rpc.ErrorInfo")
_RetryInfo = _message_class("google.rpc.RetryInfo")
_QuotaFailure = _message_class("google.rpc.QuotaFailure")
_END_REASON = {
    EndReason.COMPLETED: 1,
    EndReason.CLIENT_GONE: 2,
    EndReason.BACKEND_ERROR: 3,
    EndReason.BACKEND_OUT_OF_MEMORY: 4,
}

ServerMessage = Queued | Granted | Extended | Revoke | LeaseEnded | StepAnswer


# --- To the sidecar ---


def _frame(request: Any) -> bytes:
    body: bytes = request.SerializeToString()
    if len(body) > MOST_FRAME_BYTES:
        raise ValueError(f"a frame of {len(body)} bytes: at most {MOST_FRAME_BYTES}; shorten ids and labels")
    return _LENGTH.pack(len(body)) + body


def _set_seconds(duration: Any, seconds: float) -> None:
    nanos = round(seconds * 1e9)
    duration.seconds, duration.nanos = divmod(nanos, 1_000_000_000)


def admit_frame(
    stream: int,
    demand: Demand,
    *,
    model: str,
    request_id: str = "",
    tenant: str = "",
    route: str = "",
    priority: int = 0,
    instance: str = "",
    max_wait_s: float | None = None,
    revocable: bool = False,
    reattach: str = "",
    labels: Mapping[str, str] | None = None,
) -> bytes:
    request = _PluginRequest(stream=stream)
    admit = request.session.admit
    admit.request_id = request_id
    admit.model = model
    admit.tenant = tenant
    admit.route = route
    admit.priority = priority
    admit.instance = instance
    admit.revocable = revocable
    admit.reattach_lease = reattach
    if max_wait_s is not None:
        _set_seconds(admit.max_wait, max(0.0, max_wait_s))
    for field in ("prompt_tokens", "max_output_tokens", "prompt_bytes", "cached_prefix_tokens", "vram_bytes"):
        value = getattr(demand, field)
        if value is not None:
            setattr(admit.demand, field, value)
    admit.demand.sequences = demand.sequences
    admit.labels.update(labels or {})
    return _frame(request)


def _set_usage(out: Any, usage: Usage) -> None:
    if usage.prompt_tokens is not None:
        out.prompt_tokens = usage.prompt_tokens
    if usage.output_tokens is not None:
        out.output_tokens = usage.output_tokens


def usage_frame(stream: int, usage: Usage) -> bytes:
    request = _PluginRequest(stream=stream)
    request.session.usage.SetInParent()
    _set_usage(request.session.usage, usage)
    return _frame(request)


def extend_frame(stream: int, tokens: int) -> bytes:
    request = _PluginRequest(stream=stream)
    request.session.extend.tokens = tokens
    request.session.extend.SetInParent()
    return _frame(request)


def revoke_ack_frame(stream: int) -> bytes:
    request = _PluginRequest(stream=stream)
    request.session.revoke_ack.SetInParent()
    return _frame(request)


def end_frame(stream: int, reason: EndReason, usage: Usage | None = None) -> bytes:
    request = _PluginRequest(stream=stream)
    end = request.session.end
    end.reason = _END_REASON[reason]
    if usage is not None:
        _set_usage(end.usage, usage)
    return _frame(request)


def cancel_frame(stream: int) -> bytes:
    request = _PluginRequest(stream=stream)
    request.cancel.SetInParent()
    return _frame(request)


def steps_frame(
    stream: int,
    *,
    model: str,
    instance: str,
    steps: int,
    ended: Iterable[Progress] = (),
    emitted: Iterable[Progress] = (),
) -> bytes:
    request = _PluginRequest(stream=stream)
    report = request.steps
    report.SetInParent()
    report.model = model
    report.instance = instance
    report.steps = steps
    for lease, tokens in ended:
        report.ended.add(lease=lease, output_tokens=tokens)
    for lease, tokens in emitted:
        report.emitted.add(lease=lease, output_tokens=tokens)
    return _frame(request)


# --- From the sidecar ---


def _seconds(duration: Any) -> float:
    return float(duration.seconds) + float(duration.nanos) / 1e9


def _lease(lease: Any) -> Lease:
    return Lease(
        name=lease.name,
        model=lease.model,
        instance=lease.instance,
        vram_bytes=sum(charge.vram_bytes for charge in lease.charges),
        assurance=lease.assurance,
        granted_tokens=lease.granted_tokens,
        revocable=lease.revocable,
    )


def _refusal(status: Any) -> Refused | None:
    """None: the status is OK."""
    if status.code == 0:
        return None
    reason, retry_after_s, quota_subject = "", None, ""
    for detail in status.details:
        name = detail.type_url.rpartition("/")[2]
        if name == "google.rpc.ErrorInfo":
            reason = _ErrorInfo.FromString(detail.value).reason
        elif name == "google.rpc.RetryInfo":
            retry_after_s = _seconds(_RetryInfo.FromString(detail.value).retry_delay)
        elif name == "google.rpc.QuotaFailure":
            violations = _QuotaFailure.FromString(detail.value).violations
            quota_subject = violations[0].subject if violations else ""
    return refused(status.code, reason, status.message, retry_after_s, quota_subject)


def _session_message(session: Any) -> ServerMessage:
    kind = session.WhichOneof("msg")
    if kind == "queued":
        wait = _seconds(session.queued.estimated_wait) if session.queued.HasField("estimated_wait") else None
        return Queued(session.queued.position, session.queued.ahead_total, wait)
    if kind == "granted":
        return Granted(_lease(session.granted))
    if kind == "extended":
        return Extended(_lease(session.extended))
    if kind == "revoke":
        return Revoke(session.revoke.reason, _seconds(session.revoke.grace))
    raise ProtocolError("a session message of no known kind")


def _decode(body: bytes) -> tuple[int, ServerMessage]:
    try:
        response = _PluginResponse.FromString(body)
        kind = response.WhichOneof("msg")
        if kind == "session":
            return response.stream, _session_message(response.session)
        if kind == "status":
            return response.stream, LeaseEnded(_refusal(response.status))
        if kind == "steps":
            return response.stream, StepAnswer(tuple(response.steps.stop), tuple(response.steps.lost))
    except message.DecodeError as error:
        raise ProtocolError(f"a frame that cannot be read: {error}") from error
    raise ProtocolError(f"a frame of no known kind: {kind}")


class FrameDecoder:
    """Cuts what comes into frames and reads them. Holds at most one incomplete frame."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, ServerMessage]]:
        """(stream, message) of each frame that is complete by now. Raises ProtocolError."""
        self._bytes += data
        start = 0
        try:
            while len(self._bytes) - start >= _LENGTH.size:
                (size,) = _LENGTH.unpack_from(self._bytes, start)
                if not 0 < size <= MOST_FRAME_BYTES:
                    raise ProtocolError(f"a frame of {size} bytes: 1 to {MOST_FRAME_BYTES} are possible")
                end = start + _LENGTH.size + size
                if len(self._bytes) < end:
                    break
                body = bytes(self._bytes[start + _LENGTH.size : end])
                start = end
                yield _decode(body)
        finally:
            del self._bytes[:start]
