"""Rows for the tests of the results store, and an ear for what its threads post."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from alb_broker.store.events import StoreEvent, StoreWritten
from alb_core.rows import FinishedTask, Increment, LoadSample, Output, PastAttempt, Work

E = TypeVar("E", bound=StoreEvent)
WITHIN_S: Final = 60.0


def output(task: str, offset: int = 0, data: bytes = b"x", **changes: Any) -> Output:
    """Return a piece of a stream."""
    fields = {"attempt": 1, "stream": "stdout"} | changes
    return Output(task=task, offset=offset, data=data, **fields)


def increment(task: str, seq: int = 1, key: str = "k", value: str = "1") -> Increment:
    """Return an increment."""
    return Increment(task=task, seq=seq, attempt=1, key=key, value=value, time=1.5)


def finished(task: str, **changes: Any) -> FinishedTask:
    """Return a finished task."""
    fields: dict[str, Any] = {
        "user": "ann",
        "name": "",
        "command": "true",
        "state": "SUCCEEDED",
        "exit_code": 0,
        "signal": None,
        "why": "",
        "worker": "w1",
        "attempt": 1,
        "crashes": 0,
        "submitted": 1795363200.25,
        "finished": 1795363201.5,
        "wall_s": 1.25,
        "cpu_s": 0.5,
        "memory_bytes": 1 << 40,
        "stdout_bytes": 1,
        "stderr_bytes": 0,
        "cpus": 0.5,
        "request_memory_bytes": 0,
        "request_net_bps": 0,
        "labels": "",
        "spec": '{"command":"true"}',
        "digest": "d",
    }
    return FinishedTask(task=task, **(fields | changes))


def attempt(task: str, n: int = 1, **changes: Any) -> PastAttempt:
    """Return an attempt that is over."""
    fields: dict[str, Any] = {
        "worker": "w1",
        "incarnation": "i",
        "epoch": 7,
        "placed": 1.0,
        "ended": 2.0,
        "cause": "exited",
        "exit_code": 0,
        "signal": None,
        "wall_s": 1.0,
        "cpu_s": 0.5,
        "memory_bytes": 4096,
        "policy": "least-loaded",
        "waited_s": 0.25,
        "candidates": 3,
        "ahead": True,
    }
    return PastAttempt(task=task, n=n, **(fields | changes))


def load(worker: str, when: float) -> LoadSample:
    """Return a load sample."""
    return LoadSample(
        worker=worker,
        time=when,
        cpu=0.1,
        memory=0.2,
        net=0.3,
        running=4,
        reserved_cpus=1.5,
        capacity_cpus=2.0,
        capacity_memory_bytes=1 << 33,
    )


def work(name: str, task: str) -> Work:
    """Return who did a work."""
    return Work(work=name, task=task)


class Ear:
    """Takes what a store's threads post."""

    def __init__(self) -> None:
        self.heard: Final[list[StoreEvent]] = []
        self._changed: Final = threading.Condition()

    def post(self, event: StoreEvent) -> None:
        """Take an event."""
        with self._changed:
            self.heard.append(event)
            self._changed.notify_all()

    def of(self, kind: type[E]) -> list[E]:
        """Return what was heard of a kind."""
        return [event for event in self.heard if isinstance(event, kind)]

    def tokens(self) -> list[int]:
        """Return the tokens that were acknowledged, in order."""
        return [token for event in self.of(StoreWritten) for token in event.tokens]

    def wait(self, condition: Callable[[], bool], within_s: float = WITHIN_S) -> None:
        """Wait until a condition holds, which only an event can make true."""
        deadline = time.monotonic() + within_s
        with self._changed:
            while not condition():
                left = deadline - time.monotonic()
                assert left > 0, f"not within {within_s} s; heard last: {self.heard[-3:]}"
                self._changed.wait(left)
