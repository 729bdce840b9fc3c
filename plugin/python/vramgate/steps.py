"""Tells the gate what an engine's steps did, from a thread of its own: the engine never waits for it.

    reporter = StepReporter(target, model="m", instance="a")
    reporter.start()
    reporter.step()                                  # after each step of the engine,
    if reporter.ready():                             # and now and then,
        reporter.tell(emitted, ended)                # how far everybody is: said with all steps so far
    reporter.idle(ended)                             # nothing runs

One report is under way at a time, for 8 steps or a tenth of a second; what happens meanwhile is said together with the
next: a report after each step would cost a fast engine a fifth of its output, since it shares the interpreter's lock
and the processor. The gate reserves `steps.lookahead_tokens` ahead meanwhile. An idle engine says so, and again every
half second. A connection that breaks is made again.

Thread rule: all methods from one thread (the engine's scheduler). Lifetime rule: its thread is a daemon; stop() ends
it.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterable, Sequence

from vramgate import _wire
from vramgate.aio import socket_path
from vramgate.values import Progress, StepAnswer

HEARTBEAT_S = 0.5
_ANSWER_WITHIN_S = 10.0
_PAUSE_S = 0.2
_REPORT_STEPS = 8
_REPORT_S = 0.1
_STREAM = 1
_READ_BYTES = 1 << 16
# Of ended leases that nobody could be told of; the gate bounds a message to 100,000.
_MOST_ENDED = 50_000

_log = logging.getLogger("vramgate")


class _Gone(Exception):
    """The connection, or the gate's patience with this stream, is over."""


class StepReporter:
    def __init__(self, target: str, *, model: str, instance: str) -> None:
        self._path = socket_path(target)
        self._model = model
        self._instance = instance
        self._wake = threading.Condition()
        # Under _wake; _steps, _said_at, _ready and _lost are peeked at without it:
        self._steps = 0  # since the last report
        self._said_at = 0.0  # the last report
        self._told = False  # there is something to say
        self._emitted: Sequence[Progress] = ()
        self._ended: list[Progress] = []
        self._idle = True
        self._ready = False
        self._stopping = False
        self._lost: list[str] = []
        self._thread = threading.Thread(target=self._run, name="vramgate-steps", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def step(self) -> None:
        with self._wake:
            self._steps += 1

    def ready(self, *, urgent: bool = False) -> bool:
        """Whether a report is due, at once where it is urgent, and what is told now would be said at once."""
        if not self._ready:
            return False
        return urgent or self._steps >= _REPORT_STEPS or time.monotonic() - self._said_at >= _REPORT_S

    def tell(self, emitted: Sequence[Progress], ended: Iterable[Progress]) -> None:
        """Something runs, and this is how far it is after the steps so far."""
        with self._wake:
            self._idle = False
            self._told = True
            self._emitted = emitted
            self._add_ended(ended)
            self._wake.notify()

    def idle(self, ended: Iterable[Progress]) -> None:
        """Nothing runs any more."""
        with self._wake:
            self._idle = True
            self._told = True
            self._emitted = ()
            self._add_ended(ended)
            self._wake.notify()

    def busy(self) -> None:
        """Something is about to run: no word that the engine is idle after this."""
        with self._wake:
            self._idle = False

    def take_lost(self) -> list[str]:
        """Leases that the gate does not know, since last asked: not worth another word."""
        if not self._lost:
            return []
        with self._wake:
            lost, self._lost = self._lost, []
        return lost

    def _add_ended(self, ended: Iterable[Progress]) -> None:
        self._ended += ended
        del self._ended[:-_MOST_ENDED]

    # --- The thread ---

    def _run(self) -> None:
        said = False
        while not self._stopping:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                    connection.settimeout(_ANSWER_WITHIN_S)
                    connection.connect(self._path)
                    _log.info("step reports of %s/%s go to unix:%s", self._model, self._instance, self._path)
                    said = False
                    self._talk(connection)
            except (OSError, _Gone, _wire.ProtocolError) as error:
                if not said:
                    _log.warning("no step reports to unix:%s (%s): trying again", self._path, error)
                said = True
            with self._wake:
                self._ready = False
                if not self._stopping:
                    self._wake.wait(_PAUSE_S)
                self._steps = 0  # a gate that has not heard of them counts from now

    def _talk(self, connection: socket.socket) -> None:
        decoder = _wire.FrameDecoder()
        while True:
            frame = self._next_frame()
            if frame is None:
                return
            if not frame:
                continue
            connection.sendall(frame)
            answer = self._answer(connection, decoder)
            if answer.lost:
                with self._wake:
                    self._lost += answer.lost

    def _next_frame(self) -> bytes | None:
        """What is to be said next; nothing yet: empty; None: nothing ever again."""
        with self._wake:
            if not self._told and not self._stopping:
                self._ready = True
                self._wake.wait(HEARTBEAT_S)
                self._ready = False
            if self._stopping:
                return None
            # Steps 0 means that the engine is idle: it is not said while something runs.
            if not self._idle and not (self._told and self._steps > 0):
                self._told = False
                return b""
            steps, emitted, ended = self._steps, self._emitted, self._ended
            self._steps, self._emitted, self._ended = 0, (), []
            self._said_at = time.monotonic()
            # Idle, and so many steps until then: the first is said after the second.
            self._told = self._idle and steps > 0
        return _wire.steps_frame(
            _STREAM, model=self._model, instance=self._instance, steps=steps, ended=ended, emitted=emitted
        )

    def _answer(self, connection: socket.socket, decoder: _wire.FrameDecoder) -> StepAnswer:
        while True:
            data = connection.recv(_READ_BYTES)
            if not data:
                raise _Gone("closed by the sidecar")
            for _, message in decoder.feed(data):
                if isinstance(message, StepAnswer):
                    return message
                raise _Gone(str(getattr(message, "refusal", message)))
