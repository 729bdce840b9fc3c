"""A sidecar's plugin socket that does what the test says. Asyncio; one event loop; ended by `async with`."""

from __future__ import annotations

import asyncio
import pathlib
import struct
from types import TracebackType
from typing import Any, Self

from vramgate import _wire

_Request = _wire._message_class("vramgate.v1.PluginRequest")
_Response = _wire._message_class("vramgate.v1.PluginResponse")
_ErrorInfo = _wire._message_class("google.rpc.ErrorInfo")
_RetryInfo = _wire._message_class("google.rpc.RetryInfo")


def lease_name(number: int) -> str:
    return f"leases/{number:016x}"


class Heard:
    """A message that came, with its connection."""

    def __init__(self, connection: Connection, request: Any) -> None:
        self.connection = connection
        self.stream: int = request.stream
        self.request = request
        kind = request.WhichOneof("msg")
        self.kind: str = request.session.WhichOneof("msg") if kind == "session" else kind
        self.message = getattr(request.session, self.kind) if kind == "session" else getattr(request, kind)

    def queued(self, position: int) -> None:
        response = _Response(stream=self.stream)
        response.session.queued.position = position
        self.connection.send(response)

    def grant(self, number: int = 1, assurance: str = "worst_case") -> None:
        response = _Response(stream=self.stream)
        lease = response.session.granted
        lease.name, lease.model, lease.instance, lease.assurance = lease_name(number), "m", "a", assurance
        lease.charges.add(device="0", vram_bytes=1000)
        self.connection.send(response)

    def revoke(self, reason: str = "its KV pool is full") -> None:
        response = _Response(stream=self.stream)
        response.session.revoke.reason = reason
        response.session.revoke.grace.seconds = 2
        self.connection.send(response)

    def status(self, code: int = 0, reason: str = "", message: str = "", retry_s: float | None = None) -> None:
        response = _Response(stream=self.stream)
        response.status.SetInParent()
        response.status.code, response.status.message = code, message
        if reason:
            detail = _ErrorInfo(reason=reason, domain="vramgate").SerializeToString()
            response.status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=detail)
        if retry_s is not None:
            retry = _RetryInfo()
            retry.retry_delay.seconds, retry.retry_delay.nanos = int(retry_s), int(retry_s % 1 * 1e9)
            detail = retry.SerializeToString()
            response.status.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=detail)
        self.connection.send(response)

    def answer_steps(self, lost: tuple[str, ...] = ()) -> None:
        response = _Response(stream=self.stream)
        response.steps.SetInParent()
        response.steps.lost.extend(lost)
        self.connection.send(response)


class Connection:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer

    def send(self, response: Any) -> None:
        body = response.SerializeToString()
        self.writer.write(struct.pack("<I", len(body)) + body)

    def send_raw(self, data: bytes) -> None:
        self.writer.write(data)

    def drop(self) -> None:
        self.writer.transport.abort()


class FakeGate:
    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.target = f"unix:{path}"
        self.messages: asyncio.Queue[Heard] = asyncio.Queue()
        self.connections: list[Connection] = []

    async def __aenter__(self) -> Self:
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for connection in self.connections:
            connection.drop()
        self.path.unlink(missing_ok=True)

    async def hear(self, kind: str) -> Heard:
        """The next message, which must be of that kind."""
        heard = await asyncio.wait_for(self.messages.get(), 10)
        assert heard.kind == kind, f"{heard.kind} came, not {kind}"
        return heard

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(writer)
        self.connections.append(connection)
        try:
            while True:
                (size,) = struct.unpack("<I", await reader.readexactly(4))
                self.messages.put_nowait(Heard(connection, _Request.FromString(await reader.readexactly(size))))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
