"""Copies: a straggler that may run twice is run a second time on another worker, where room is idle.

A copy is an attempt like any other: in the table before its worker hears of it, adopted by the next leader,
and given back what it reserves when its processes are gone. The first success is the result; whoever else
runs then is killed. The rules of the choice are those of LATE:

* what ends farthest in the future is copied first, and only what is slower than most of its siblings
  (``stragglers.py``);
* only on a worker that is not slow, and only where the copy would still be sooner, by a margin;
* on a bounded part of all processors at once, one of a task, and only where nothing waits that could use the
  room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

from alb_broker.core.book import Book
from alb_broker.core.siblings import percentile
from alb_broker.core.state import State
from alb_broker.core.stragglers import Straggler, speed_of
from alb_broker.core.task import Task
from alb_broker.core.worker import Worker
from alb_core.resources import EPSILON, Request, fits
from alb_core.vectors import may_copy

LOOK_EVERY_S: Final = 0.5
#: Workers tell of progress once a second.
AGE_MIN_S: Final = 1.0
#: What runs for less long is not judged: most of that is starting.
WORTH: Final = 1.2
#: An attempt that lags must be about to take so many times as long as its copy would.
COPIES_MAX: Final = 3
#: Of one task, one after the other, where copies are lost or fail.
CANDIDATES: Final = 16
#: Workers that are compared for one copy.
TRIES_MAX: Final = 32
#: Stragglers for which a worker is sought in one look.
HEADS_MAX: Final = 64
#: Of groups that wait. With more, something waits for every worker.


class Copies:
    """Makes copies.

    Args:
        state: The reign's parts.
        book: Carries them out.
    """

    def __init__(self, state: State, book: Book) -> None:
        self._state: Final = state
        self._book: Final = book
        self._looked_at = state.at  #: Own clock.
        self._learnt = False  #: What was over before this reign was taken note of.

    def tick(self) -> None:
        """Look for stragglers, and copy those that had better be."""
        state = self._state
        if state.at - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = state.at
        self._learn()
        stragglers = state.stragglers
        stragglers.tidy(state.workers)
        if not stragglers.watched:
            return
        copied = self.running(stragglers.watched.values())
        left = self.cpus_max - cpus_of(copied)
        if not stragglers.node.enabled or (copied and left <= EPSILON):
            return
        waiting = [head.request for head in islice(state.queue.unplaced(), HEADS_MAX + 1)]
        if len(waiting) > HEADS_MAX or not any(_is_idle(worker, waiting) for worker in state.workers):
            return
        found, paces = stragglers.look(state.workers, state.now(), state.runs_since)
        tried = [each for each in found if self._may_copy(each)][:TRIES_MAX]
        if tried:
            floor = self._floor(paces)
            for straggler in tried:
                wants = straggler.task.request.cpus
                within = wants <= left + EPSILON or not copied  # one there may be, however large it is
                if within and self._copy(straggler, waiting, paces, floor):
                    copied.append(straggler.task)
                    left -= wants

    def _learn(self) -> None:
        """Once the records of finished tasks are in memory, after a takeover: learn from them."""
        state = self._state
        if not self._learnt and state.recollected:
            self._learnt = True
            for done in state.table.done.values():
                if done.record is not None and done.finished < state.clock.claimed:
                    state.stragglers.learn(done.record, state.workers)

    @property
    def cpus_max(self) -> float:
        """How many processors copies may reserve together, unless there is only one."""
        cpus = sum(worker.capacity.cpus for worker in self._state.workers if worker.link)
        return self._state.stragglers.node.share * cpus

    def running(self, tasks: Iterable[Task]) -> list[Task]:
        """Return those of some tasks that run twice: a copy whose original is over is one no more."""
        return [task for task in tasks if len(task.attempts) > 1 and len(task.live()) > 1]

    def _may_copy(self, straggler: Straggler) -> bool:
        """Tell whether a task may have one more copy now.

        Not one whose increments are stored: they are numbered within the task and go on from attempt to
        attempt, so they cannot come from two at once. Nor one for which resources count more than time.
        """
        state, task = self._state, straggler.task
        if task.cancel or (task.incremental and state.store.enabled):
            return False
        if not may_copy(task.request.optimize or state.placer.vector):
            return False
        old = state.now() - straggler.attempt.placed >= AGE_MIN_S
        copies = sum(bool(attempt.copy_of) for attempt in task.attempts)
        return old and copies < COPIES_MAX and state.shares.allows(task.user, task.request)

    def _floor(self, paces: Mapping[str, float]) -> float:
        """Return what a worker must do a second to be given copies."""
        state = self._state
        known = [_pace(worker, paces) for worker in state.workers if worker.placeable]
        return percentile(known, state.stragglers.node.slow_workers) if known else 0.0

    def _copy(
        self, straggler: Straggler, waiting: list[Request], paces: Mapping[str, float], floor: float
    ) -> bool:
        """Copy one, if there is a worker for it; returns whether it was."""
        task, state = straggler.task, self._state
        been = {attempt.worker for attempt in task.attempts}
        able = [
            worker
            for worker in state.workers.candidates(task.request, CANDIDATES)
            if worker.name not in been
            and _is_idle(worker, waiting)
            and state.admits(task, worker)
            and _pace(worker, paces) >= floor
            and straggler.left_s > WORTH * straggler.work / _pace(worker, paces)
        ]
        if not able:
            return False
        best = max(able, key=lambda worker: (_pace(worker, paces), worker.name))
        self._book.copy(task, best, straggler.attempt.n, len(able), state.at)
        return True


def cpus_of(copied: Iterable[Task]) -> float:
    """Return the processors that copies reserve, one of each of these tasks."""
    return sum(task.request.cpus for task in copied)


def _pace(worker: Worker, paces: Mapping[str, float]) -> float:
    """Return what a worker does a second: as seen of late, else as its speed promises."""
    return paces.get(worker.name, speed_of(worker))


def _is_idle(worker: Worker, waiting: list[Request]) -> bool:
    """Tell whether a worker has room that nobody who waits could use, now or when more of it comes free."""
    return (
        worker.placeable
        and worker.booked is None
        and not worker.ahead
        and worker.room.cpus > EPSILON
        and not any(fits(request, worker.capacity) for request in waiting)
    )
