"""Preemption: what agreed to it is ended, to run again later, where somebody waits for its memory.

Memory cannot be lent as processors can (`Demotions`): what runs keeps it until it ends. So tasks may say that
they are *preemptible*. A head of the queue that finds no room for want of memory may have attempts of such
tasks ended, on one worker, as few as are needed; among equal numbers those that lose least. It may take from
tasks of a lower *rank* only. A rank is a priority, and within it who is not preemptible stands above who is.
Of a lower priority it takes at once; within its own only when it was overtaken for long (it has a
reservation), from who has run for a quantum.

Ranks never change, and an attempt is ended for a strictly higher one only: so no two tasks, and no circle of
them, ever end each other. No task is ended more than ``PREEMPTIONS_MAX`` times. What is ended goes back to
its place in the queue, and the worker is set aside for whom it was ended, lest somebody else has the room.

Before all others, and for anybody, copies are ended: their tasks run all the same, and there was to be a copy
only where nobody wanted the room. A task has few of them in all, so this ends, too.

Where what has to end for the memory does not have the processors, too, others may give way then (`Lendable`):
so much is ended as the memory takes, and once it is free `Demotions` finds the worker set aside for the task,
and does the rest by its own rule. That it could is looked at before anything ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeAlias

from alb_broker.core.decisions import Lent
from alb_broker.core.heads import Heads
from alb_broker.core.lendable import Lendable, Waiting
from alb_broker.core.lots import Lots
from alb_broker.core.reservations import SLACK_S, Plan
from alb_broker.core.state import State
from alb_broker.core.task import Task
from alb_broker.core.worker import Worker
from alb_core import limits
from alb_core.messages import AttemptId, Kill
from alb_core.resources import Request, Room, fits
from alb_core.spec import OnLost
from alb_core.tasks import AttemptState, TaskState

STEPS_MAX: Final = 8000
#: Of one tick, and one head at least: workers and attempts that are held against heads, a microsecond each.
LENT_TRIES_MAX: Final = 8
#: For one head on one worker: each may be a look at all that runs there.

Rank: TypeAlias = tuple[int, bool]


class _Victim(NamedTuple):
    """An attempt that may be ended for somebody."""

    spare: bool
    #: Another attempt of its task runs, which it is a copy of.
    memory_bytes: int
    since: float
    #: Cluster time, since when it runs; infinite: its files are on their way.
    id: AttemptId
    request: Request
    task: Task


class _Stock:
    """What one tick finds on a worker: its room once all has ended that is about to, and what might end."""

    __slots__ = ("room", "victims")

    def __init__(self, room: Room, victims: list[_Victim]) -> None:
        self.room: Final = room
        self.victims: Final = victims
        #: Copies first; then the largest first, of equals the youngest, which loses least.


class _Ends(NamedTuple):
    """What has to end on a worker so that a task fits; nothing: it fits without."""

    victims: list[_Victim]
    lent: bool = False
    #: Others have to give way then, too.


class Preemptions:
    """Looks for what may have to end.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._heads: Final = Heads(state)
        self._lots: Final = Lots(self._heads)
        self._stocks: dict[str, _Stock] = {}  #: Of this tick, by worker.
        self._lendable = Lendable(state)  #: As this tick finds it.
        self._steps = 0  #: Of this tick, besides those that it counts itself.

    def tick(self) -> None:
        """Make room for those who wait for memory, if somebody who agreed to it has that."""
        workers = self._workers()
        if not workers:
            return
        self._stocks, self._lendable, self._steps = {}, Lendable(self._state), 0
        heads = sorted(self._heads.take(), key=lambda head: -head.spec.priority)
        for number, head in enumerate(heads):
            if self._steps + self._lendable.steps >= STEPS_MAX:
                self._heads.put_back(heads[number:])
                break
            if head.request.memory_bytes and not head.request.measured:
                self._make_room(Waiting(self._state, head), workers)
        self._stocks, self._lendable = {}, Lendable(self._state)

    def _workers(self) -> list[Worker]:
        """Return workers that hold what is preemptible, and forget those that do not any more."""
        yielding = self._state.workers.yielding
        for name in [name for name, worker in yielding.items() if not worker.preemptible]:
            del yielding[name]
        return self._lots.take(yielding.values(), len(yielding))

    def _make_room(self, who: Waiting, workers: list[Worker]) -> None:
        state, booked = self._state, self._state.placer.reservations
        own = booked.by_key.get(who.key)
        if own is not None and self._will_do(who, own.worker):
            return  # what ends there, and gives way then, is enough
        found = [
            (worker, ends)
            for worker in workers
            if (ends := self._enough(who, worker, waited=own is not None)) is not None
        ]
        best = min(found, key=lambda pair: (*self._price(pair[1]), pair[0].name), default=None)
        if best is None or not best[1].victims:
            return
        worker, (victims, _) = best
        moment = state.now() + SLACK_S + max(each.task.spec.grace_s for each in victims)
        plan = Plan(moment, len(victims), worker, {each.id.task for each in victims})
        if booked.book(who.task, plan, state.workers, state.now()):
            for each in victims:
                self._end(each, worker, who.task)
            del self._stocks[worker.name]

    def _price(self, ends: _Ends) -> tuple[int, int, bool, float]:
        """Return what ends cost: how many, whether others give way besides, and how much work is lost.

        What runs twice counts less than anything that does not.
        """
        now = self._state.now()
        only = sum(not each.spare for each in ends.victims)
        lost_s = sum(max(0.0, now - each.since) for each in ends.victims)
        return only, len(ends.victims), ends.lent, lost_s

    def _will_do(self, who: Waiting, worker: Worker) -> bool:
        """Tell whether a task will fit on a worker though nothing more is ended."""
        room = self._stock(worker).room
        return room.holds(who.task.request) or bool(self._lendable.enough(who, worker, room))

    def _enough(self, who: Waiting, worker: Worker, *, waited: bool) -> _Ends | None:
        """Return what would have to end on a worker so that a task fits; None: nothing can help.

        Args:
            who: Has the task.
            worker: The worker.
            waited: It was overtaken for long.
        """
        self._steps += 1
        head, other = who.task, worker.booked
        is_ours = other is None or other.key == who.key
        is_open = is_ours or (other is not None and other.key[1] < head.spec.priority)
        if not (is_open and worker.placeable and not worker.ahead and fits(head.request, worker.capacity)):
            return None
        if self._will_do(who, worker):  # where that is set aside for a lower priority, it is no help at all
            return _Ends([]) if is_ours else None
        room = self._stock(worker).room
        if head.request.memory_bytes <= room.memory_bytes or not self._state.would_admit(head, worker):
            return None
        return self._choose(who, worker, self._judge(head, waited=waited))

    def _choose(self, who: Waiting, worker: Worker, may_end: Callable[[_Victim], bool]) -> _Ends | None:
        """Choose what ends on a worker: until there is room, or nothing lacks but what can be lent."""
        stock, request = self._stock(worker), who.task.request
        room, chosen, tries = stock.room.copy(), list[_Victim](), 0
        for victim in stock.victims:
            self._steps += 1
            if not may_end(victim):
                continue
            room.give_back(victim.request)
            chosen.append(victim)
            if room.holds(request):
                return _Ends(_needed(chosen, room, request))
            if tries < LENT_TRIES_MAX and room.holds(who.rest):
                tries += 1
                then = room.copy()
                fewest = _needed(chosen, then, who.rest) if tries == 1 else list(chosen)
                if self._lendable.enough(who, worker, then, {each.id for each in fewest}):
                    return _Ends(fewest, lent=True)
        return None

    def _judge(self, head: Task, *, waited: bool) -> Callable[[_Victim], bool]:
        """Return what tells whether an attempt may be ended for a task; arguments as for `_enough`."""
        priority, rank = head.spec.priority, rank_of(head)
        due = self._state.now() - self._state.config.quantum_s

        def may_end(victim: _Victim) -> bool:
            if victim.spare:
                return True
            lower = victim.task.spec.priority < priority
            return lower or (waited and rank_of(victim.task) < rank and victim.since <= due)

        return may_end

    def _stock(self, worker: Worker) -> _Stock:
        stock = self._stocks.get(worker.name)
        if stock is None:
            victims = sorted(self._victims(worker), reverse=True)
            stock = self._stocks[worker.name] = _Stock(_left(worker), victims)
        return stock

    def _victims(self, worker: Worker) -> Iterator[_Victim]:
        """Yield what agreed to be ended on a worker, or is a copy, and has memory."""
        table = self._state.table
        for attempt_id in worker.preemptible - worker.killing.keys():
            task, request = table.live.get(attempt_id.task), worker.reserved.get(attempt_id)
            attempt = task.attempt(attempt_id.n) if task is not None else None
            if task is None or attempt is None or request is None or not request.memory_bytes:
                continue
            spare = bool(attempt.copy_of) and len(task.live()) > 1
            if attempt.state is AttemptState.LIVE and (spare or is_preemptible(task)):
                since = self._state.runs_since(worker, attempt_id, attempt.placed)
                yield _Victim(spare, request.memory_bytes, since, attempt_id, request, task)

    def _end(self, victim: _Victim, worker: Worker, head: Task) -> None:
        """Order an end; the order is repeated like any other."""
        state = self._state
        worker.order_end(victim.id, state.at)
        worker.preempted.add(victim.id)
        state.decisions.note_lent(victim.id, Lent(worker.name, head.id, whole=True))
        state.counters["preemptions_ordered"] += 1
        state.note(
            "attempt_preempted",
            task=victim.id.task,
            attempt=victim.id.n,
            worker=worker.name,
            waiting=head.id,
        )
        state.ledger.say(state.worker(worker.peer, Kill(attempt=victim.id, why="preempted")))


def rank_of(task: Task) -> Rank:
    """Return where a task stands in who may end whom."""
    return task.spec.priority, not task.spec.preemptible


def is_preemptible(task: Task) -> bool:
    """Tell whether a running task may be ended for others: it agreed, may run again, and did not often."""
    spec = task.spec
    agreed = spec.preemptible and spec.on_lost is OnLost.RERUN
    return agreed and task.state is TaskState.RUNNING and task.preemptions < limits.PREEMPTIONS_MAX


def _left(worker: Worker) -> Room:
    """Return the room on a worker once everything has ended that is about to."""
    room = worker.emptied()
    for attempt, request in worker.reserved.items():
        if attempt not in worker.killing:
            room.take(request)
    return room


def _needed(chosen: list[_Victim], room: Room, request: Request) -> list[_Victim]:
    """Return those of some attempts without which there is no room: the last may make others needless."""
    needed = list(chosen)
    for victim in chosen:
        room.take(victim.request)
        if room.holds(request):
            needed.remove(victim)
        else:
            room.give_back(victim.request)
    return needed
