"""Takes run times to the rules of correction, and what those say to the workers and the log."""

from __future__ import annotations

from collections import deque
from typing import Final, TypeAlias

from alb_broker.core.corrections import Corrections, counts
from alb_broker.core.likeness import alike_in_work
from alb_broker.core.state import State
from alb_broker.core.task import Task
from alb_broker.core.worker import Worker
from alb_core.speeds import Strain, grade
from alb_core.tasks import Outcome

CORRECT_S: Final = 10.0
#: Between two corrections: each lets all workers stand anew in all searches.
RUNS_MAX: Final = 1000
#: Of these, looked at in one correction, the newest: where more end meanwhile, they tell enough.

_Run: TypeAlias = tuple[Task, str, float, float]
#: Of which task, on which worker, its end in cluster time, and how many seconds it took.


class SpeedDesk:
    """Watches how long commands run.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._corrections: Final = Corrections()
        self._runs: Final[deque[_Run]] = deque(maxlen=RUNS_MAX)  #: That ended well since the last correction.
        self._corrected_at = state.at  #: Own clock.

    def on_success(self, task: Task, worker: Worker, outcome: Outcome, now: float) -> None:
        """An attempt came to its good end; what goes on from somewhere did only a part of the work."""
        if counts(outcome.wall_s, outcome.cpu_s) and not task.incremental:
            self._runs.append((task, worker.name, now, outcome.wall_s))

    def tick(self) -> None:
        """Correct what workers say of their speed, where that changes anything."""
        state = self._state
        if state.at - self._corrected_at < CORRECT_S:
            return
        self._corrected_at = state.at
        self._learn()
        before = state.workers.corrections
        if not self._corrections.changed and not before:
            return
        factors = self._corrections.factors(self._said, state.now())
        changed = [
            name
            for name in sorted(factors.keys() | before.keys())
            if grade(factors.get(name, 1.0)) != grade(before.get(name, 1.0))
        ]
        if changed:
            state.workers.correct(factors)
        for name in changed:
            state.note("worker_speed_corrected", worker=name, correction=round(factors.get(name, 1.0), 3))

    def _learn(self) -> None:
        for task, worker, at, wall_s in self._runs:
            kin = alike_in_work(task.array, task.user, task.spec, task.request)
            self._corrections.add(kin, worker, at, wall_s)
        self._runs.clear()

    def _said(self, name: str, strain: Strain | None) -> float | None:
        worker = self._state.workers.by_name.get(name)
        return None if worker is None else worker.capacity.speed_in(strain)
