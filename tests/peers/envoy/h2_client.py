"""A client of one HTTP/2 request over a connection of its own. It can leave as real ones do: by a reset, or in
silence."""

from __future__ import annotations

import json
import socket

import h2.config
import h2.connection
import h2.events
from programs import LARGE


class H2Client:
    def __init__(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)), timeout=60)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._h2.initiate_connection()
        self._stream = self._h2.get_next_available_stream_id()
        body = json.dumps(LARGE).encode()
        headers = {":method": "POST", ":scheme": "http", ":authority": "llm", ":path": "/v1/chat/completions"}
        headers |= {"content-type": "application/json", "content-length": str(len(body))}
        self._h2.send_headers(self._stream, list(headers.items()))
        self._h2.send_data(self._stream, body, end_stream=True)
        self.status = 0
        self.body = b""
        self.ended = False
        self._flush()

    def _flush(self) -> None:
        self._socket.sendall(self._h2.data_to_send())

    def read_until(self, text: bytes) -> None:
        """Until the response's body so far ends with `text`, which b"" does at its headers."""
        while not (self.status and self.body.endswith(text)):
            self._read()

    def read_to_end(self) -> None:
        while not self.ended:
            self._read()

    def _read(self) -> None:
        data = self._socket.recv(65536)
        assert data, "the connection is closed"
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.status = int(dict(event.headers)[b":status"])
            elif isinstance(event, h2.events.DataReceived):
                self.body += event.data
                self._h2.acknowledge_received_data(event.flow_controlled_length, self._stream)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended = True
            assert not isinstance(event, h2.events.StreamReset), event
        self._flush()

    def reset(self) -> None:
        """Leaves the request and keeps the connection."""
        self._h2.reset_stream(self._stream)
        self._flush()

    def close(self) -> None:
        self._socket.close()
