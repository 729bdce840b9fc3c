"""The gate's eyes inside vLLM's scheduler: a KV connector that moves no KV and holds nobody back. It reports steps.

    vllm serve MODEL --kv-transfer-config '{"kv_connector": "VramgateConnector",
        "kv_connector_module_path": "vramgate.vllm.connector", "kv_role": "kv_both"}'

From it the gate knows how far every request is, when one has ended in the engine (and not just for its client), and
when the engine is idle. `assurance: lockstep` and `statistical` need that; at any level it makes leases end exactly,
also those of an API server that died. Settings: VRAMGATE_TARGET, VRAMGATE_MODEL (else the served name),
VRAMGATE_INSTANCE (needed; `{rank}` is the data-parallel rank), or `target`, `model`, `instance` in
kv_connector_extra_config.

Thread rule: the scheduler's thread; the socket is a StepReporter's, on a thread of its own.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorBase_V1,
    KVConnectorMetadata,
    KVConnectorRole,
    SupportsHMA,
)

from vramgate.names import lease_of
from vramgate.settings import Settings
from vramgate.steps import StepReporter
from vramgate.vllm.progress import EngineProgress

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.kv_cache_interface import KVCacheConfig
    from vllm.v1.request import Request

_log = logging.getLogger("vramgate")


class _Nothing(KVConnectorMetadata):  # type: ignore[misc]
    """What the workers are told."""


class VramgateConnector(KVConnectorBase_V1, SupportsHMA):  # type: ignore[misc]
    def __init__(self, vllm_config: VllmConfig, role: KVConnectorRole, kv_cache_config: KVCacheConfig) -> None:
        super().__init__(vllm_config, role, kv_cache_config)
        self._progress: EngineProgress | None = None
        self._stepped: deque[bool] = deque()  # of the steps under way, oldest first: whether they compute anything
        if role == KVConnectorRole.SCHEDULER:
            self._progress = EngineProgress(_reporter(vllm_config))

    @property
    def requires_kv_delivery(self) -> bool:
        return False

    # --- The scheduler's side ---

    def on_new_request(self, request: Request) -> None:
        assert self._progress is not None
        self._progress.began(request, lease_of(request.request_id))

    def get_num_new_matched_tokens(self, request: Request, num_computed_tokens: int) -> tuple[int | None, bool]:
        return 0, False

    def update_state_after_alloc(self, request: Request, blocks: Any, num_external_tokens: int) -> None:
        return

    def build_connector_meta(self, scheduler_output: SchedulerOutput) -> KVConnectorMetadata:
        self._stepped.append(scheduler_output.total_num_scheduled_tokens > 0)
        return _Nothing()

    def take_events(self) -> Iterable[Any]:
        """Called when a step's outputs have been counted: the step is over."""
        assert self._progress is not None
        if self._stepped and self._stepped.popleft():
            self._progress.stepped()
        return ()

    def request_finished(self, request: Request, block_ids: list[int]) -> tuple[bool, dict[str, Any] | None]:
        assert self._progress is not None
        self._progress.finished(request, lease_of(request.request_id))
        return False, None

    def request_finished_all_groups(
        self, request: Request, block_ids: tuple[list[int], ...]
    ) -> tuple[bool, dict[str, Any] | None]:
        return self.request_finished(request, [])

    # --- The workers' side: nothing to move ---

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        return

    def wait_for_layer_load(self, layer_name: str) -> None:
        return

    def save_kv_layer(self, layer_name: str, kv_layer: Any, attn_metadata: Any, **kwargs: Any) -> None:
        return

    def wait_for_save(self) -> None:
        return

    def shutdown(self) -> None:
        if self._progress is not None:
            self._progress.stop()


def _reporter(config: VllmConfig) -> StepReporter:
    settings = Settings.from_environment()
    extra = config.kv_transfer_config.kv_connector_extra_config or {}
    served = config.model_config.served_model_name
    model = extra.get("model") or settings.model or (served if isinstance(served, str) else served[0])
    instance = str(extra.get("instance") or settings.instance)
    if not instance:
        raise ValueError(
            "vramgate: no instance: set VRAMGATE_INSTANCE, or instance in kv_connector_extra_config, to the name that"
            " this engine has in the sidecar's config (models[].instances[].name)"
        )
    rank = config.parallel_config.data_parallel_rank
    return StepReporter(
        str(extra.get("target") or settings.target), model=str(model), instance=instance.replace("{rank}", str(rank))
    )
