"""Thousands of clients at once, each with one request over an HTTP/1.1 connection of its own; the engine they are
sent on to.

crowd = Crowd(address, 2000, body, arrived)
statuses = crowd.statuses()   # when all are answered
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import json
import threading
from collections.abc import Callable


async def _ask(address: str, request: bytes) -> int:
    host, port = address.rsplit(":", 1)
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
    except ConnectionError:
        return -1
    writer.write(request)
    try:
        line = await reader.readline()
        await reader.read()
    except ConnectionError:
        return 0
    finally:
        writer.close()
    return int(line.split()[1]) if line else 0


class Crowd:
    """`arrived` says how many the gate knows of: at most `at_once` more than those are on their way."""

    def __init__(
        self, address: str, size: int, body: dict[str, object], arrived: Callable[[], float], at_once: int = 250
    ) -> None:
        text = json.dumps(body).encode()
        head = [
            "POST /v1/chat/completions HTTP/1.1",
            "host: llm",
            "connection: close",
            "content-type: application/json",
            f"content-length: {len(text)}",
        ]
        self._request = "\r\n".join([*head, "", ""]).encode() + text
        self._result: concurrent.futures.Future[collections.Counter[int]] = concurrent.futures.Future()
        self._address = address
        self._size = size
        self._arrived = arrived
        self._at_once = at_once
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        async def all_() -> list[int]:
            asked: list[asyncio.Task[int]] = []
            while len(asked) < self._size:
                answered = sum(task.done() for task in asked)
                room = self._at_once - (len(asked) - max(answered, int(await asyncio.to_thread(self._arrived))))
                more = range(min(room, self._size - len(asked)))
                asked.extend(asyncio.create_task(_ask(self._address, self._request)) for _ in more)
                await asyncio.sleep(0.01)
            return await asyncio.gather(*asked)

        try:
            self._result.set_result(collections.Counter(asyncio.run(all_())))
        except BaseException as error:
            self._result.set_exception(error)

    def done(self) -> bool:
        return self._result.done()

    def statuses(self, within_s: float = 120) -> collections.Counter[int]:
        """How many were answered with which status; 0: broken off, -1: never connected."""
        return self._result.result(within_s)


class QuickEngine:
    """Answers every request at once with a short stream; counts them and how many run at a time."""

    def __init__(self) -> None:
        self.served = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, daemon=True).start()
        self._ready.wait()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4096))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(h for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:"))
                await reader.readexactly(int(length.split(b":")[1]))
                self.served += 1
                chunk = b"data: x\n\n"
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(chunk), chunk))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
