"""Several models share a simulated card, each driven above what fits: the ledger says that the budget was kept."""

from __future__ import annotations

import asyncio
import json
import pathlib

import models
from clients import post
from programs import Gate, Triton, model, wait_for

# Of a request. Few of them are the answer's: hundreds of streams at a hundred tokens a second each are more than
# Triton's HTTP frontend forwards on two busy cores without losing one.
TOKENS = 64
ANSWER_TOKENS = 8
DELAY_MS = 80
RUN_S = 5.0
# Two models take their KV from the card as they go, one has a pool of its own.
NAMES = ("one", "two", "pooled")
MIB = 2**20
GIB = 2**30


async def drive(triton: Triton, name: str, rate_per_s: float) -> list[int]:
    """Requests at that rate, whatever becomes of them; their statuses."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    prompt = "x" * (TOKENS - ANSWER_TOKENS)
    body = json.dumps({"PROMPT": prompt, "max_tokens": ANSWER_TOKENS, "delay_ms": DELAY_MS})
    calls: list[asyncio.Task[int]] = []
    while loop.time() < begin + RUN_S:
        calls.append(asyncio.create_task(post(triton.http, f"/v2/models/gate_{name}/generate_stream", body)))
        await asyncio.sleep(max(0.0, begin + len(calls) / rate_per_s - loop.time()))
    return list(await asyncio.gather(*calls))


def test_several_models_above_capacity_stay_within_the_card(version: str, tmp_path: pathlib.Path) -> None:
    gate = Gate(
        tmp_path / "gate",
        [model("one", 1, "pool: dynamic"), model("two", 1, "pool: dynamic"), model("pooled", 1)],
        total_gib=5,
        max_wait="500ms",
    )
    configs = {name: models.target() for name in NAMES}
    configs |= {f"gate_{name}": models.gate(name, gate.plugin, models.LLM_INTERFACE) for name in NAMES}
    triton = Triton(tmp_path, version, configs)

    # How many fit at once, of each.
    card, pool = gate.status()["accounts"]
    room = int(card["capacity_bytes"]) - int(card["fixed_bytes"])
    shared = room // (TOKENS * MIB) / 2
    fit = {"one": shared, "two": shared, "pooled": int(pool["capacity_bytes"]) // (TOKENS * MIB)}
    seconds = ANSWER_TOKENS * DELAY_MS / 1000

    async def all_of_them() -> list[list[int]]:
        return await asyncio.gather(*(drive(triton, name, 1.5 * fit[name] / seconds) for name in NAMES))

    for name, statuses in zip(NAMES, asyncio.run(all_of_them()), strict=True):
        served, refused = statuses.count(200), len(statuses) - statuses.count(200)
        assert 0 not in statuses, f"{name}: a reply was lost"
        assert served > len(statuses) // 3, f"{name}: {served} served of {len(statuses)}"
        assert refused > 0, f"{name}: it was never above capacity"
    wait_for("the last lease ends", gate.empty)
    assert triton.stop() == 0
    assert gate.stop() == 0

    audit = gate.audit()
    assert audit["overruns"] == audit["leaks"] == 0, audit
    peaks = audit["peak_used_bytes"]
    assert 0.9 * GIB < peaks["pool/pooled/a"] <= 1 * GIB, peaks
    assert int(card["capacity_bytes"]) - 2 * TOKENS * MIB < peaks["device/0"] <= int(card["capacity_bytes"]), peaks
