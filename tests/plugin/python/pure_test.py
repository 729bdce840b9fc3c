"""What needs no socket: what a body asks for, leases' names, settings, frames, an engine's progress, SGLang's hook."""

from __future__ import annotations

import json
import sys
import types
from typing import Any

import pytest
from vramgate import _wire, names
from vramgate.demand import asked, is_gated
from vramgate.settings import Settings
from vramgate.values import Demand, LeaseEnded, Progress, WhenAway
from vramgate.vllm.progress import EngineProgress

IDS = [1, 2, 3]


@pytest.mark.parametrize(
    ("path", "body", "demand"),
    [
        ("/v1/completions", {"prompt": "abcd", "max_tokens": 9}, Demand(prompt_bytes=5, max_output_tokens=9)),
        ("/v1/completions", {"prompt": "é"}, Demand(prompt_bytes=3, max_output_tokens=16)),
        ("/v1/completions", {"prompt": IDS, "max_tokens": None}, Demand(prompt_tokens=3)),
        ("/v1/completions", {"prompt": [IDS, [1]], "n": 2}, Demand(prompt_tokens=3, max_output_tokens=16, sequences=4)),
        ("/v1/completions", {"prompt": ["a", "bcd"], "best_of": 3}, Demand(None, 16, 4, sequences=6)),
        ("/v1/chat/completions", {"messages": [], "n": 10**9}, Demand(prompt_bytes=29, sequences=4097)),
        ("/v1/responses", {"input": "hi", "max_output_tokens": 7}, Demand(prompt_bytes=31, max_output_tokens=7)),
        ("/inference/v1/generate", {"token_ids": IDS, "sampling_params": {}}, Demand(3, 16)),
        ("/generative_scoring", {"query": IDS, "items": [[4], [5, 6]]}, Demand(5, 1, sequences=2)),
        ("/v1/embeddings", {"input": [IDS, IDS]}, Demand(3, 1, sequences=2)),
        ("/generate", {"input_ids": IDS, "sampling_params": {"max_new_tokens": 8, "n": 2}}, Demand(3, 8, sequences=2)),
        ("/invocations", {"prompt": IDS, "max_tokens": 2}, Demand(3, 2)),
    ],
)
def test_what_a_body_asks_for(path: str, body: dict[str, Any], demand: Demand) -> None:
    assert is_gated(path)
    found = asked(path, json.dumps(body).encode())
    assert found is not None
    assert found.demand == demand


@pytest.mark.parametrize(
    "field", ["prompt", "messages", "n", "max_tokens", "model", "stream", "input", "sampling_params"]
)
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/invocations", "/generate", "/v1/score"])
def test_odd_bodies_cost_something_and_break_nothing(path: str, field: str) -> None:
    for odd in [None, True, -1, 1 << 80, "x", [], [[]], [None], {}, [{"a": [1.5]}], "\ud800"]:
        found = asked(path, json.dumps({field: odd}).encode())
        assert found is not None
        assert found.demand.sequences >= 1
        assert (found.demand.prompt_tokens or found.demand.prompt_bytes or 0) >= 1
        _wire.admit_frame(1, found.demand, model="m")


def test_a_body_nested_without_end_costs_its_bytes() -> None:
    deep = b'{"messages":' + b"[" * 900 + b"]" * 900 + b"}"
    found = asked("/v1/chat/completions", deep)
    assert found is None or (found.demand.prompt_bytes or 0) >= 900
    assert asked("/v1/chat/completions", b"[" * 100_000) is None


def test_pictures_cost_more_than_their_address() -> None:
    part = {"type": "image_url", "image_url": {"url": "http://x/y"}}
    found = asked("/v1/chat/completions", json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode())
    assert found is not None
    assert (found.demand.prompt_bytes or 0) > 10_000


def test_a_lease_is_found_in_whatever_vllm_makes_of_its_name() -> None:
    tagged = names.tagged("client's own\n-vg0000000000000001x9", "leases/00000002000000ff", 12)
    for made in [f"cmpl-{tagged}-0-a1b2c3d4", f"3_cmpl-{tagged}-11-a1b2c3d4", f"chatcmpl-{tagged}_2-00000000", tagged]:
        assert names.lease_of(made) == ("leases/00000002000000ff", 12)
    assert names.lease_of("cmpl-abc-vg12x1-a1b2c3d4") is None
    assert len(names.tagged("x" * 10_000, "leases/00000002000000ff", 1)) < 200


def test_settings_name_what_is_wrong() -> None:
    settings = Settings.from_environment({"VRAMGATE_MAX_WAIT": "250ms", "VRAMGATE_WHEN_AWAY": "fail_open"})
    assert (settings.max_wait_s, settings.when_away) == (0.25, WhenAway.FAIL_OPEN)
    for name, value in {
        "TARGET": "host:1", "MAX_WAIT": "5", "MAX_BODY": "many", "WHEN_AWAY": "maybe", "REVOCABLE": "1",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=f"VRAMGATE_{name}"):
            Settings.from_environment({f"VRAMGATE_{name}": value})


def test_frames_come_whole_however_they_are_cut() -> None:
    response = _wire._PluginResponse(stream=7)
    response.status.SetInParent()
    body = response.SerializeToString()
    frames = (len(body).to_bytes(4, "little") + body) * 3
    for size in range(1, len(frames)):
        decoder = _wire.FrameDecoder()
        found = [item for at in range(0, len(frames), size) for item in decoder.feed(frames[at : at + size])]
        assert found == [(7, LeaseEnded(None))] * 3


class Sequence:
    def __init__(self, name: str) -> None:
        self.request_id = name
        self.num_output_tokens = 0


class Reporter:
    """Always ready; what it was told."""

    def __init__(self) -> None:
        self.said: list[tuple[int, list[Progress], list[Progress]] | str] = []
        self.steps = 0
        self.lost: list[str] = []

    def start(self) -> None: ...
    def busy(self) -> None:
        self.said.append("busy")

    def step(self) -> None:
        self.steps += 1

    def ready(self, *, urgent: bool = False) -> bool:
        return True

    def take_lost(self) -> list[str]:
        lost, self.lost = self.lost, []
        return lost

    def tell(self, emitted: list[Progress], ended: list[Progress]) -> None:
        self.said.append((self.steps, emitted, ended))
        self.steps = 0

    def idle(self, ended: list[Progress]) -> None:
        self.said.append((0, [], ended))
        self.said.append("idle")


def test_only_who_is_not_one_token_further_with_each_step_is_named() -> None:
    reporter = Reporter()
    progress = EngineProgress(reporter)  # type: ignore[arg-type]
    one, two, three = Sequence("1"), Sequence("2"), Sequence("3")
    progress.began(one, ("L1", 1))
    progress.stepped()  # its prompt
    one.num_output_tokens = 1
    progress.began(two, ("L2", 2))
    progress.began(three, ("L2", 2))
    progress.stepped()
    one.num_output_tokens, two.num_output_tokens = 2, 1
    progress.stepped()
    one.num_output_tokens = 2  # it stood still
    two.num_output_tokens, three.num_output_tokens = 2, 2
    progress.stepped()
    progress.finished(one, ("L1", 1))
    progress.finished(two, ("L2", 2))
    three.num_output_tokens = 3
    progress.stepped()
    reporter.lost = ["L2"]
    progress.stepped()
    progress.finished(three, ("L2", 2))
    assert reporter.said == [
        "busy",
        (1, [], []),
        (1, [Progress("L1", 1)], []),
        (1, [Progress("L2", 1)], []),
        (1, [Progress("L1", 2)], []),
        (1, [], [Progress("L1", 2)]),
        (1, [], []),
        (0, [], []),
        "idle",
    ]


def test_a_lease_of_many_sequences_ends_with_the_last() -> None:
    reporter = Reporter()
    progress = EngineProgress(reporter)  # type: ignore[arg-type]
    sequences = [Sequence(str(number)) for number in range(3)]
    for number, sequence in enumerate(sequences):
        progress.began(sequence, ("L", 3))
        sequence.num_output_tokens = 10 * number
    other = Sequence("without a lease")
    progress.began(other, None)
    for sequence in sequences:
        progress.finished(sequence, ("L", 3))
    progress.stepped()
    progress.finished(other, None)
    assert reporter.said[1:] == [(1, [], [Progress("L", 20)]), (0, [], []), "idle"]


def test_the_gate_is_put_before_sglangs_server(monkeypatch: pytest.MonkeyPatch) -> None:
    from vramgate import sglang
    from vramgate.asgi import Gate

    hooks: list[tuple[str, Any, str]] = []
    registry = types.ModuleType("sglang.srt.plugins.hook_registry")
    registry.HookRegistry = types.SimpleNamespace(register=lambda *hook: hooks.append(hook))  # type: ignore[attr-defined]
    registry.HookType = types.SimpleNamespace(BEFORE="before")  # type: ignore[attr-defined]
    server = types.ModuleType(sglang._MODULE)
    added: list[Any] = []

    class App:
        user_middleware: list[Any] = []  # noqa: RUF012

        def add_middleware(self, cls: Any, **options: Any) -> None:
            added.append(cls)
            self.user_middleware.append(types.SimpleNamespace(cls=cls))

    server.app = App()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, registry.__name__, registry)
    monkeypatch.setitem(sys.modules, server.__name__, server)
    monkeypatch.delenv("VRAMGATE_MODEL", raising=False)
    with pytest.raises(ValueError, match="VRAMGATE_MODEL"):
        sglang.register()
    monkeypatch.setenv("VRAMGATE_MODEL", "m")
    sglang.register()
    [(target, hook, when)] = hooks
    assert (target, when) == ("sglang.srt.entrypoints.http_server.launch_server", "before")
    assert hook("server args") is None
    assert hook("server args") is None
    assert added == [Gate]
