"""Demotion: who has run for a quantum gives its processors to those who wait, and runs on with the rest.

Nothing is killed, and nothing happens while nobody waits. The heads of the queue that find no room are looked
at with each tick; for each, on one worker, the fewest attempts give way that let it fit: those of the user
with the largest share first, then those that have run longest. An attempt gives way to users with a smaller
share, and to its own user's other work; never to its like (its array, or the same program of its user), which
would gain nothing by it: of a batch of long commands the first would stand still for the last. On a worker
that is set aside for a task every other user gives way to it, for it was overtaken for long.

What a user has demoted counts for his place in the queue as before: else it would be his own next command
that gets the processor, again and again. Who gives way is decided by the processors that he holds, over his
weight, whatever else he has: they are what changes hands, and the memory of what is demoted must not be what
keeps its user's next command from them. Nor must his own endless commands elsewhere, where what waits may not
fit: for a task with a time limit only what ends by itself counts against its user.

The mark of demotion is in the table before its worker hears of it, like everything that placement relies
on. It stays until the attempt is over: where nobody else wants the processors, the lowest weight gets all.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from alb_broker.core.book import Book
from alb_broker.core.heads import Heads
from alb_broker.core.likeness import alike_in_yielding
from alb_broker.core.queue import key_of
from alb_broker.core.state import State
from alb_broker.core.task import Task
from alb_broker.core.workers import Worker
from alb_core.messages import AttemptId
from alb_core.resources import EPSILON, fits
from alb_core.tasks import AttemptState, TaskState

WORKERS_MAX: Final = 200
ATTEMPTS_MAX: Final = 4000
#: Looked at in one tick, in turns, and one worker at least: the search must not cost what it gives.
FEASIBLE_MAX: Final = 16
#: Workers on which a task could have room made, compared before one is taken.


class _Old(NamedTuple):
    """An attempt that has run for a quantum."""

    share: float
    #: Of its user, negated: the largest goes first.
    since: float
    #: Cluster time.
    id: AttemptId
    task: Task


class Demotions:
    """Looks for those who may have to give way.

    Args:
        state: The reign's parts.
        book: Carries demotions out.
    """

    def __init__(self, state: State, book: Book) -> None:
        self._state: Final = state
        self._book: Final = book
        self._heads: Final = Heads(state)
        self._start = self._end = 0  #: The workers that are looked at, by their number.
        self._round = 0  #: Of the heads, in which these are looked at: each head is held against each worker.

    @property
    def _is_on(self) -> bool:
        config = self._state.config
        return config.quantum_s > 0 and config.max_demoted > 0

    def tick(self) -> None:
        """Make room for those who wait, if somebody has had its quantum."""
        state = self._state
        state.workers.forget_crowds()
        heads = self._heads.take() if self._is_on else []
        if not heads:
            return
        old = self._looked_at()
        for head in heads:
            if not old:
                return
            found = self._choose(head, old)
            if found is not None:
                worker, giving_way = found
                for each in giving_way:
                    self._book.demote(each.task, worker, each.id, head, state.at)
                del old[worker]  # what is free there now is the head's

    # --- who waits, and who has run long --------------------------------------------------------------------

    def _looked_at(self) -> dict[Worker, list[_Old]]:
        """Return what has run for a quantum on the workers whose turn it is to be looked at."""
        workers = list(self._state.workers)
        if self._round != self._heads.rounds:
            self._round = self._heads.rounds
            self._start = self._end if self._end < len(workers) else 0
        found: dict[Worker, list[_Old]] = {}
        looked = 0
        self._end = self._start
        for worker in workers[self._start : self._start + WORKERS_MAX]:
            if looked >= ATTEMPTS_MAX:
                break
            self._end += 1
            looked += len(worker.reserved)
            there = list(self._old(worker))
            if there:
                found[worker] = there
        return found

    def _old(self, worker: Worker) -> Iterator[_Old]:
        """Yield the attempts of a worker that have run for a quantum and hold processors."""
        state = self._state
        if not worker.placeable or worker.ahead:
            return
        due = state.now() - state.config.quantum_s
        for attempt_id, request in worker.reserved.items():
            if request.cpus <= EPSILON or attempt_id in worker.killing or attempt_id in worker.unconfirmed:
                continue
            task = state.table.live.get(attempt_id.task)
            attempt = task.attempt(attempt_id.n) if task is not None else None
            if task is None or attempt is None or task.state is not TaskState.RUNNING:
                continue
            since = attempt.placed
            if attempt_id in worker.begun:  # it waited there for its room
                since = state.clock.time(worker.begun[attempt_id])
            if attempt.state is AttemptState.LIVE and since <= due:
                yield _Old(-state.shares.cpus(task.user), since, attempt_id, task)

    # --- who gives way --------------------------------------------------------------------------------------

    def _choose(self, head: Task, old: dict[Worker, list[_Old]]) -> tuple[Worker, list[_Old]] | None:
        """Choose the worker, and what gives way there."""
        feasible = (
            (found, worker) for worker, there in old.items() if (found := self._enough(head, worker, there))
        )
        best = min(islice(feasible, FEASIBLE_MAX), key=lambda pair: pair[0][0][:2], default=None)
        return None if best is None else (best[1], best[0])

    def _enough(self, head: Task, worker: Worker, there: list[_Old]) -> list[_Old]:
        """Return what would have to give way on a worker so that a task fits; empty: nothing can help."""
        state, request = self._state, head.request
        if not (fits(request, worker.capacity) and worker.room.holds(request.without_cpus())):
            return []
        if not state.admits(head, worker) or not _is_open_to(worker, head):
            return []
        missing = request.cpus - worker.room.cpus
        chosen: list[_Old] = []
        given = dict.fromkeys((each.task.user for each in there), 0.0)
        waiting, set_aside = self._counts_against(head), worker.booked is not None
        for each in sorted(there, key=lambda each: (each.share, each.task.user != head.user, each.since)):
            if missing <= EPSILON:
                break
            user, cpus = each.task.user, each.task.request.cpus
            if user == head.user:
                gives_way = alike_in_yielding(each.task) != alike_in_yielding(head)
            else:
                left = -each.share - (given[user] + cpus) / state.shares.weight(user)
                gives_way = set_aside or left >= waiting - EPSILON
            if gives_way and self._is_borne(each.task, worker, sum(given.values())):
                chosen.append(each)
                given[user] += cpus
                missing -= cpus
        return chosen if missing <= EPSILON else []

    def _counts_against(self, head: Task) -> float:
        """Return the processors, over his weight, that keep a head's user from pressing others."""
        endless = self._state.is_endless(head) or self._state.limits.time_limit_s is not None
        return self._state.shares.cpus(head.user, endless=endless)

    def _is_borne(self, task: Task, worker: Worker, given: float) -> bool:
        """Tell whether a worker bears one more that is demoted, beside others that are about to be."""
        state = self._state
        return worker.burden.bears(
            task.request.cpus + given,
            endless=state.is_endless(task),
            reserved=worker.capacity.cpus - worker.room.cpus,
            capacity=worker.capacity.cpus,
            per_cpu=state.config.max_demoted,
        )


def _is_open_to(worker: Worker, head: Task) -> bool:
    """Tell whether what comes free on a worker may be a task's: it is not set aside for others, nor measured.

    What is demoted runs on and is measured as before: who heeds that finds no more room than it had.
    """
    booked = worker.booked is None or worker.booked.key == key_of(head)
    return booked and (not head.request.measured or worker.load.leaves(head.request, worker.capacity))
