"""The two halves of an HTTP exchange that passes the gate: a body that is played to the engine, an answer, watched.

Used by asgi.Gate. One event loop; an object for each request, a Room for each app.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from vramgate import http
from vramgate.errors import FAILED_PRECONDITION, RESOURCE_EXHAUSTED, Refused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_OUTPUT_TOKENS = re.compile(rb'"(?:completion|output)_tokens":\s*(\d{1,12})')
# The usage of an answer stands at its end.
_TAIL_BYTES = 4096


class ClientGone(Exception):
    """The client left before there was an answer."""


class Room:
    """For bodies: those of requests that wait are held here, whole."""

    def __init__(self, most_bytes: int, most_bytes_each: int) -> None:
        self._most_bytes = most_bytes
        self._held_bytes = 0
        self.most_bytes_each = most_bytes_each

    def take(self, size: int) -> None:
        self._held_bytes += size
        if self._held_bytes > self._most_bytes:
            text = (
                f"the requests of this server hold {self._most_bytes} bytes: come again, or raise VRAMGATE_MAX_BODIES"
            )
            raise Refused(RESOURCE_EXHAUSTED, "QUEUE_FULL", text, 1.0)

    def give_back(self, size: int) -> None:
        self._held_bytes -= size


class Body:
    """A request's body: read once, up to a bound, and then played to the engine as it came."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._played: list[Message] = []
        self._room: Room | None = None
        self._size = 0
        self._next: asyncio.Future[Message] | None = None  # what comes after the body: the client's leaving
        self.gone = False

    async def read(self, room: Room) -> bytes:
        """Raises ClientGone; Refused where it is too large, by itself or with all that are held."""
        chunks, size = [], 0
        most_bytes = room.most_bytes_each
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > most_bytes:
                text = f"the body is larger than {most_bytes} bytes: shorten it, or raise VRAMGATE_MAX_BODY"
                raise Refused(FAILED_PRECONDITION, "NEVER_FITS", text)
            self._room = room
            self._size += len(chunks[-1])
            room.take(len(chunks[-1]))
            self._played.append(message)
            if not message.get("more_body"):
                return b"".join(chunks)

    def left(self) -> asyncio.Future[Message]:
        """Done when the client has left."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._receive())
        return self._next

    def player(self) -> Receive:
        """The body from its beginning, for one run of the engine."""
        messages = iter(self._played)

        async def receive() -> Message:
            for message in messages:
                return message
            # A reader that is cancelled must not lose the message for the next.
            message = await asyncio.shield(self.left())
            self.gone = self.gone or message["type"] == "http.disconnect"
            return message

        return receive

    def close(self) -> None:
        if self._room is not None:
            self._room.give_back(self._size)
        if self._next is not None and not self._next.done():
            self._next.cancel()


class Answer:
    """What the engine sends, on its way to the client."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._tail = b""
        self.status = 0  # 0: it has not begun
        self.events = False  # of a stream
        self.complete = False
        self.on_complete: Callable[[], None] = lambda: None  # just before the last chunk is sent

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            kinds = [value for name, value in message.get("headers", ()) if name.lower() == b"content-type"]
            self.events = bool(kinds) and kinds[0].startswith(b"text/event-stream")
        elif message["type"] == "http.response.body":
            body = message.get("body", b"")
            self._tail = body[-_TAIL_BYTES:] if len(body) >= _TAIL_BYTES else (self._tail + body)[-_TAIL_BYTES:]
            self.complete = not message.get("more_body")
            if self.complete:
                self.on_complete()
        await self._send(message)

    @property
    def output_tokens(self) -> int | None:
        """As the answer's own usage says, where it says."""
        found = _OUTPUT_TOKENS.findall(self._tail)
        return int(found[-1]) if found else None

    async def refuse(self, refused: Refused) -> None:
        if self.status == 0:
            body = http.error_body(refused)
            start = {"type": "http.response.start", "status": refused.http_status}
            await self._send({**start, "headers": http.headers(refused, body)})
            await self._send({"type": "http.response.body", "body": body})
        elif not self.complete and self.events:
            await self._send({"type": "http.response.body", "body": http.error_event(refused)})
