"""What the tests and the benchmark of vLLM run: the sidecar, the real vLLM on the CPU, and a client of the latter.

Thread rule: the caller's. Lifetime rule: stop() what was made, at the latest when the program ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

import aiohttp
import grpc
import psutil
from vramgate import _wire

HERE = pathlib.Path(__file__).resolve().parent
BLOCK_TOKENS = 32
BLOCKS = 256
POOL_TOKENS = (BLOCKS - 1) * BLOCK_TOKENS  # one block is vLLM's own
MAX_MODEL_LEN = 1280
MAX_SEQUENCES = 32
KV_BYTES = {"tiny": 512, "mid": 6144}  # of a token
CONNECTOR = {
    "kv_connector": "VramgateConnector",
    "kv_connector_module_path": "vramgate.vllm.connector",
    "kv_role": "kv_both",
}

GATE_CONFIG = """
listeners:
  grpc: ["unix:{directory}/gate.sock"]
  operator: "unix:{directory}/operator.sock"
  admin: "127.0.0.1:0"
  plugin: "{target}"
devices:
  - {{id: "0", simulated: {{total: 4GiB}}, headroom: 0}}
models:
  - name: {size}
    source: {model}/config.json
    engine: vllm
    block_tokens: {block_tokens}
    max_model_len: {max_model_len}
    max_batched_tokens: 2048
    max_sequences: {max_sequences}
    overhead_bytes: 1MiB
    min_tokens_per_s: 50
    {assurance}
    instances:
      - {{name: a, devices: ["0"], kv_pool: {pool_bytes}}}
queue: {{max_requests: {queue}, max_wait: {max_wait}}}
leases: {{abort_linger: 1s}}
log: {{grants: all}}
"""

T = TypeVar("T")


def wait_for(what: str, condition: Callable[[], T], within_s: float = 20.0) -> T:
    """The first true value of condition(); fails with `what` after so long."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.01)


def make_model(directory: pathlib.Path, size: str) -> pathlib.Path:
    model = directory / size
    if not (model / "config.json").exists():
        subprocess.run([sys.executable, str(HERE / "make_model.py"), str(model), size], check=True, capture_output=True)
    return model


class Program:
    """A child process, ended by its pid."""

    def __init__(self, command: list[str], log: pathlib.Path, **more: Any) -> None:
        self.log = log
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(command, stderr=stderr, stdin=subprocess.DEVNULL, **more)

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def running(self) -> bool:
        return self.process.poll() is None

    def stop(self, within_s: float = 20.0) -> int:
        if self.running():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Sidecar:
    """vramgate serve with a plugin socket and a ledger; may be killed and started again."""

    def __init__(
        self,
        directory: pathlib.Path,
        model: pathlib.Path,
        assurance: str = "",
        queue: int = 100,
        *,
        plugin: pathlib.Path | None = None,
    ) -> None:
        self.binary = os.environ["VRAMGATE"]
        self.directory = directory
        self.ledger = directory / "ledger.csv"
        self.target = f"unix:{plugin or directory / 'plugin.sock'}"
        self.config = directory / "gate.yaml"
        self.model = model
        self.queue = queue
        self.configure(assurance)
        self.start()

    def configure(self, assurance: str = "") -> None:
        """For its next start."""
        text = GATE_CONFIG.format(
            directory=self.directory,
            target=self.target,
            model=self.model,
            size=self.model.name,
            block_tokens=BLOCK_TOKENS,
            max_model_len=MAX_MODEL_LEN,
            max_sequences=MAX_SEQUENCES,
            assurance=assurance,
            pool_bytes=POOL_TOKENS * KV_BYTES[self.model.name],
            queue=self.queue,
            max_wait="20s" if self.queue <= 100 else "10m",
        )
        self.config.write_text(text)

    def start(self) -> None:
        command = [self.binary, "serve", "--config", str(self.config), "--ledger", str(self.ledger)]
        self.program = Program(command, self.directory / "gate.log", stdout=subprocess.PIPE)
        assert self.program.process.stdout is not None
        words = self.program.process.stdout.readline().decode().split()
        assert words[:1] == ["ready"], self.program.said()
        self.ready = dict(word.split("=", 1) for word in words[1:])

    def leases(self, state: str) -> list[dict[str, Any]]:
        url = f"http://{self.ready['admin']}/leases?state={state}&page_size=1000"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["leases"]
        return found

    def count(self, event: str) -> int:
        """Of its log."""
        return self.program.log.read_text().count(f'"event":"{event}"')

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://{self.ready['admin']}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def command(self, *arguments: str) -> dict[str, Any]:
        done = subprocess.run([self.binary, *arguments], capture_output=True, text=True, timeout=30, check=False)
        assert done.stdout, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def status(self) -> dict[str, Any]:
        return self.command("status", "--target", self.ready["operator"], "--format", "json")

    def reserved_bytes(self) -> int:
        return sum(int(account["reserved_bytes"]) for account in self.status()["accounts"])

    def audit(self) -> dict[str, Any]:
        return self.command("audit", str(self.ledger), "--format", "json")

    def revoke(self, lease: str, grace_s: int = 10) -> None:
        """As an operator."""
        request = _wire._message_class("vramgate.v1.RevokeLeaseRequest")(name=lease, reason="a test")
        request.grace.seconds = grace_s
        with grpc.insecure_channel(self.ready["operator"]) as channel:
            channel.unary_unary("/vramgate.v1.OperatorService/RevokeLease")(request.SerializeToString(), timeout=10)

    def check_empty(self, within_s: float = 20.0) -> None:
        """Every test ends with the budget as it began."""
        wait_for("no lease is left", lambda: self.reserved_bytes() == 0 and not self.leases("waiting"), within_s)

    def stop(self) -> None:
        self.program.stop()


class Vllm:
    """`vllm serve` of one model, on a Unix socket."""

    def __init__(
        self,
        directory: pathlib.Path,
        model: pathlib.Path,
        *arguments: str,
        sidecar: Sidecar | None = None,
        environment: dict[str, str] | None = None,
        connector: bool = False,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.model = model.name
        self.socket = str(directory / "http.sock")
        self.key = "a-key"
        command = [str(pathlib.Path(sys.executable).parent / "vllm"), "serve", str(model), "--uds", self.socket]
        command += ["--served-model-name", self.model, "--enforce-eager", "--block-size", str(BLOCK_TOKENS)]
        command += ["--num-gpu-blocks-override", str(BLOCKS), "--max-model-len", str(MAX_MODEL_LEN)]
        command += ["--kv-cache-memory-bytes", "64M", "--max-num-seqs", str(MAX_SEQUENCES), "--seed", "7"]
        command += ["--api-key", self.key]
        if connector:
            command += ["--kv-transfer-config", json.dumps(CONNECTOR)]
        own = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_PLUGINS": "", "VLLM_CPU_KVCACHE_SPACE": "1"}
        if sidecar is not None:
            own |= {"VRAMGATE_TARGET": sidecar.target, "VRAMGATE_INSTANCE": "a", "VLLM_PLUGINS": "vramgate"}
        env = {**os.environ, **own, **(environment or {})}
        self.started = time.monotonic()
        out = (directory / "vllm.out").open("wb")
        # In a session of its own: its processes can be found when their parent is gone.
        self.program = Program(
            [*command, *arguments], directory / "vllm.log", stdout=out, env=env, start_new_session=True
        )

    def ready(self, within_s: float = 120.0) -> Vllm:
        def healthy() -> bool:
            assert self.program.running(), self.program.said()
            return pathlib.Path(self.socket).exists() and self._health()

        wait_for("vLLM is up", healthy, within_s)
        return self

    def _health(self) -> bool:
        done = subprocess.run(
            ["curl", "-sf", "-m", "5", "-o", "/dev/null", "--unix-socket", self.socket, "http://vllm/health"],
            check=False,
        )
        return done.returncode == 0

    def processes(self, name: str) -> list[psutil.Process]:
        """Of this server, those whose title has that word: APIServer, EngineCore."""
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in [psutil.Process(self.program.process.pid), *self._children()]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    if name in " ".join(process.cmdline()) or name in process.name():
                        found.append(process)
        return found

    def _children(self) -> Iterator[psutil.Process]:
        yield from psutil.Process(self.program.process.pid).children(recursive=True)

    def stop(self) -> None:
        self.program.stop()
        # Those of its processes that outlive it, as an engine does whose API server was killed.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.program.process.pid, signal.SIGKILL)

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            "http://vllm",
            connector=aiohttp.UnixConnector(self.socket, limit=0),
            headers={"authorization": f"Bearer {self.key}"},
            timeout=aiohttp.ClientTimeout(total=600),
        )


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """The events of a stream, without its [DONE]."""
    async for line in answer.content:
        if line.startswith(b"data: ") and not line.startswith(b"data: [DONE]"):
            yield json.loads(line[len(b"data: ") :])
