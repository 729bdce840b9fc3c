"""The programs of the HTTP door's tests: vramgate with a door, nginx, LiteLLM's proxy, and an engine that obeys."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import pathlib
import queue
import socket
import subprocess
import sys
import threading
from typing import Any

import programs

ROOT = pathlib.Path(__file__).resolve().parents[3]
KEY = "sk-4f8c1d9be27a6053c9d1e4b7"  # of the proxy; it takes none that looks weak
PATIENCE_S = 20.0

# One instance with room for exactly one request that asks for the model's whole length.
_CONFIG = """
listeners:
  grpc: ["unix:{dir}/gate.sock"]
  operator: "unix:{dir}/operator.sock"
  plugin: "unix:{dir}/plugin.sock"
  admin: "127.0.0.1:0"
  http: [{{address: "127.0.0.1:0", insecure: true}}, "unix:{dir}/door.sock"]
devices:
  - {{id: "0", simulated: {{total: {pool_gib}9GiB}}}}
models:
  - name: m
    aliases: [llama-3.1-8b]
    shape: {{parameters: 1000000, layers: 1, heads: 1, hidden: 64}}
    kv_bytes_per_token: 1MiB
    max_model_len: 1024
    min_tokens_per_s: 1000
    instances:
      - {{name: a, devices: ["0"], kv_pool: {pool_gib}GiB}}
queue: {{max_requests: 10, max_wait: {max_wait}}}
leases: {{abort_linger: 500ms, confirm_within: 2s}}
log: {{grants: all}}
"""


def reply_of(response: http.client.HTTPResponse) -> tuple[int, Any, dict[str, str]]:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return response.status, json.loads(response.read()), headers


class DoorGate(programs.Program):
    """vramgate serve, with a ledger and a door."""

    def __init__(self, directory: pathlib.Path, max_wait: str = "20s", pool_gib: int = 1) -> None:
        self.path = os.environ["VRAMGATE"]
        self.directory = directory
        self.ledger = directory / "ledger.csv"
        config = directory / "gate.yaml"
        config.write_text(_CONFIG.format(dir=directory, max_wait=max_wait, pool_gib=pool_gib))
        command = [self.path, "serve", "--config", str(config), "--ledger", str(self.ledger)]
        super().__init__(command, directory / "gate.log", subprocess.PIPE)
        words = self.process.stdout.readline().decode().split()
        assert words[:1] == ["ready"], self.log.read_text()
        self.ready = dict(word.split("=", 1) for word in words[1:])
        self.door, self.unix_door = self.ready["http"].split(",")

    def _command(self, *arguments: str) -> Any:
        result = subprocess.run([self.path, *arguments], capture_output=True, text=True, timeout=30, check=False)
        assert result.stdout, result.stderr
        return json.loads(result.stdout)

    def status(self) -> Any:
        return self._command("status", "--target", self.ready["operator"], "--format", "json")

    def audit(self) -> Any:
        return self._command("audit", str(self.ledger), "--format", "json")

    def counts(self) -> tuple[int, int, int]:
        status = self.status()
        return tuple(int(status.get(name, 0)) for name in ("held", "lingering", "waiting"))  # type: ignore[return-value]

    def settles(self, held: int, lingering: int, waiting: int) -> float:
        """Waits until so many hold, linger and wait; after how many seconds."""
        wanted = (held, lingering, waiting)
        return programs.wait_for(f"{wanted}, not {self.counts()}", lambda: self.counts() == wanted, PATIENCE_S)[1]

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any, dict[str, str]]:
        connection = http.client.HTTPConnection(self.door, timeout=PATIENCE_S)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"content-type": "application/json"})
            return reply_of(connection.getresponse())
        finally:
            connection.close()

    def hold(self, tokens: int = 1000) -> str:
        """Holds so many MiB; the path of the lease, confirmed."""
        demand = {"prompt_tokens": tokens - 1, "max_output_tokens": 1}
        status, said, _ = self.ask("POST", "/v1/admit", {"model": "m", "demand": demand})
        assert status == 200, said
        path = "/v1/" + said["lease"]["name"]
        assert self.ask("PUT", path)[0] == 200
        return path


class Backend:
    """An engine with OpenAI's API. Every request waits in `arrived`, and is answered as the test says."""

    class Answer:
        def __init__(self, path: str, body: dict[str, Any]) -> None:
            self.path, self.body = path, body
            self.left = threading.Event()  # the caller has gone
            self._say: queue.Queue[bytes | None] = queue.Queue()

        def chunk(self, text: str = "hi") -> None:
            choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
            self._event({"choices": [choice]})

        def _event(self, more: dict[str, Any]) -> None:
            event = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", **more}
            self._say.put(f"data: {json.dumps(event)}\n\n".encode())

        def end(self, tokens: int = 3) -> None:
            """The end of a stream, or a whole answer."""
            usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}
            if self.body.get("stream"):
                self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
                self._event({"choices": [], "usage": usage})
                self._say.put(b"data: [DONE]\n\n")
            else:
                choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
                answer = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
                self._say.put(json.dumps({**answer, "usage": usage}).encode())
            self._say.put(None)

        def fail(self) -> None:
            self.body["fails"] = True
            self._say.put(None)

        def run(self, handler: http.server.BaseHTTPRequestHandler) -> None:
            said = self._say.get(timeout=60)
            failed, streams = self.body.get("fails"), self.body.get("stream")
            handler.send_response(500 if failed else 200)
            handler.send_header("content-type", "text/event-stream" if streams else "application/json")
            handler.send_header("transfer-encoding", "chunked")
            handler.end_headers()
            while said is not None:
                handler.wfile.write(b"%x\r\n%b\r\n" % (len(said), said))
                said = self._next(handler.connection)
            handler.wfile.write(b"0\r\n\r\n")

        def _next(self, connection: socket.socket) -> bytes | None:
            """What is to be said next; a caller who leaves meanwhile ends it."""
            while True:
                try:
                    return self._say.get(timeout=0.02)
                except queue.Empty:
                    connection.setblocking(False)
                    try:
                        if connection.recv(1, socket.MSG_PEEK) == b"":
                            raise ConnectionResetError
                    except BlockingIOError:
                        pass
                    finally:
                        connection.setblocking(True)

    def __init__(self, port: int = 0) -> None:
        arrived: queue.Queue[Backend.Answer] = queue.Queue()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                answer = Backend.Answer(self.path, body)
                arrived.put(answer)
                try:
                    answer.run(self)
                except (BrokenPipeError, ConnectionResetError):
                    answer.left.set()
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self.arrived = arrived
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def next(self) -> Backend.Answer:
        return self.arrived.get(timeout=PATIENCE_S)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


# Else the proxy fetches prices of models, and tokenizers for those that it knows by name.
OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1"}


def free_port() -> int:
    """For programs that cannot choose one and say which: taken by nobody a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(address: str, path: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


class Nginx(programs.Program):
    """Debian's, on the shipped example with its addresses replaced."""

    def __init__(self, directory: pathlib.Path, gate: DoorGate, backend: Backend) -> None:
        root = pathlib.Path(os.environ["NGINX_ROOT"])
        example = ROOT / "examples" / "nginx"
        port = free_port()
        config = (example / "nginx.conf").read_text()
        for old, new in [
            ("/usr/lib/nginx/modules", str(root / "usr/lib/nginx/modules")),
            ("127.0.0.1:9444", gate.door),
            ("build/run", str(directory)),
            ("examples/nginx/", f"{example}/"),
            ("127.0.0.1:8000", f"127.0.0.1:{backend.port}"),
            ("127.0.0.1:8080", f"127.0.0.1:{port}"),
        ]:
            assert old in config, f"the example has no {old!r}"
            config = config.replace(old, new)
        (directory / "nginx.conf").write_text(config)
        command = [str(root / "usr/sbin/nginx"), "-p", str(directory), "-c", str(directory / "nginx.conf")]
        super().__init__([*command, "-e", str(directory / "nginx-start.log")], directory / "nginx.out")
        self.address = f"127.0.0.1:{port}"
        programs.wait_for("nginx", lambda: self.check_running() and answers(self.address, "/v1/models"), PATIENCE_S)


class LiteLlm(programs.Program):
    """The proxy, on the shipped example with its addresses replaced."""

    def __init__(self, directory: pathlib.Path, gate: DoorGate, backend: Backend) -> None:
        port = free_port()
        config = (ROOT / "examples" / "litellm" / "config.yaml").read_text()
        assert "127.0.0.1:8000" in config
        path = directory / "litellm.yaml"
        path.write_text(config.replace("127.0.0.1:8000", f"127.0.0.1:{backend.port}"))
        os.environ.update(proxy_environment(gate))
        litellm = pathlib.Path(sys.executable).parent / "litellm"
        command = [str(litellm), "--config", str(path), "--host", "127.0.0.1", "--port", str(port)]
        super().__init__(command, directory / "litellm.log")
        self.address = f"127.0.0.1:{port}"
        alive = "/health/liveliness"
        programs.wait_for("LiteLLM's proxy", lambda: self.check_running() and answers(self.address, alive), 90)


def proxy_environment(gate: DoorGate) -> dict[str, str]:
    return {
        "PYTHONPATH": str(ROOT / "plugin" / "python"),
        "VRAMGATE_TARGET": gate.ready["plugin"],
        "LITELLM_MASTER_KEY": KEY,
        **OFFLINE,
    }


class Call:
    """One request to a gateway, on a connection of its own."""

    def __init__(self, address: str, body: dict[str, Any], path: str = "/v1/chat/completions") -> None:
        message = {"messages": [{"role": "user", "content": "hello"}]}
        whole = {"model": "llama-3.1-8b", "max_tokens": 100_000, **message, **body}
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        self._connection = http.client.HTTPConnection(address, timeout=60)
        self._connection.request("POST", path, json.dumps(whole), headers)

    def begin(self) -> int:
        self._response = self._connection.getresponse()
        return self._response.status

    def line(self) -> bytes:
        """The next line of a stream that is not empty; b"" at its end."""
        line = b"\n"
        while line.strip() == b"" and line:
            line = self._response.readline()
        return line.strip()

    def reply(self) -> tuple[int, Any, dict[str, str]]:
        return reply_of(self._connection.getresponse())

    def close(self) -> None:
        response = getattr(self, "_response", None)
        if response is not None:
            response.close()
        self._connection.close()


def one_waits_for_the_other(gate: DoorGate, backend: Backend, address: str) -> None:
    """There is room for one: the second reaches the engine when the first has been answered."""
    first = Call(address, {})
    answer = backend.next()
    second = Call(address, {})
    gate.settles(1, 0, 1)
    assert backend.arrived.empty()
    answer.end()
    assert first.reply()[0] == 200
    backend.next().end()
    assert second.reply()[0] == 200
