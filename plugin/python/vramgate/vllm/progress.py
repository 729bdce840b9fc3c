"""How far the leases of one engine are, for its step reports: who emitted what, who has ended, whether anything runs.

    progress.began(request, ("leases/0000000100000001", 2))   # one of the two sequences of that lease
    progress.stepped()                                        # all outputs of the step are counted
    progress.finished(request, ("leases/0000000100000001", 2))

The gate takes a lease that has begun to emit for one token further with each step: only who is not is named.

Thread rule: the scheduler's thread. Costs a pass over the leases that run, when a report is due.
"""

from __future__ import annotations

from typing import Protocol

from vramgate.steps import StepReporter
from vramgate.values import Progress


class Sequence(Protocol):
    """As much of vLLM's Request as is looked at."""

    @property
    def request_id(self) -> str: ...
    @property
    def num_output_tokens(self) -> int: ...


class _Running:
    """A lease in the engine."""

    __slots__ = ("ended_tokens", "left", "running", "said_at", "said_tokens")

    def __init__(self, sequences: int) -> None:
        self.left = sequences  # that have not finished; 0: nobody knows how many there are
        self.running: dict[str, Sequence] = {}
        self.ended_tokens = 0  # the most of a sequence that has finished
        self.said_tokens = 0  # to the gate
        self.said_at = 0  # the step it was said at

    def tokens(self) -> int:
        most = self.ended_tokens
        for sequence in self.running.values():
            tokens = sequence.num_output_tokens
            if tokens > most:
                most = tokens
        return most


class EngineProgress:
    def __init__(self, reporter: StepReporter) -> None:
        self._reporter = reporter
        self._leases: dict[str, _Running] = {}
        self._others: set[str] = set()  # requests without a lease
        self._ended: list[Progress] = []  # to be said with the next report
        self._step = 0
        reporter.start()

    def began(self, sequence: Sequence, lease: tuple[str, int] | None) -> None:
        if not self._leases and not self._others:
            self._reporter.busy()
        if lease is None:
            self._others.add(sequence.request_id)
            return
        running = self._leases.get(lease[0])
        if running is None:
            running = self._leases[lease[0]] = _Running(lease[1])
        running.running[sequence.request_id] = sequence

    def finished(self, sequence: Sequence, lease: tuple[str, int] | None) -> None:
        self._others.discard(sequence.request_id)
        running = self._leases.get(lease[0]) if lease is not None else None
        if lease is not None and running is not None and running.running.pop(sequence.request_id, None) is not None:
            running.ended_tokens = max(running.ended_tokens, sequence.num_output_tokens)
            running.left -= 1
            if running.left == 0:
                self._ended.append(Progress(lease[0], running.ended_tokens))
            if running.left == 0 or (running.left < 0 and not running.running):
                del self._leases[lease[0]]
        if not self._leases and not self._others:
            self._reporter.idle(self._take_ended())

    def stepped(self) -> None:
        self._step += 1
        self._reporter.step()
        # An end is said before its client can hear of it: else the gate would have to guess how long the output was.
        if not self._reporter.ready(urgent=bool(self._ended)) or not (self._leases or self._others):
            return
        for name in self._reporter.take_lost():
            # Nobody is told of it any more; that it runs still counts.
            lost = self._leases.pop(name, None)
            if lost is not None:
                self._others.update(lost.running)
        self._reporter.tell(self._emitted(), self._take_ended())

    def stop(self) -> None:
        self._reporter.stop()

    def _emitted(self) -> list[Progress]:
        emitted = []
        for name, running in self._leases.items():
            tokens = running.tokens()
            as_assumed = running.said_tokens + self._step - running.said_at
            if tokens > 0 and (running.said_tokens == 0 or tokens != as_assumed):
                running.said_tokens, running.said_at = tokens, self._step
                emitted.append(Progress(name, tokens))
        return emitted

    def _take_ended(self) -> list[Progress]:
        ended, self._ended = self._ended, []
        return ended
