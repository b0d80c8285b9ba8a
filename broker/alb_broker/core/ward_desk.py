"""Takes how attempts ended to the rules of quarantine, and what those say to the workers and the log."""

from __future__ import annotations

from collections import deque
from typing import Final, TypeAlias

from alb_broker.core import retries
from alb_broker.core.likeness import alike_in_failing
from alb_broker.core.quarantine import QUICK_S, Ward
from alb_broker.core.state import State
from alb_broker.core.task import Task
from alb_broker.core.worker import Worker
from alb_core.notes import Level
from alb_core.quarantines import Quarantine
from alb_core.tasks import Cause, Outcome

TIDY_S: Final = 60.0
#: Between two looks for workers that are no more.
SUCCESSES_MAX: Final = 1000
#: That are kept for the case that something fails, the newest.
LIMITS: Final = frozenset({Cause.TIMED_OUT, Cause.OUT_OF_MEMORY, Cause.OVER_LIMIT})
#: A task that breaks one breaks it everywhere.

_Success: TypeAlias = tuple[Task, str, float]
#: Of which task, on which worker, and when, in cluster time.


class WardDesk:
    """Watches workers.

    While nobody is under suspicion, successes are only kept: they are looked at when something fails at once,
    to find out whether others of its like succeeded elsewhere.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._ward: Final = Ward()
        self._successes: Final[deque[_Success]] = deque(maxlen=SUCCESSES_MAX)  #: Not looked at yet.
        self._tidied_at = state.at  #: Own clock.

    def on_success(self, task: Task, worker: Worker, now: float) -> None:
        """An attempt came to its good end."""
        self._successes.append((task, worker.name, now))
        if not self._ward.trusts_all(now):
            self._catch_up()

    def _catch_up(self) -> None:
        """Look at the successes that were kept."""
        count = len(self._state.workers.by_name)
        for task, worker, at in self._successes:
            kin = alike_in_failing(task.array, task.user, task.spec)
            for name, quarantine in self._ward.on_success(worker, kin, at, count).items():
                self._set(name, quarantine)
        self._successes.clear()

    def on_other_end(self, task: Task, worker: Worker, outcome: Outcome, now: float) -> None:
        """An attempt came to another end: if it failed by itself, and at once, its worker may be why."""
        if not retries.failed(outcome) or outcome.wall_s > QUICK_S or outcome.cause in LIMITS:
            return
        self._catch_up()
        kin, count = alike_in_failing(task.array, task.user, task.spec), len(self._state.workers.by_name)
        for name, quarantine in self._ward.on_failure(worker.name, kin, task.id, now, count).items():
            self._set(name, quarantine)

    def tick(self) -> None:
        """Let out whose time is over."""
        for name in self._ward.over(self._state.now()):
            self._set(name, None)
        if self._state.at - self._tidied_at > TIDY_S:
            self._tidied_at = self._state.at
            self._catch_up()
            self._ward.forget(set(self._state.workers.by_name))

    def _set(self, name: str, quarantine: Quarantine | None) -> None:
        state = self._state
        if state.workers.quarantines.get(name) == quarantine:
            return
        state.workers.isolate(name, quarantine)
        if quarantine is None:
            state.note("worker_trusted", worker=name)
        else:
            state.counters["workers_quarantined"] += 1
            seconds = round(quarantine.until - state.now(), 1)
            state.note("worker_quarantined", Level.WARNING, worker=name, seconds=seconds, why=quarantine.why)
