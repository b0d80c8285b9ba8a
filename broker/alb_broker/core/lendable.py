"""What could be lent on each worker: the processors of what has run for a quantum, to whom it gives way.

One look lasts for a tick. What runs on a worker is sorted once in it, and once is looked up what each user
holds; a user of whom nothing can give way to a head costs one step on a worker, however many attempts he has
there. Who gives way to whom is said in ``demotions.py``, which carries it out.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from heapq import merge
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from alb_broker.core.groups import Key, key_of
from alb_broker.core.likeness import alike_in_yielding
from alb_core.messages import AttemptId
from alb_core.resources import EPSILON, Request, fits
from alb_core.tasks import LIVE, RUNNING

if TYPE_CHECKING:
    from alb_broker.core.state import State
    from alb_broker.core.task import Task
    from alb_broker.core.worker import Worker
    from alb_core.config import BrokerConfig
    from alb_core.resources import Room


def is_on(config: BrokerConfig) -> bool:
    """Tell whether anything gives way at all."""
    return config.quantum_s > 0 and config.max_demoted > 0


class Waiting:
    """Who waits, and what is asked of it again and again.

    Args:
        state: The reign's parts.
        task: The head of a group.
    """

    __slots__ = ("endless", "key", "kin", "presses", "rest", "task")

    def __init__(self, state: State, task: Task) -> None:
        self.task: Final = task
        self.key: Final[Key] = key_of(task)
        self.kin: Final = alike_in_yielding(task)
        self.rest: Final[Request] = task.request.without_cpus()
        self.endless: Final = state.is_endless(task)
        self.presses: Final = state.shares.cpus(task.user, endless=self.endless)
        #: Processors, over his weight: its user presses nobody who would be left with less.


class Old(NamedTuple):
    """An attempt that has run for a quantum."""

    since: float
    #: Cluster time.
    id: AttemptId
    cpus: float
    task: Task
    endless: bool
    #: Nothing limits its time.


class _Held:
    """What one user has of that on one worker, the oldest first."""

    __slots__ = ("_kins", "_unlike", "attempts", "least")

    def __init__(self, attempts: list[Old]) -> None:
        self.attempts: Final = attempts
        self.least: Final = min(each.cpus for each in attempts)  #: The fewest processors of one.
        self._kins: list[str] = []  #: Of each, once somebody asked.
        self._unlike: dict[str, list[Old]] = {}

    def unlike(self, kin: str) -> list[Old]:
        """Return those that are not of this kin."""
        found = self._unlike.get(kin)
        if found is None:
            self._kins = self._kins or [alike_in_yielding(each.task) for each in self.attempts]
            found = [each for each, its in zip(self.attempts, self._kins, strict=True) if its != kin]
            self._unlike[kin] = found
        return found


class _There:
    """All that has run for a quantum on one worker."""

    __slots__ = ("by_user", "cpus")

    def __init__(self, attempts: Iterable[Old]) -> None:
        by_user: dict[str, list[Old]] = {}
        self.cpus = 0.0
        for each in sorted(attempts, key=attrgetter("since")):
            by_user.setdefault(each.task.user, []).append(each)
            self.cpus += each.cpus
        self.by_user: Final = {user: _Held(attempts) for user, attempts in by_user.items()}


class Lendable:
    """What could give way, as one tick finds it.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._is_on: Final = is_on(state.config)
        self._there: Final[dict[str, _There]] = {}  #: By worker, of those that were asked for.
        self._holds: Final[dict[str, float]] = {}  #: Processors over his weight, by user.
        self._weights: Final[dict[str, float]] = {}
        self.steps = 0  #: Workers, users and attempts that were held against heads.

    def holds(self, user: str) -> float:
        """Return the processors that a user holds and did not give to others, over his weight."""
        found = self._holds.get(user)
        if found is None:
            found = self._holds[user] = self._state.shares.cpus(user)
            self._weights[user] = self._state.shares.weight(user)
        return found

    def close(self, worker: Worker, gave_way: Iterable[Old]) -> None:
        """Something gave way on a worker: what is free there now is spoken for, and its users hold less."""
        self._there[worker.name] = _There(())
        for each in gave_way:
            self._holds.pop(each.task.user, None)

    def enough(
        self, who: Waiting, worker: Worker, room: Room | None = None, ended: Container[AttemptId] = ()
    ) -> list[Old]:
        """Return what would have to give way on a worker so that a task fits; empty: nothing can help.

        Args:
            who: Has the task.
            worker: The worker.
            room: That there will be when attempts have ended; None: what is free.
            ended: These attempts: they give nothing.
        """
        self.steps += 1
        request, room = who.task.request, worker.room if room is None else room
        missing = request.cpus - room.cpus
        if missing <= EPSILON or not (room.holds(who.rest) and fits(request, worker.capacity)):
            return []
        reserved = worker.capacity.cpus - room.cpus
        if not (
            self._is_on and worker.placeable and not worker.ahead and self._admits(who, worker, reserved)
        ):
            return []
        there = self._look(worker)
        if there.cpus < missing - EPSILON:
            return []
        set_aside = worker.booked is not None and worker.booked.key == who.key
        given = dict.fromkeys(there.by_user, 0.0)
        chosen: list[Old] = []
        total = 0.0
        spent: set[str] = set()  # users of whom no more may be taken
        for each in self._in_order(who, there, spent, set_aside=set_aside):
            self.steps += 1
            user = each.task.user
            takes = set_aside or user == who.task.user or self._may_press(who, user, given[user] + each.cpus)
            if takes and each.id not in ended and self._is_borne(each, worker, total, reserved):
                chosen.append(each)
                given[user] += each.cpus
                total += each.cpus
                if total >= missing - EPSILON:
                    return chosen
                least = given[user] + there.by_user[user].least
                if not (set_aside or user == who.task.user or self._may_press(who, user, least)):
                    spent.add(user)
        return []

    # --- what has run long ----------------------------------------------------------------------------------

    def _look(self, worker: Worker) -> _There:
        there = self._there.get(worker.name)
        if there is None:
            there = self._there[worker.name] = _There(self._old(worker))
        return there

    def _old(self, worker: Worker) -> Iterator[Old]:
        """Yield the attempts of a worker that have run for a quantum and hold processors."""
        state = self._state
        due = state.now() - state.config.quantum_s
        for attempt_id, request in worker.reserved.items():
            if request.cpus <= EPSILON or attempt_id in worker.killing or attempt_id in worker.unconfirmed:
                continue
            task = state.table.live.get(attempt_id.task)
            attempt = task.attempt(attempt_id.n) if task is not None else None
            if task is None or attempt is None or task.state is not RUNNING:
                continue
            since = state.runs_since(worker, attempt_id, attempt.placed)
            if attempt.state is LIVE and since <= due:
                endless = state.runs_endless(task, attempt.placed)
                yield Old(since, attempt_id, task.request.cpus, task, endless)

    # --- who gives way --------------------------------------------------------------------------------------

    def _in_order(
        self, who: Waiting, there: _There, spent: Container[str], *, set_aside: bool
    ) -> Iterator[Old]:
        """Yield what may give way: of who holds the most first, then one's own, then what has run longest."""
        streams: list[Iterator[Old]] = []
        for user, held in there.by_user.items():
            self.steps += 1
            if user == who.task.user:
                streams.append(iter(held.unlike(who.kin)))
            elif set_aside or self._may_press(who, user, held.least):
                streams.append(_until_spent(held.attempts, user, spent))
        return merge(
            *streams,
            key=lambda each: (-self.holds(each.task.user), each.task.user != who.task.user, each.since),
        )

    def _may_press(self, who: Waiting, user: str, cpus: float) -> bool:
        """Tell whether a user who gives so many processors is left with as many as who waits, at least."""
        return self.holds(user) - cpus / self._weights[user] >= who.presses - EPSILON

    def _admits(self, who: Waiting, worker: Worker, reserved: float) -> bool:
        """Tell whether a task may go to a worker on which so much is reserved: it could give way later."""
        return not who.endless or worker.burden.admits(
            who.task.user,
            who.task.request.cpus,
            reserved=reserved,
            capacity=worker.capacity.cpus,
            per_cpu=self._state.config.max_demoted,
        )

    def _is_borne(self, each: Old, worker: Worker, given: float, reserved: float) -> bool:
        """Tell whether a worker bears one more that is demoted, beside others that are about to be."""
        return worker.burden.bears(
            each.cpus + given,
            endless=each.endless,
            reserved=reserved,
            capacity=worker.capacity.cpus,
            per_cpu=self._state.config.max_demoted,
        )


def _until_spent(attempts: list[Old], user: str, spent: Container[str]) -> Iterator[Old]:
    for each in attempts:
        if user in spent:
            return
        yield each
