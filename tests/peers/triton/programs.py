"""The programs that the tests of the Triton plugins run: a real Triton of each version, and vramgate before it."""

from __future__ import annotations

import collections.abc
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import typing

ROOT = pathlib.Path(__file__).resolve().parents[3]
VERSIONS = ("2.51", "2.41")

# A token costs 1 MiB, and a request may be as long as the pool is large: `room` GiB are room * 1024 tokens.
GATE_CONFIG = """
listeners:
  plugin: "unix:{dir}/plugin.sock"
  grpc: ["unix:{dir}/gate.sock"]
  operator: "unix:{dir}/operator.sock"
  admin: "127.0.0.1:0"
devices:
  - {{id: "0", simulated: {{total: {total}GiB}}}}
models:
{models}
queue: {{max_requests: {queue}, max_wait: {max_wait}}}
leases: {{abort_linger: 200ms}}
"""
MODEL = """
  - name: {name}
    shape: {{parameters: 1000000, layers: 1, heads: 1, hidden: 64}}
    kv_bytes_per_token: 1MiB
    max_model_len: {length}
    block_tokens: 1
    activation: batched
    min_tokens_per_s: 10000  # how long what is left behind lingers
    activation_bytes: 1MiB
    instances:
      - {{name: a, devices: ["0"], {pool}, loaded: {loaded}}}
"""


def model(name: str, room_gib: int, pool: str = "", loaded: bool = True) -> str:
    """A model of the gate's config, with a preallocated pool of `room_gib`, or with `pool`."""
    pool = pool or f"kv_pool: {room_gib}GiB"
    return MODEL.format(name=name, length=room_gib * 1024, pool=pool, loaded=str(loaded).lower())


class Paths(typing.NamedTuple):
    """What was built, and where the servers are."""

    vramgate: str
    backends: list[pathlib.Path]
    repoagents: pathlib.Path
    servers: dict[str, pathlib.Path]


def paths() -> Paths:
    return Paths(
        vramgate=os.environ["VRAMGATE"],
        backends=[pathlib.Path(path) for path in os.environ["VRAMGATE_TRITON_BACKENDS"].split(":")],
        repoagents=pathlib.Path(os.environ["VRAMGATE_TRITON_REPOAGENTS"]),
        servers={version: pathlib.Path(os.environ["TRITON_" + version.replace(".", "_")]) for version in VERSIONS},
    )


T = typing.TypeVar("T")


def wait_for(what: str, condition: collections.abc.Callable[[], T], within_s: float = 10.0) -> T:
    """The first true value of condition(); fails with `what` after `within_s`."""
    end = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {within_s} s: {what}"
        time.sleep(0.01)


class Program:
    """A child process, ended by its pid at the latest when its test ends."""

    all: typing.ClassVar[list[Program]] = []

    def __init__(
        self,
        command: list[str],
        log: pathlib.Path,
        env: dict[str, str] | None = None,
        pipe: bool = False,
        cwd: pathlib.Path | None = None,
    ):
        self.log = log
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE if pipe else out, stderr=out, stdin=subprocess.DEVNULL, env=env, cwd=cwd
            )
        Program.all.append(self)

    def running(self) -> bool:
        return self.process.poll() is None

    def check_running(self) -> bool:
        assert self.running(), f"ended with {self.process.returncode}: {self.text()[-3000:]}"
        return True

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def terminate(self) -> None:
        if self.running():
            self.process.send_signal(signal.SIGTERM)

    def wait(self, within_s: float = 20) -> int:
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def stop(self, within_s: float = 20) -> int:
        self.terminate()
        return self.wait(within_s)


class Gate(Program):
    """vramgate serve with a plugin socket, and a ledger, for the `models` of its config, on one simulated card."""

    def __init__(
        self,
        directory: pathlib.Path,
        models: collections.abc.Sequence[str],
        total_gib: int,
        queue: int = 5000,
        max_wait: str = "60s",
    ):
        directory.mkdir(parents=True, exist_ok=True)
        self.ledger = directory / "ledger.csv"
        self.plugin = f"unix:{directory}/plugin.sock"
        config = directory / "gate.yaml"
        more = {"models": "".join(models), "queue": queue, "max_wait": max_wait, "total": total_gib}
        config.write_text(GATE_CONFIG.format(dir=directory, **more))
        self.path = paths().vramgate
        command = [self.path, "serve", "--config", str(config), "--ledger", str(self.ledger)]
        super().__init__(command, directory / "gate.log", pipe=True)
        assert self.process.stdout is not None
        words = self.process.stdout.readline().decode().split()
        assert words[:1] == ["ready"], self.text()
        self.ready = dict(word.split("=", 1) for word in words[1:])

    def leases(self, state: str) -> list[dict[str, typing.Any]]:
        """The leases in that state (held, waiting or lingering), some hundred at most."""
        return list(http_json(self.ready["admin"], "GET", f"/leases?state={state}")[1]["leases"])

    def count(self, state: str) -> int:
        """How many leases are in that state."""
        return int(self.status()[state])

    def empty(self) -> bool:
        status = self.status()
        return not any(status[state] for state in ("held", "waiting", "lingering"))

    def status(self) -> dict[str, typing.Any]:
        return self.command("status", "--target", self.ready["operator"], "--format", "json")

    def command(self, *arguments: str) -> dict[str, typing.Any]:
        result = subprocess.run([self.path, *arguments], capture_output=True, text=True, timeout=30, check=False)
        assert result.stdout, result.stderr
        return dict(json.loads(result.stdout))

    def audit(self) -> dict[str, typing.Any]:
        return self.command("audit", str(self.ledger), "--format", "json")


def http_json(
    address: str,
    method: str,
    path: str,
    body: object = None,
    headers: dict[str, str] | None = None,
    timeout: float = 60,
) -> tuple[int, typing.Any]:
    """Status, and the answer: what its JSON says, or its text."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"content-type": "application/json", **(headers or {})})
        response = connection.getresponse()
        answer = response.read().decode()
    finally:
        connection.close()
    try:
        return response.status, json.loads(answer)
    except ValueError:
        return response.status, answer


class Port:
    """A port of loopback that nobody else gets while this is open: a server that sets SO_REUSEPORT may listen on it."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number = int(self._socket.getsockname()[1])

    def close(self) -> None:
        self._socket.close()


class Triton(Program):
    """A real tritonserver with `models` (name: config.pbtxt, and the files beside it)."""

    def __init__(
        self,
        directory: pathlib.Path,
        version: str,
        models: dict[str, str],
        explicit: collections.abc.Sequence[str] | None = None,
        options: collections.abc.Sequence[str] = (),
        ready: bool = True,
        without: collections.abc.Sequence[str] = (),
    ):
        """Of the backends it has not those in `without`."""
        self.version = version
        self.repository = directory / "models"
        for name, config in models.items():
            self.add_model(name, config)
        server = paths().servers[version]
        backends = directory / "backends"
        backends.mkdir()
        for found in (found for path in paths().backends for found in path.iterdir() if found.name not in without):
            (backends / found.name).symlink_to(found)
        (backends / "python").symlink_to(server / "pytriton" / "tritonserver" / "backends" / "python")
        self._ports = Port(), Port()
        self.http, self.grpc = (f"127.0.0.1:{port.number}" for port in self._ports)
        command = [str(server / "pytriton" / "tritonserver" / "bin" / "tritonserver")]
        command += ["--model-repository", str(self.repository), "--backend-directory", str(backends)]
        command += ["--repoagent-directory", str(paths().repoagents), "--allow-metrics=false", "--exit-timeout-secs=10"]
        for kind, port in zip(("http", "grpc"), self._ports, strict=True):
            command += [f"--{kind}-address=127.0.0.1", f"--{kind}-port={port.number}", f"--reuse-{kind}-port=1"]
        if explicit is not None:
            command += ["--model-control-mode=explicit", *(f"--load-model={name}" for name in explicit)]
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": str(server / "nvidia_pytriton.libs"),
            "PATH": os.pathsep.join([str(pathlib.Path(os.environ["TRITON_VENV"]) / "bin"), os.environ["PATH"]]),
        }
        super().__init__([*command, *options], directory / "triton.log", environment)
        if ready:
            wait_for("Triton is ready", lambda: self.check_running() and self.answers("/v2/health/ready"), 30)

    def add_model(self, name: str, config: str, files: dict[str, str] | None = None) -> None:
        directory = self.repository / name
        (directory / "1").mkdir(parents=True, exist_ok=True)
        (directory / "config.pbtxt").write_text(config)
        for path, text in (files or {}).items():
            (directory / path).write_text(text)

    def answers(self, path: str) -> bool:
        try:
            return http_json(self.http, "GET", path, timeout=5)[0] == 200
        except OSError:
            return False

    def post(self, path: str, body: object = None, **more: typing.Any) -> tuple[int, typing.Any]:
        return http_json(self.http, "POST", path, {} if body is None else body, **more)

    def load(self, name: str) -> tuple[int, typing.Any]:
        return self.post(f"/v2/repository/models/{name}/load")

    def unload(self, name: str) -> tuple[int, typing.Any]:
        return self.post(f"/v2/repository/models/{name}/unload")

    def model_ready(self, name: str) -> bool:
        return self.answers(f"/v2/models/{name}/ready")

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def stop(self, within_s: float = 30) -> int:
        status = super().stop(within_s)
        for port in self._ports:
            port.close()
        return status
