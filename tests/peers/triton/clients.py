"""Clients of Triton: streams and single requests over gRPC, streams over HTTP, many at once over HTTP."""

from __future__ import annotations

import asyncio
import http.client
import json
import queue
import subprocess
import sys
import typing

import numpy
import tritonclient.grpc as triton_grpc  # type: ignore[import-untyped]
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

from programs import Triton


def text_input(name: str, texts: typing.Sequence[bytes]) -> list[typing.Any]:
    tensor = triton_grpc.InferInput(name, [len(texts)], "BYTES")
    tensor.set_data_from_numpy(numpy.array(texts, dtype=object))
    return [tensor]


class Stream:
    """One request over a gRPC stream of its own; `parameters` are the request's."""

    def __init__(self, triton: Triton, model: str, prompt: bytes = b"x", /, **parameters: typing.Any):
        self._client = triton_grpc.InferenceServerClient(triton.grpc)
        self._said: queue.Queue[tuple[typing.Any, InferenceServerException | None]] = queue.Queue()
        self._client.start_stream(callback=lambda result, error: self._said.put((result, error)))
        self._client.async_stream_infer(
            model, text_input("PROMPT", [prompt]), parameters=parameters, enable_empty_final_response=True
        )

    def next(self, within_s: float = 20) -> typing.Any:
        """The next response; raises what the server said instead."""
        result, error = self._said.get(timeout=within_s)
        if error is not None:
            raise error
        return result

    def next_token(self, within_s: float = 20) -> str | None:
        """None: the stream has ended well."""
        result = self.next(within_s)
        tokens = result.as_numpy("TOKEN")
        if tokens is None:
            assert result.get_response().parameters["triton_final_response"].bool_param
            return None
        return str(tokens[0].decode())

    def tokens(self) -> list[str]:
        """All of them, in the order in which they came, until its end."""
        tokens = list(iter(self.next_token, None))
        self.close()
        return tokens

    def silent(self) -> bool:
        return self._said.empty()

    def leave(self) -> None:
        self._client.stop_stream(cancel_requests=True)
        self._client.close()

    def close(self) -> None:
        self._client.stop_stream()
        self._client.close()


class Call:
    """One unary request over gRPC, under way."""

    def __init__(self, triton: Triton, model: str, inputs: list[typing.Any], **more: typing.Any):
        self._client = triton_grpc.InferenceServerClient(triton.grpc)
        self._said: queue.Queue[tuple[typing.Any, InferenceServerException | None]] = queue.Queue()
        self._call = self._client.async_infer(
            model, inputs, lambda result, error: self._said.put((result, error)), **more
        )

    def result(self, within_s: float = 20) -> typing.Any:
        """Its response; raises what the server said instead."""
        result, error = self._said.get(timeout=within_s)
        self._client.close()
        if error is not None:
            raise error
        return result

    def cancel(self) -> None:
        self._call.cancel()


def infer(
    triton: Triton, model: str, texts: typing.Sequence[bytes] = (b"a", b"bcd"), **more: typing.Any
) -> tuple[list[bytes], dict[str, typing.Any]]:
    """OUTPUT0 and the response's parameters, of one request over gRPC."""
    result = Call(triton, model, text_input("INPUT0", texts), **more).result()
    said = result.get_response().parameters
    parameters = {key: getattr(value, value.WhichOneof("parameter_choice")) for key, value in said.items()}
    return list(result.as_numpy("OUTPUT0").reshape(-1)), parameters


def echo_body(texts: typing.Sequence[str] = ("a", "bcd"), /, **parameters: typing.Any) -> dict[str, typing.Any]:
    """What echo is asked over HTTP."""
    data = {"name": "INPUT0", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}
    return {"inputs": [data], "parameters": parameters}


class HttpStream:
    """One request to generate_stream, whose client may hang up."""

    def __init__(self, triton: Triton, model: str, **body: typing.Any):
        self._connection = http.client.HTTPConnection(triton.http, timeout=60)
        text = json.dumps({"PROMPT": "x", **body})
        self._connection.request("POST", f"/v2/models/{model}/generate_stream", text)

    def line(self) -> str:
        """The next line with data in it."""
        response = getattr(self, "_response", None) or self._connection.getresponse()
        self._response = response
        line = response.readline()
        while line == b"\n":
            line = response.readline()
        return str(line.decode())

    def hang_up(self) -> None:
        self._connection.close()
        if hasattr(self, "_response"):
            self._response.close()


def killed_client(triton: Triton, model: str, **parameters: typing.Any) -> subprocess.Popen[str]:
    """A client in a process of its own, which says when it has sent its request over a gRPC stream."""
    code = (
        "import json, sys, time; sys.path.insert(0, sys.argv[1])\n"
        "import clients, types\n"
        "triton = types.SimpleNamespace(grpc=sys.argv[2])\n"
        "stream = clients.Stream(triton, sys.argv[3], **json.loads(sys.argv[4]))\n"
        "print('sent', flush=True)\n"
        "print(stream.next_token(60), flush=True)\n"
        "time.sleep(60)\n"
    )
    arguments = [__file__.rsplit("/", 1)[0], triton.grpc, model, json.dumps(parameters)]
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)


async def post(address: str, path: str, body: str, within_s: float = 60) -> int:
    """The status of one request, once all of its answer has come; 0 where the connection was closed before."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        async with asyncio.timeout(within_s):
            said = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            if "transfer-encoding: chunked" in said:
                await reader.readuntil(b"0\r\n\r\n")
            else:
                await reader.readexactly(int(said.split("content-length:")[1].split("\r\n")[0]))
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return 0
    finally:
        writer.close()
    return int(said.split()[1])


async def posts(triton: Triton, path: str, body: typing.Any, count: int) -> list[int]:
    """The statuses of so many requests at once, each over a connection of its own."""
    text = json.dumps(body)

    async def one(index: int) -> int:
        await asyncio.sleep(index / 2000)  # the listen queue is short
        return await post(triton.http, path, text)

    return await asyncio.gather(*(one(index) for index in range(count)))
