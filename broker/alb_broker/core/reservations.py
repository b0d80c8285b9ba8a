"""Workers that are set aside, so that small tasks do not starve a large one.

A head of the queue that finds no room for ``RESERVE_AFTER_S`` while others are placed past it gets a
*reservation*: the worker that would have room for it soonest. Nothing else is placed there but what does not
delay it (*backfill*): what surely ends before, by its time limit, or what leaves the room free that the head
needs. So the head starts once the attempts have ended that stood in its way when the reservation was made.

This is EASY backfilling (Lifka, "The ANL/IBM SP scheduling system", 1995; Mu'alem and Feitelson 2001), with
three differences: most run times are unknown here, so what has no time limit ends at an unknown moment; a
worker is set aside only after a wait, for that costs room; and where nobody knows when there will be room,
and others wait as well, a reservation *lapses*: what is in its way may never end, nor give way to this head.
Then the worker is anybody's for as long as it was set aside, and is set aside for twice as long the next
time. So the others have half of the time, and the head whatever time it takes. A reservation is known to
nobody but this leader, which promises nothing by it: the next one makes its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from alb_broker.core.queue import Key, Queue, WaitingGroup, key_of
from alb_broker.core.task import Task
from alb_core.messages import AttemptId
from alb_core.notes import Note
from alb_core.resources import Request, Room, fits

if TYPE_CHECKING:
    from alb_broker.core.workers import Worker, Workers

RESERVE_AFTER_S: Final = 10.0
#: A head that is overtaken for so long gets a reservation: most room comes free by itself in less, and a
#: worker that runs dry costs what others could have done there.
LOOK_EVERY_S: Final = 1.0
RESERVATIONS_MAX: Final = 4
WORKERS_EACH: Final = 4
#: Of so many workers one may be set aside, and one of fewer.
PLANS_MAX: Final = 200
#: Workers that are compared for one reservation: each costs a look at all of its attempts.
SLACK_S: Final = 5.0
#: From a placement to the start of its command (commit and order), and from a kill to the end.
LAPSE_S: Final = 600.0
#: So long a worker is set aside at first for what may never have room there, while others wait: long enough
#: for most commands without a time limit to end, as long as the queue lets anybody wait for a turn.
LAPSE_S_MAX: Final = 86_400.0
FOREVER: Final = float("inf")
RESERVED: Final = "reserved"  #: The worker was set aside for it.
BACKFILLED: Final = "backfilled"  #: It was set aside for somebody whom the task does not delay.


class Plan(NamedTuple):
    """How a worker would come to have room: when, and by which ends."""

    moment: float
    ends: int
    worker: Worker
    passing: set[str]


class Reservation:
    """One worker, set aside for the head of one group.

    Args:
        key: The group.
        plan: By whose end there will be room.
        made: Cluster time.
    """

    __slots__ = ("key", "made", "moment", "passing", "spare", "worker")

    def __init__(self, key: Key, plan: Plan, made: float) -> None:
        self.key: Final = key
        self.worker: Final = plan.worker
        self.made: Final = made
        self.moment = plan.moment  #: Cluster time by which there is room; infinite: nobody knows when.
        self.passing = plan.passing  #: Tasks on the worker that end before: in the way, or backfilled.
        self.spare = Room()  #: What others may have for as long as they like.

    def review(self, ends_of: Callable[[AttemptId], float], at: float) -> None:
        """Take stock of what is on the worker."""
        worker = self.worker
        present = {**worker.reserved, **worker.ahead}
        self.passing &= {attempt.task for attempt in present}
        ends = [ends_of(attempt) for attempt in present if attempt.task in self.passing]
        self.moment = min(self.moment, max(ends, default=at))
        self.spare = worker.emptied()
        self.spare.take(self.key[2])
        for attempt, request in present.items():
            if attempt.task not in self.passing:
                self.spare.take(request)

    def admits(self, request: Request, ends: float) -> bool:
        """Tell whether a task of others does not delay the head: it ends before, or leaves it room."""
        return self._ends_before(ends) or self.spare.holds(request)

    def _ends_before(self, ends: float) -> bool:
        return ends <= self.moment < FOREVER

    def take(self, task: Task, ends: float) -> None:
        """A task of others was placed there."""
        if self._ends_before(ends):
            self.passing.add(task.id)
        else:
            self.passing.discard(task.id)  # an earlier attempt of it may have been in the way
            self.spare.take(task.request)


class _Rest(NamedTuple):
    """A worker on which a reservation has lapsed."""

    until: float
    #: Cluster time: before that it is set aside for nobody who was overtaken.
    stands_s: float
    #: So long the next reservation there stands.


class Reservations:
    """All reservations, by group: a few."""

    def __init__(self) -> None:
        self.by_key: dict[Key, Reservation] = {}
        self.notes: list[Note] = []  #: What is to be logged; taken by the caller.
        self.made = 0  #: Of this reign.
        self.backfilled = 0  #: Tasks of others that were placed on a worker that is set aside.
        self._rests: dict[str, _Rest] = {}  #: By worker; until a reservation there comes true.
        self._looked = float("-inf")  #: Cluster time of the newest look.

    # --- in a placement pass --------------------------------------------------------------------------------

    def favour(self, task: Task, ends: float) -> bool:
        """Tell whether a task may find room where others of its size do not."""
        return ends < FOREVER or key_of(task) in self.by_key

    def allowed(self, found: list[Worker], task: Task, ends: float) -> list[Worker]:
        """Return those of some workers on which a task may be placed.

        Args:
            found: Workers with room for it.
            task: What is to be placed.
            ends: Cluster time by which it surely ends.
        """
        if not self.by_key:
            return found
        key = key_of(task)
        return [
            worker
            for worker in found
            if worker.booked is None or worker.booked.key == key or worker.booked.admits(task.request, ends)
        ]

    def part(self, task: Task, worker: Worker) -> str:
        """Return what part reservations have in a placement: `RESERVED`, `BACKFILLED`, or empty: none."""
        if worker.booked is None:
            return ""
        return RESERVED if worker.booked.key == key_of(task) else BACKFILLED

    def on_placed(self, task: Task, worker: Worker, workers: Workers, ends: float) -> None:
        """A task was placed: what was set aside for it is anybody's; what is set aside for others is less."""
        if not self.by_key:
            return
        own = self.by_key.get(key_of(task))
        if own is not None:
            self._drop(own, workers)
            if own.worker is worker:
                self._rests.pop(worker.name, None)
        if worker.booked is not None:
            worker.booked.take(task, ends)
            self.backfilled += 1

    def book(self, head: Task, plan: Plan, workers: Workers, at: float) -> bool:
        """Set aside for a head a worker on which tasks are ended for it, in place of what both had.

        Returns:
            Whether it is: there are as many as may be.
        """
        key, worker = key_of(head), plan.worker
        before = {old.key: old for old in (self.by_key.get(key), worker.booked) if old is not None}
        if len(self.by_key) - len(before) >= RESERVATIONS_MAX:
            return False
        for old in before.values():
            self._drop(old, workers)
        self.by_key[key] = worker.booked = Reservation(key, plan, at)
        self.made += 1
        return True

    def _drop(self, reservation: Reservation, workers: Workers) -> None:
        del self.by_key[reservation.key]
        reservation.worker.booked = None
        workers.grew(reservation.worker)

    # --- now and then ---------------------------------------------------------------------------------------

    def look(  # noqa: PLR0913 (what may be set aside, for whom)
        self,
        queue: Queue,
        workers: Workers,
        share: Callable[[str], float],
        ends_of: Callable[[AttemptId], float],
        at: float,
        *,
        admits: Callable[[Task, Worker], bool] = lambda _task, _worker: True,
    ) -> None:
        """Give up what nobody needs, take stock of the rest, and make what is needed.

        Args:
            queue: Who waits.
            workers: Which may be set aside.
            share: What a user has.
            ends_of: Cluster time by which an attempt surely ends; infinite: nobody knows.
            at: Cluster time.
            admits: Tells whether a worker will admit a task once it has room for it.
        """
        if at - self._looked < LOOK_EVERY_S:
            return
        self._looked = at
        for reservation in list(self.by_key.values()):
            if not _stands(reservation, queue, workers, admits):
                self._drop(reservation, workers)
            elif self._lapses(reservation, queue, at):
                self._lapse(reservation, queue, workers, at)
            else:
                reservation.review(ends_of, at)
                workers.grew(reservation.worker)  # what is spared there may be more than it was
        for name in [name for name in self._rests if name not in workers.by_name]:
            del self._rests[name]
        most = max(1, min(RESERVATIONS_MAX, len(workers.by_name) // WORKERS_EACH))
        for group in queue.starved(at - RESERVE_AFTER_S, share, at):
            if len(self.by_key) >= most:
                return
            if group.key not in self.by_key:
                self._reserve(
                    group, [worker for worker in workers if admits(group.tasks[0], worker)], ends_of, at
                )

    def _lapses(self, reservation: Reservation, queue: Queue, at: float) -> bool:
        """Tell whether a reservation has stood for long, nobody knows for how long still, and others wait."""
        if at < reservation.moment < FOREVER:
            return False
        worker = reservation.worker
        rest = self._rests.get(worker.name)
        since = at - (LAPSE_S if rest is None else rest.stands_s)
        return reservation.made <= since and any(
            fits(request, worker.capacity) for request in queue.requests_since(since, reservation.key)
        )

    def _lapse(self, reservation: Reservation, queue: Queue, workers: Workers, at: float) -> None:
        """Let others have a worker for as long as it was set aside; its head is one of them."""
        self._drop(reservation, workers)
        stood_s = at - reservation.made
        self._rests[reservation.worker.name] = _Rest(at + stood_s, min(2 * stood_s, LAPSE_S_MAX))
        queue.overtake_anew(reservation.key, at)
        fields = {"worker": reservation.worker.name, "user": reservation.key[0], "stood_s": round(stood_s, 3)}
        self.notes.append(Note("reservation_lapsed", fields))

    def _may_be_set_aside(self, worker: Worker, at: float) -> bool:
        rest = self._rests.get(worker.name)
        return worker.placeable and worker.booked is None and (rest is None or rest.until <= at)

    def _reserve(
        self, group: WaitingGroup, workers: list[Worker], ends_of: Callable[[AttemptId], float], at: float
    ) -> None:
        request = group.key[2]
        able = [
            worker
            for worker in workers
            if self._may_be_set_aside(worker, at) and fits(request, worker.capacity)
        ]
        step = max(1, len(able) // PLANS_MAX)  # begins elsewhere each time, or some were never looked at
        plans = [_plan(worker, request, ends_of, at) for worker in able[self.made % step :: step]]
        best = min(plans, key=lambda plan: (plan.moment, plan.ends, plan.worker.name), default=None)
        if best is None:
            return
        reservation = Reservation(group.key, best, at)
        self.by_key[group.key] = best.worker.booked = reservation
        reservation.review(ends_of, at)
        self.made += 1
        head = group.tasks[0].id
        fields = {"worker": best.worker.name, "task": head, "user": group.key[0], "ends": best.ends}
        self.notes.append(Note("worker_reserved", fields))


def _plan(worker: Worker, request: Request, ends_of: Callable[[AttemptId], float], at: float) -> Plan:
    """Return how a worker, which could run the request if it were empty, would come to have room for it."""
    present = {**worker.reserved, **worker.ahead}
    # What ends soonest goes first; of what nobody knows, what frees most: the fewest ends are the likeliest.
    order = sorted((ends_of(attempt), -wants.cpus, attempt) for attempt, wants in present.items())
    room = worker.emptied()
    for wants in present.values():
        room.take(wants)
    moment, passing = at, set[str]()
    for ends, _, attempt in order:
        if room.holds(request):
            break
        room.give_back(present[attempt])
        passing.add(attempt.task)
        moment = max(moment, ends)
    return Plan(moment, len(passing), worker, passing)


def _stands(
    reservation: Reservation, queue: Queue, workers: Workers, admits: Callable[[Task, Worker], bool]
) -> bool:
    """Tell whether a reservation still has a head that waits, and a worker that will have room for it."""
    worker, group = reservation.worker, queue.group(reservation.key)
    head = group.head() if group is not None else None
    return (
        head is not None
        and admits(head, worker)
        and workers.by_name.get(worker.name) is worker
        and worker.placeable
        and fits(reservation.key[2], worker.capacity)
    )


def sure_end(task: Task, placed: float, default_s: float | None) -> float:
    """Return the cluster time by which an attempt surely ends; infinite: nobody knows.

    Args:
        task: Whose attempt it is.
        placed: When it is, or was, placed.
        default_s: The time limit of tasks that name none; None: there is none.
    """
    spec = task.effective
    limit_s = default_s if spec.time_limit_s is None else spec.time_limit_s
    if limit_s is None or spec.luggage:  # its time does not count before its files are there
        return FOREVER
    return placed + limit_s + spec.grace_s + SLACK_S
