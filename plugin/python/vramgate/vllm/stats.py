"""What vLLM's scheduler really holds, for comparison with what the gate has reserved: a stat logger, in the API server.

Adds two gauges and a counter to vLLM's own /metrics, by `engine`: `vramgate_engine_kv_used_ratio`,
`vramgate_engine_waiting` (requests that were admitted and yet wait in the engine: it is set tighter than the gate's
config says) and `vramgate_engine_preemptions_total` (more KV was needed than reserved). vLLM's own thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge
from vllm.v1.metrics.loggers import StatLoggerBase

if TYPE_CHECKING:
    from vllm.config import VllmConfig


class _Families:
    """One for each registry of the process: a name may be registered once."""

    _made: dict[CollectorRegistry, _Families] = {}  # noqa: RUF012  the registries are the process's

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["engine"]
        self.used = Gauge(
            "vramgate_engine_kv_used_ratio",
            "KV blocks in use, of all.",
            labels,
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self.waiting = Gauge(
            "vramgate_engine_waiting",
            "Requests that were admitted and wait in the engine.",
            labels,
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self.preemptions = Counter("vramgate_engine_preemptions", "Preemptions.", labels, registry=registry)

    @classmethod
    def of(cls, registry: CollectorRegistry) -> _Families:
        if registry not in cls._made:
            cls._made[registry] = cls(registry)
        return cls._made[registry]


class KvUseLogger(StatLoggerBase):  # type: ignore[misc]
    def __init__(self, vllm_config: VllmConfig, engine_index: int = 0) -> None:
        families = _Families.of(REGISTRY)
        engine = str(engine_index)
        self._used = families.used.labels(engine)
        self._waiting = families.waiting.labels(engine)
        self._preemptions = families.preemptions.labels(engine)

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        if scheduler_stats is not None:
            self._used.set(scheduler_stats.kv_cache_usage)
            self._waiting.set(scheduler_stats.num_waiting_reqs)
        if iteration_stats is not None:
            self._preemptions.inc(iteration_stats.num_preempted_reqs)

    def log_engine_initialized(self) -> None:
        """Nothing to log."""
