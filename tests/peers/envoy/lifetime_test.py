"""When Envoy ends the stream, and with it the lease, by the modes of its filter: the table of docs/gateways.md."""

from __future__ import annotations

import collections.abc

import pytest
from programs import Client, wait_for
from rig import ENVOYS, SOON_S, Engine, Envoy, Gate, settled, streams

# Modes of response headers, response body, response trailers and request body.
USED = "SEND/NONE/SEND BUFFERED"
ROWS = [
    USED,
    "SKIP/NONE/SEND BUFFERED",
    "SEND/STREAMED/SKIP BUFFERED",
    "SEND/NONE/SKIP BUFFERED",
    "SKIP/NONE/SKIP BUFFERED",
    "SEND/NONE/SKIP NONE",
    "SKIP/NONE/SKIP NONE",
]
# Rows that end with the response, by version. All others end with its headers or before: too early for a lease.
WHOLE = {
    "1.40": set(ROWS[:5]),
    "1.37": set(ROWS[:3]),
}

VHOST = """            - name: row{n}
              domains: ["row{n}"]
              routes:
              - match: {{prefix: "/"}}
                route: {{cluster: engine, timeout: 0s}}
                typed_per_filter_config:
                  envoy.filters.http.ext_proc:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute
                    overrides: {{processing_mode: {{request_header_mode: SEND, request_body_mode: {request_body},
                      response_header_mode: {headers}, response_body_mode: {body}, response_trailer_mode: {trailers}}}}}
"""


def virtual_host(n: int, row: str) -> str:
    response, request_body = row.split()
    headers, body, trailers = response.split("/")
    return VHOST.format(n=n, headers=headers, body=body, trailers=trailers, request_body=request_body)


@pytest.fixture(scope="module", params=sorted(ENVOYS, reverse=True))
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def rows(
    tmp_path_factory: pytest.TempPathFactory, gate: Gate, engine: Engine, version: str
) -> collections.abc.Iterator[Envoy]:
    """An Envoy with a host for every row of the table."""
    hosts = "".join(virtual_host(n, row) for n, row in enumerate(ROWS))
    changes = [("            - name: all\n", hosts + "            - name: all\n"), ("allow_mode_override: true", "")]
    envoy = Envoy(tmp_path_factory.mktemp("envoy") / "run", gate, engine, changes, ENVOYS[version])
    yield envoy
    envoy.stop()


@pytest.mark.parametrize("row", ROWS)
def test_the_stream_ends_as_the_table_says(gate: Gate, rows: Envoy, engine: Engine, version: str, row: str) -> None:
    client = Client(rows.address, host=f"row{ROWS.index(row)}")
    answer = engine.next()
    answer.send(0)
    assert client.answer().status == 200
    assert client.line() == b"data: 0\n"
    if row in WHOLE[version]:
        for n in range(1, 4):
            answer.send(n)
            assert client.line() == f"data: {n}\n".encode()
            assert streams(gate) == 1, "the stream is as long as the response"
        held = row.endswith("BUFFERED")
        assert len(gate.leases("held")) == (1 if held else 0)
    else:
        wait_for("the stream to end with the headers", lambda: streams(gate) == 0, 1)
        answer.send(1)
        assert client.line() == b"data: 1\n", "and the response goes on"
    answer.end()
    assert client.line() in (b"", b"\n")
    wait_for("the stream's end", lambda: streams(gate) == 0, 1)
    client.close()
    settled(gate)


def test_the_lease_ends_soon_after_the_last_byte(gate: Gate, rows: Envoy, engine: Engine) -> None:
    """In the mode to use. The quickest of a few: a busy machine only makes it slower."""
    took: list[float] = []
    while len(took) < 5 and (not took or min(took) > SOON_S):
        client = Client(rows.address, host=f"row{ROWS.index(USED)}")
        answer = engine.next()
        answer.send(0)
        assert client.answer().status == 200
        answer.end()
        client.response.read()
        took.append(wait_for("the lease's end", lambda: not gate.leases("held"), 5)[1])
        assert not gate.leases("lingering")
        client.close()
    assert min(took) <= SOON_S, took


def test_no_byte_of_the_response_crosses(gate: Gate, rows: Envoy, engine: Engine) -> None:
    """Request headers, request body, response headers: three messages, however long the response is."""
    stat = "http.llm.ext_proc.stream_msgs_sent"
    before = rows.stats(stat)[stat]
    client = Client(rows.address, host=f"row{ROWS.index(USED)}")
    answer = engine.next()
    for _ in range(50):
        answer.send("x" * 1000)
    answer.end()
    assert client.answer().status == 200
    assert len(client.response.read()) > 50_000
    client.close()
    settled(gate)
    assert rows.stats(stat)[stat] - before == 3
