"""A real Envoy with the shipped config in front of a streaming engine: what becomes of requests and their leases."""

import json
import time

import pytest

from programs import Client, Engine, Envoy, Gate, client_to_kill, wait_for

# A lease's end must be seen within this. Observed: a few milliseconds; the bound allows for a busy machine.
SOON_S = 1.0

EXT_PROC = "http.llm.ext_proc."
# Counters of Envoy's that must stay 0: each is an answer that it did not understand, or did not get.
TROUBLE = [
    "failure_mode_allowed",
    "http_not_ok_resp_received",
    "message_timeouts",
    "override_message_timeout_ignored",
    "rejected_header_mutations",
    "server_half_closed",
    "spurious_msgs_received",
    "streams_failed",
]


@pytest.fixture(scope="module")
def engine():
    engine = Engine()
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    gate = Gate(tmp_path_factory.mktemp("gate"))
    yield gate
    gate.stop()


@pytest.fixture(scope="module")
def envoy(tmp_path_factory, gate, engine):
    envoy = Envoy(tmp_path_factory.mktemp("envoy") / "run", gate, engine)
    yield envoy
    envoy.stop()


@pytest.fixture(autouse=True)
def nothing_is_left(gate):
    """Every test ends as it began: nobody holds, waits or lingers."""
    yield
    for state in ("held", "waiting", "lingering") if gate.running() else ():
        wait_for(f"the last lease {state} to end", lambda s=state: not gate.leases(s), 5)


class Holder:
    """A client whose answer has begun and takes the whole pool until it is ended."""

    def __init__(self, envoy, engine):
        self.client = Client(envoy.address)
        self.answer = engine.next()
        self.answer.send("first")
        assert self.client.answer().status == 200
        assert self.client.line() == b"data: first\n"

    def end(self):
        self.answer.end()
        assert self.client.line() in (b"", b"\n")
        self.client.close()


def test_the_lease_is_the_response(gate, envoy, engine):
    sent_before = envoy.stats("ext_proc")[EXT_PROC + "stream_msgs_sent"]
    client = Client(envoy.address)
    answer = engine.next()
    lease, _ = wait_for("the lease", lambda: gate.leases("held"))
    assert len(lease) == 1
    assert answer.body["messages"][0]["content"] == "hello", "the body reaches the engine unchanged"

    answer.begin()
    response = client.answer()
    assert response.status == 200
    assert response.getheader("content-type") == "text/event-stream"
    for n in range(5):
        answer.send(n)
        assert client.line() == f"data: {n}\n".encode()
        time.sleep(0.05)
        assert gate.leases("held") == lease, "not before the response's end"
    status = gate.status()
    assert sum(int(a["reserved_bytes"]) for a in status["accounts"] if a["account"].startswith("pool/")) == 1 << 30

    answer.end()
    assert client.line() in (b"", b"\n")
    wait_for("the lease to end with the response", lambda: not gate.leases("held"), SOON_S)
    assert not gate.leases("lingering")
    sent = envoy.stats("ext_proc")[EXT_PROC + "stream_msgs_sent"] - sent_before
    assert sent == 3, "request headers, request body, response headers: no byte of the response's body crosses the sidecar"
    client.close()


def test_a_held_request_is_granted_when_room_comes(gate, envoy, engine):
    holder = Holder(envoy, engine)
    waiter = Client(envoy.address)
    wait_for("the waiter", lambda: gate.leases("waiting"))
    time.sleep(1.5)  # longer than message_timeout: the hold has been granted a longer one
    assert gate.leases("waiting")
    assert engine.idle(), "a held request does not reach the engine"

    holder.end()
    answer = engine.next()
    assert gate.leases("held") and not gate.leases("waiting")
    answer.send("late")
    assert waiter.answer().status == 200
    assert waiter.line() == b"data: late\n"
    answer.end()
    waiter.close()


def test_a_request_too_many_is_answered_429(gate, envoy, engine):
    holder = Holder(envoy, engine)
    waiter = Client(envoy.address)
    wait_for("the waiter", lambda: gate.leases("waiting"))

    refused = Client(envoy.address)
    response = refused.answer()
    assert response.status == 429
    assert response.headers.get_all("content-type") == ["application/json"]
    assert int(response.getheader("retry-after")) >= 1
    assert 1 <= int(response.getheader("retry-after-ms")) <= 60000
    assert response.getheader("x-should-retry") == "true"
    assert response.getheader("x-vramgate-reason") == "QUEUE_FULL"
    error = json.load(response)["error"]
    assert set(error) == {"message", "type", "code"}
    assert error["code"] == "queue_full"
    assert engine.idle()

    refused.close()
    waiter.close()
    wait_for("the waiter to leave", lambda: not gate.leases("waiting"), SOON_S)
    holder.end()


def test_what_never_fits_is_413(envoy, engine):
    body = {"model": "m", "n": 2, "max_tokens": 100000, "messages": [{"role": "user", "content": "hello"}]}
    response = Client(envoy.address, body).answer()
    assert response.status == 413
    assert response.getheader("x-should-retry") == "false"
    assert response.getheader("retry-after") is None
    assert engine.idle()


def test_an_ill_formed_body_is_400(envoy, engine):
    assert Client(envoy.address, ["not an object"]).answer().status == 400
    assert engine.idle()


def test_what_does_not_generate_passes(gate, envoy, engine):
    client = Client(envoy.address, {"input": "hello"}, "/v1/audio/speech")
    answer = engine.next()
    assert not gate.leases("held")
    answer.send("passed")
    assert client.answer().status == 200
    answer.end()
    client.close()


def test_a_client_killed_while_held_leaves_the_queue(gate, envoy, engine):
    holder = Holder(envoy, engine)
    victim = client_to_kill(envoy.address)
    assert victim.stdout.readline() == "sent\n"
    wait_for("the waiter", lambda: gate.leases("waiting"))
    victim.kill()
    victim.wait()
    wait_for("the killed client's waiter to go", lambda: not gate.leases("waiting"), SOON_S)
    assert engine.idle(), "it never reached the engine"
    victim.stdout.close()
    holder.end()


def test_a_client_killed_mid_stream_frees_its_lease(gate, envoy, engine):
    victim = client_to_kill(envoy.address)
    answer = engine.next()
    answer.send("first")
    assert victim.stdout.readline() == "sent\n"
    assert victim.stdout.readline() == "data: first\n"
    assert gate.leases("held")
    victim.kill()
    victim.wait()
    wait_for("the killed client's lease to end", lambda: not gate.leases("held"), SOON_S)
    victim.stdout.close()
    answer.end()


def test_a_client_killed_before_the_response_lingers(gate, envoy, engine):
    """The engine may have begun: its bytes stay counted for abort_linger."""
    victim = client_to_kill(envoy.address)
    answer = engine.next()
    wait_for("the lease", lambda: gate.leases("held"))
    victim.kill()
    victim.wait()
    wait_for("the linger", lambda: gate.leases("lingering"), SOON_S)
    wait_for("its end", lambda: not gate.leases("lingering"), 0.5 + SOON_S)
    victim.stdout.close()
    answer.end()


def test_a_gateway_that_sets_no_modes_is_told_them(tmp_path, gate, engine):
    """Where the modes cannot be configured but may be overridden, the lease is the response all the same."""
    modes = ["request_body_mode: BUFFERED", "response_header_mode: SEND", "response_trailer_mode: SEND"]
    changes = [(mode, mode.split(":")[0] + (": NONE" if "body" in mode else ": SKIP")) for mode in modes]
    envoy = Envoy(tmp_path / "run", gate, engine, changes)
    try:
        holder = Holder(envoy, engine)
        time.sleep(0.1)
        assert len(gate.leases("held")) == 1
        holder.end()
        wait_for("the lease to end with the response", lambda: not gate.leases("held"), SOON_S)
    finally:
        envoy.stop()


def test_the_ledger_is_clean(gate, envoy):
    """The last: stops the sidecar. What all the tests above did has left nothing behind, says an auditor of the ledger file."""
    status = gate.status()
    assert [a["account"] for a in status["accounts"] if int(a["reserved_bytes"]) != 0] == []
    assert (status["held"], status["waiting"], status["lingering"]) == (0, 0, 0)
    stats = envoy.stats("ext_proc")
    assert stats[EXT_PROC + "override_message_timeout_received"] > 0
    assert [name for name in TROUBLE if stats[EXT_PROC + name] != 0] == [], stats
    assert gate.stop() == 0, gate.log.read_text()[-3000:]
    audit = gate.audit()
    assert (audit["overruns"], audit["leaks"], audit["leaked_bytes"], audit["complete"]) == (0, 0, 0, True)
    assert audit["peak_used_bytes"]["pool/m/a"] == 1 << 30
