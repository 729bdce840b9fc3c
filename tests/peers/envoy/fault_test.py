"""A sidecar that is absent, hung, killed, restarted or told to stop, behind an Envoy that fails open or closed;
an Envoy that is killed. Requests end as the gateway is set, nothing is leaked, and the ledger's audit is clean
afterwards."""

from __future__ import annotations

import collections.abc
import contextlib
import http.client
import pathlib
import queue
import select
import signal
import threading
import time

import pytest
from programs import LARGE, Client, wait_for
from rig import (
    FAIL_CLOSED,
    SOON_S,
    Absent,
    Engine,
    Envoy,
    Gate,
    Start,
    audit_is_clean,
    ends,
    gate_config,
    healthy,
    settled,
)

modes = pytest.mark.parametrize("open_", [True, False], ids=["fail-open", "fail-closed"])


@pytest.fixture
def own(tmp_path: pathlib.Path, engine: Engine) -> collections.abc.Iterator[Start]:
    """A gate and an Envoy of the test's own: own(fail_open, ...) -> gate, envoy."""
    envoys: list[Envoy] = []

    def make(
        open_: bool, config: str | None = None, changes: collections.abc.Sequence[tuple[str, str]] = ()
    ) -> tuple[Gate, Envoy]:
        gate = Gate(tmp_path, config or gate_config())
        envoys.append(Envoy(tmp_path / "envoy", gate, engine, [*([] if open_ else FAIL_CLOSED), *changes]))
        healthy(envoys[0])
        return gate, envoys[0]

    yield make
    for envoy in envoys:
        envoy.stop()


def running(envoy: Envoy, engine: Engine) -> tuple[Client, Engine.Answer]:
    """A client whose answer has begun, and its end of it."""
    client = Client(envoy.address)
    try:
        answer = engine.next(5)
    except queue.Empty:
        response = client.answer()
        pytest.fail(f"not sent on, but answered {response.status}: {response.headers} {response.read()}")
    answer.send("first")
    assert client.answer().status == 200
    assert client.line() == b"data: first\n"
    return client, answer


def passes(envoy: Envoy, engine: Engine) -> None:
    client = Client(envoy.address)
    answer = engine.next()
    answer.send("passed")
    assert client.answer().status == 200
    answer.end()
    client.response.read()
    client.close()


def readable(client: Client) -> list[tuple[int, int]]:
    poll = select.poll()
    poll.register(client.connection.sock, select.POLLIN)
    return poll.poll(0)


def is_admitted(gate: Gate, envoy: Envoy, engine: Engine) -> bool:
    """Whether a request takes a lease. Until Envoy's health check has seen the sidecar it is refused, or passes."""
    client = Client(envoy.address)
    wait_for("an answer, or its arrival", lambda: not engine.idle() or readable(client))
    if engine.idle():
        assert client.answer().status == 503
        return False
    answer = engine.next()
    admitted = len(gate.leases("held")) == 1
    answer.send("first")
    answer.end()
    assert client.answer().status == 200
    client.response.read()
    client.close()
    return admitted


def is_cut(client: Client) -> bool:
    """Whether the answer breaks off, rather than ends."""
    try:
        client.response.read()
    except (http.client.IncompleteRead, ConnectionError):
        return True
    return False


@modes
def test_an_absent_sidecar(tmp_path: pathlib.Path, engine: Engine, open_: bool) -> None:
    envoy = Envoy(tmp_path / "envoy", Absent(tmp_path), engine, [] if open_ else FAIL_CLOSED)
    try:
        if open_:
            passes(envoy, engine)
        else:
            assert Client(envoy.address).answer().status == 503
            assert engine.idle()
    finally:
        envoy.stop()


@modes
def test_a_hung_sidecar(own: Start, engine: Engine, open_: bool) -> None:
    gate, envoy = own(open_)
    running_client, running_answer = running(envoy, engine)
    gate.process.send_signal(signal.SIGSTOP)
    try:
        client = Client(envoy.address)
        if open_:
            answer = engine.next()
            answer.send("passed")
            assert client.answer().status == 200
            answer.end()
        else:
            assert client.answer().status in (503, 504), "message_timeout is over, or the health check has seen it"
            assert engine.idle()
        client.close()
        running_answer.send("second")
        assert running_client.line() == b"data: second\n", "what was admitted runs on"
    finally:
        gate.process.send_signal(signal.SIGCONT)
    running_answer.end()
    running_client.response.read()
    running_client.close()
    settled(gate)
    wait_for("requests to be admitted again", lambda: is_admitted(gate, envoy, engine), 20)
    audit_is_clean(gate)


@modes
def test_a_killed_sidecar_and_its_successor(tmp_path: pathlib.Path, own: Start, engine: Engine, open_: bool) -> None:
    gate, envoy = own(open_)
    client, answer = running(envoy, engine)
    gate.kill()
    if open_:
        answer.send("second")
        assert client.line() == b"data: second\n", "the answer completes, unaccounted"
        answer.end()
        assert not is_cut(client)
    else:
        assert is_cut(client), "fail-closed truncates what runs"
        answer.end()
    client.close()
    healthy(envoy, False)
    if open_:
        passes(envoy, engine)
    else:
        assert Client(envoy.address).answer().status == 503
    gate = Gate(tmp_path, gate_config())
    wait_for("requests to be admitted again", lambda: is_admitted(gate, envoy, engine), 20)
    settled(gate)
    assert gate.stop() == 0
    audit = gate.audit()
    assert (audit["overruns"], audit["leaks"]) == (0, 0), audit


def test_a_killed_envoy_leaves_nothing(own: Start, engine: Engine) -> None:
    """One runs, one waits. That its connection is gone is no proof that the engine stopped: the lease lingers."""
    gate, envoy = own(True)
    client, answer = running(envoy, engine)
    waiter = Client(envoy.address)
    wait_for("the waiter", lambda: gate.leases("waiting"))
    lease = gate.leases("held")
    killed = time.monotonic()
    envoy.kill()
    wait_for("both to be seen gone", lambda: not gate.leases("held") and not gate.leases("waiting"))
    assert time.monotonic() - killed <= 5 * SOON_S, "a busy machine has this once only"
    assert gate.leases("lingering") == lease
    wait_for("both ends to be counted", lambda: ends(gate, "connection_lost") == 1 and ends(gate, "left") == 1)
    answer.end()
    client.close()
    waiter.close()
    audit_is_clean(gate)


def test_sigterm_lets_the_admitted_finish_and_answers_waiters(own: Start, engine: Engine) -> None:
    gate, envoy = own(False)
    client, answer = running(envoy, engine)
    waiter = Client(envoy.address)
    wait_for("the waiter", lambda: gate.leases("waiting"))
    gate.process.send_signal(signal.SIGTERM)
    response = waiter.answer()
    assert response.status == 503
    assert response.getheader("x-vramgate-reason") == "DRAINING"
    assert response.getheader("x-should-retry") == "true"
    waiter.close()
    answer.send("second")
    assert client.line() == b"data: second\n"
    assert gate.running(), "it waits for its holder"
    answer.end()
    assert not is_cut(client)
    client.close()
    assert gate.process.wait(10) == 0
    audit = gate.audit()
    assert (audit["overruns"], audit["leaks"], audit["complete"]) == (0, 0, True), audit


def test_the_end_of_the_grace_cuts_no_answer(own: Start, engine: Engine) -> None:
    """Not even where Envoy fails closed: the stream is closed in good order, and the request runs on."""
    gate, envoy = own(False, gate_config() + "drain: {{grace: 200ms}}\n")
    client, answer = running(envoy, engine)
    assert gate.stop() == 0
    answer.send("second")
    assert client.line() == b"data: second\n"
    answer.end()
    assert not is_cut(client)
    client.close()
    audit = gate.audit()
    assert (audit["overruns"], audit["complete"]) == (0, True), audit


@pytest.mark.parametrize(
    ("ext_proc", "changes"),
    [
        ("max_message_timeout: 2s", [("max_message_timeout: 300s", "max_message_timeout: 2s")]),
        (
            "max_message_timeout: 0s, message_timeout: 2s",
            [
                ("              max_message_timeout: 300s", "              #"),
                ("message_timeout: 1s ", "message_timeout: 2s "),
            ],
        ),
    ],
    ids=["a longer timeout", "no longer timeout"],
)
def test_an_answer_comes_before_the_gateways_bound(
    own: Start, engine: Engine, ext_proc: str, changes: list[tuple[str, str]]
) -> None:
    """queue.max_wait is 20 s; Envoy would wait for 2 s, and then pass the request unadmitted."""
    gate, envoy = own(True, gate_config(ext_proc), changes)
    client, answer = running(envoy, engine)
    waiter = Client(envoy.address)
    start = time.monotonic()
    response = waiter.answer()
    assert response.status == 429
    assert response.getheader("x-vramgate-reason") == "QUEUE_TIMEOUT"
    assert 1.5 < time.monotonic() - start < 2.0
    waiter.close()
    assert engine.idle()
    answer.end()
    client.response.read()
    client.close()
    stats = envoy.stats("ext_proc")
    assert stats["http.llm.ext_proc.override_message_timeout_ignored"] == 0
    assert stats["http.llm.ext_proc.message_timeouts"] == 0
    audit_is_clean(gate)


def load(address: str, seconds: float, results: list[int]) -> None:
    """Requests one after the other; status codes, and 0 for a connection that broke."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            client = Client(address, LARGE | {"max_tokens": 10, "messages": [{"role": "user", "content": "x" * 200}]})
            response = client.answer()
            response.read()
            results.append(response.status)
            client.close()
        except (OSError, http.client.HTTPException):
            results.append(0)
            time.sleep(0.01)


class SteadyEngine:
    """Answers whatever arrives, after a moment."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop:
            if self._engine.idle():
                time.sleep(0.001)
                continue
            answer = self._engine.next()
            answer.send("x")
            answer.end()

    def stop(self) -> None:
        self._stop = True
        self._thread.join()


@pytest.mark.parametrize("victim", ["sidecar", "Envoy"])
def test_a_kill_under_load_leaks_nothing(tmp_path: pathlib.Path, own: Start, engine: Engine, victim: str) -> None:
    gate, envoy = own(False, gate_config(max_requests="1000"))
    steady = SteadyEngine(engine)
    results: list[int] = []
    clients = [threading.Thread(target=load, args=(envoy.address, 3, results)) for _ in range(16)]
    for client in clients:
        client.start()
    wait_for("load", lambda: results.count(200) > 50)
    if victim == "sidecar":
        gate.kill()
        wait_for("refusals", lambda: 503 in results or 500 in results)
        gate = Gate(tmp_path, gate_config(max_requests="1000"))
        before = len(results)
        wait_for("answers from its successor", lambda: 200 in results[before:], 20)
    else:
        envoy.kill()
    for client in clients:
        client.join()
    steady.stop()
    settled(gate)
    status = gate.status()
    assert [a["account"] for a in status["accounts"] if int(a["reserved_bytes"]) != 0] == []
    assert gate.stop() == 0
    audit = gate.audit()
    assert (audit["overruns"], audit["leaks"]) == (0, 0), audit
    assert audit["peak_used_bytes"]["pool/m/a"] <= 1 << 30


def test_a_body_over_the_limit_is_413_and_takes_no_lease(gate: Gate, envoy: Envoy, engine: Engine) -> None:
    before = ends(gate, "overtaken")
    # Envoy answers before it has read the whole body, and closes: a client that reads only afterwards may find a reset.
    body = {"model": "m", "messages": [{"role": "user", "content": "x" * (17 << 20)}]}
    with contextlib.suppress(ConnectionError):
        assert Client(envoy.address, body).answer().status == 413
    wait_for("the stream's end", lambda: ends(gate, "overtaken") == before + 1)
    assert engine.idle()
    settled(gate)


def test_a_body_of_8_mib_is_admitted(gate: Gate, envoy: Envoy, engine: Engine) -> None:
    client = Client(envoy.address, LARGE | {"messages": [{"role": "user", "content": "x" * (8 << 20)}]})
    answer = engine.next()
    assert len(answer.body["messages"][0]["content"]) == 8 << 20, "and reaches the engine unchanged"
    assert len(gate.leases("held")) == 1
    answer.send("done")
    assert client.answer().status == 200
    answer.end()
    client.response.read()
    client.close()
    settled(gate)
