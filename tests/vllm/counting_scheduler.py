"""vLLM's scheduler, counting what it schedules: the benchmark's `--scheduler-cls`.

Writes steps, tokens scheduled, preemptions and the largest use of the KV pool to the file $VRAMGATE_COUNTS, whenever
nothing is left to run and every 50 steps. A reader resets the peak by removing the file.
"""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler


class CountingScheduler(AsyncScheduler):  # type: ignore[misc]
    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._counts = {"steps": 0, "scheduled_tokens": 0, "preemptions": 0, "pool_peak": 0.0}
        self._file = pathlib.Path(os.environ["VRAMGATE_COUNTS"])

    def _preempt_request(self, *arguments: Any, **more: Any) -> Any:
        self._counts["preemptions"] += 1
        return super()._preempt_request(*arguments, **more)

    def schedule(self, *arguments: Any, **more: Any) -> Any:
        output = super().schedule(*arguments, **more)
        counts = self._counts
        counts["steps"] += 1
        counts["scheduled_tokens"] += output.total_num_scheduled_tokens
        counts["pool_peak"] = max(counts["pool_peak"], self.kv_cache_manager.usage)
        if counts["steps"] % 50 == 0 or not self.running:
            if not self._file.exists():
                counts["pool_peak"] = self.kv_cache_manager.usage
            part = self._file.with_suffix(".part")
            part.write_text(json.dumps(counts))
            part.rename(self._file)
        return output
