"""What the gate does for a real vLLM whose KV pool is too small: the benchmark `./dev bench vllm`.

    bench.py [--json FILE] [--rounds 2] [--requests 48] [--clients 32] [--arms none,worst_case,lockstep,statistical]

A model of 24 M parameters on the CPU, a pool of 8,160 tokens, and closed-loop clients whose requests have 32 to 128
prompt tokens and want 400 to 1,000 of output. The arms take turns on one server, with the same lengths and fresh
tokens: `none`, the gate not there (fail_open); the others, the gate at that level. Needs $VRAMGATE, the program.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import pathlib
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any

import servers

STEPS = "steps: {start_steps: 32, min_tokens: 0.95}"
LEVELS = {
    "none": "",
    "worst_case": "assurance: worst_case",
    "lockstep": f"assurance: lockstep\n    {STEPS}",
    "statistical": f"assurance: statistical\n    risk: 0.01\n    {STEPS}",
}
PROMPT_TOKENS = (32, 128)
OUTPUT_TOKENS = (400, 1000)


@dataclass
class Told:
    """What the clients of one run saw."""

    ttft_s: list[float] = field(default_factory=list)
    e2e_s: list[float] = field(default_factory=list)
    stall_s: list[float] = field(default_factory=list)
    output_tokens: int = 0
    failed: int = 0


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


async def one(session: Any, job: tuple[int, int, int], told: Told) -> None:
    prompt_tokens, output_tokens, seed = job
    draw = random.Random(seed)
    body = {
        "model": "mid",
        "prompt": [draw.randrange(3, 500) for _ in range(prompt_tokens)],
        "max_tokens": output_tokens,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
    }
    start = time.perf_counter()
    times = []
    async with session.post("/v1/completions", json=body) as answer:
        if answer.status != 200:
            told.failed += 1
            return
        async for event in servers.events(answer):
            if "error" in event:
                told.failed += 1
                return
            times.append(time.perf_counter())
    told.ttft_s.append(times[0] - start)
    told.e2e_s.append(times[-1] - start)
    told.stall_s.append(max((b - a for a, b in itertools.pairwise(times)), default=0.0))
    told.output_tokens += output_tokens


def counts(path: pathlib.Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


async def run_arm(engine: servers.Vllm, file: pathlib.Path, seed: int, requests: int, clients: int) -> dict[str, float]:
    draw = random.Random(seed)
    fresh = random.Random(time.time_ns())
    jobs = [
        (draw.randint(*PROMPT_TOKENS), draw.randint(*OUTPUT_TOKENS), fresh.randrange(1 << 60)) for _ in range(requests)
    ]
    told = Told()
    async with engine.session() as session:
        await asyncio.gather(*(one(session, (128, 4, seed), Told()) for seed in range(clients)))  # to warm up
        before = servers.wait_for("the scheduler's counts", lambda: file.exists() and counts(file))
        file.unlink()  # the peak begins anew
        queue = iter(jobs)

        async def client() -> None:
            for job in queue:
                await one(session, job, told)

        start = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        took_s = time.perf_counter() - start
    after = servers.wait_for("the scheduler's counts", lambda: file.exists() and counts(file))
    return {
        "preemptions": after["preemptions"] - before["preemptions"],
        "scheduled_tokens": after["scheduled_tokens"] - before["scheduled_tokens"],
        "steps": after["steps"] - before["steps"],
        "output_tokens_per_s": told.output_tokens / took_s,
        "ttft_p50_s": percentile(told.ttft_s, 0.5),
        "ttft_p95_s": percentile(told.ttft_s, 0.95),
        "e2e_p50_s": percentile(told.e2e_s, 0.5),
        "e2e_p95_s": percentile(told.e2e_s, 0.95),
        "stall_p95_s": percentile(told.stall_s, 0.95),
        "pool_peak": after["pool_peak"],
        "failed": told.failed,
        "requests": requests,
    }


def gate_says(sidecar: servers.Sidecar) -> dict[str, float]:
    """Late leases, fallbacks and revocations, from the sidecar's metrics."""
    found: dict[str, float] = {}
    for line in sidecar.metrics().splitlines():
        for name in ("vramgate_assurance_fallbacks_total", "vramgate_revocations_total", "vramgate_overuse_total"):
            if line.startswith(name + "{"):
                key = name.removeprefix("vramgate_")
                found[key] = found.get(key, 0) + float(line.rsplit(" ", 1)[1])
    return found


def run(options: argparse.Namespace, work: pathlib.Path) -> dict[str, list[dict[str, float]]]:
    model = servers.make_model(work, "mid")
    file = work / "counts.json"
    environment = {
        "VRAMGATE_TARGET": f"unix:{work}/plugin.sock",
        "VRAMGATE_INSTANCE": "a",
        "VRAMGATE_WHEN_AWAY": "fail_open",
        "VRAMGATE_COUNTS": str(file),
        "VLLM_PLUGINS": "vramgate",
    }
    arguments = ["--scheduler-cls", "counting_scheduler.CountingScheduler"]
    engine = servers.Vllm(work / "vllm", model, *arguments, environment=environment, connector=True)
    rounds: dict[str, list[dict[str, float]]] = {arm: [] for arm in options.arms}
    try:
        engine.ready()
        for number in range(options.rounds):
            for arm in options.arms if number % 2 == 0 else options.arms[::-1]:
                found = run_one(options, work, engine, file, arm, number)
                rounds[arm].append(found)
                print(
                    arm, json.dumps({key: round(value, 3) for key, value in found.items()}), file=sys.stderr, flush=True
                )
    finally:
        engine.stop()
    return rounds


async def ask_once(engine: servers.Vllm) -> None:
    async with engine.session() as session:
        await one(session, (5, 2, 1), Told())


def run_one(
    options: argparse.Namespace, work: pathlib.Path, engine: servers.Vllm, file: pathlib.Path, arm: str, number: int
) -> dict[str, float]:
    if arm == "none":
        return asyncio.run(run_arm(engine, file, 1000 + number, options.requests, options.clients))
    directory = work / f"gate-{arm}-{number}"
    directory.mkdir()
    sidecar = servers.Sidecar(directory, work / "mid", LEVELS[arm], queue=1000, plugin=work / "plugin.sock")
    try:
        # The engine's reports and the API server: until then it lets everybody in.
        asyncio.run(ask_once(engine))
        servers.wait_for("both are connected", lambda: sidecar.program.said().count("is open") == 2)
        found = asyncio.run(run_arm(engine, file, 1000 + number, options.requests, options.clients))
        sidecar.check_empty()
        granted = sidecar.count("granted")
        assert granted >= options.requests, f"only {granted} requests came through the gate"
        found |= gate_says(sidecar)
    finally:
        sidecar.stop()
    audit = sidecar.audit()
    return {**found, "overruns": audit["overruns"], "leaks": audit["leaks"]}


def summary(rounds: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Of each arm and key the median over the rounds, and its least and most."""
    arms: dict[str, dict[str, float]] = {}
    for arm, runs in rounds.items():
        arms[arm] = {}
        for key in runs[0]:
            values = [run.get(key, 0.0) for run in runs]
            arms[arm] |= {key: statistics.median(values), f"{key}_min": min(values), f"{key}_max": max(values)}
    return arms


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--arms", type=lambda text: text.split(","), default=list(LEVELS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vramgate-bench-") as work:
        arms = summary(run(options, pathlib.Path(work)))
    for arm, figures in arms.items():
        print(
            arm, " ".join(f"{key}={value:.3f}" for key, value in figures.items() if not key.endswith(("_min", "_max")))
        )
    if options.json:
        options.json.write_text(json.dumps(arms, indent=2) + "\n")


if __name__ == "__main__":
    main()
