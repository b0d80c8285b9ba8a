"""Workers that are set aside, so that small tasks do not starve a large one.

A head of the queue that finds no room for ``RESERVE_AFTER_S`` while others are placed past it gets a
*reservation*: the worker that would have room for it soonest. Nothing else is placed there but what does not
delay it (*backfill*): what surely ends before, by its time limit, or what leaves the room free that the head
needs. So the head starts once the attempts have ended that stood in its way when the reservation was made.

This is EASY backfilling (Lifka, "The ANL/IBM SP scheduling system", 1995; Mu'alem and Feitelson 2001), with
three differences: most run times are unknown here, so what has no time limit ends at an unknown moment; a
worker is set aside only after a wait, for that costs room; and no worker is set aside for good. Where nobody
knows when something ends, what has run for long is likely to run for long: it is waited for last, and where
that is in vain, the reservation moves. Where others wait as well, it *lapses* in the end: what is in its way
may never end, nor give way to this head. Then the worker is anybody's for as long as it was set aside, and is
set aside for twice as long the next time. So the others have half of the time, and the head whatever time it
takes. For a load that is measured nobody can wait: it may be somebody else's, and stay.

A reservation is known to nobody but this leader, which promises nothing by it: the next one makes its own.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log2
from typing import TYPE_CHECKING, Final, NamedTuple

from alb_broker.core.groups import Key, WaitingGroup, key_of
from alb_broker.core.queue import Queue
from alb_broker.core.task import Task
from alb_core.messages import AttemptId
from alb_core.notes import Note
from alb_core.resources import Request, Room, fits

if TYPE_CHECKING:
    from alb_broker.core.shares import Shares
    from alb_broker.core.worker import Worker
    from alb_broker.core.workers import Workers

RESERVE_AFTER_S: Final = 10.0
#: A head that is overtaken for so long gets a reservation: most room comes free by itself in less, and a
#: worker that runs dry costs what others could have done there.
LOOK_EVERY_S: Final = 1.0
RESERVATIONS_MAX: Final = 4
WORKERS_EACH: Final = 8
#: Of so many workers one may be set aside, and one of fewer: of half as many, a backlog in which somebody is
#: always overtaken takes a twentieth longer (docs/benchmarks.md).
PLANS_MAX: Final = 200
#: Workers that are compared for one reservation: each costs a look at all of its attempts.
SLACK_S: Final = 5.0
#: From a placement to the start of its command (commit and order), and from a kill to the end.
MOVE_AFTER_S: Final = 60.0
#: So long a reservation waits for what ends nobody knows when; then it moves to where less is to be waited
#: for. Twice as long with each move: in the end longer than whatever ends at all.
LAPSE_S: Final = 600.0
#: So long workers are set aside at first for what may never have room there, while others wait: long enough
#: for most commands without a time limit to end, as long as the queue lets anybody wait for a turn.
LAPSE_S_MAX: Final = 86_400.0
AGE_S: Final = 60.0
#: Below this age nothing tells which of two ends first; beyond, each doubling does.
LOAD_SETTLES_S: Final = 10.0
#: So long a worker that has the room is kept for who heeds its load: what ended is measured for a while yet.
RESTS_S: Final = 60.0
#: If the load is still too high then, its user gets no reservation for such a task for so long, and twice as
#: long with each time: all of them together take ever less of what others could do there.
FOREVER: Final = float("inf")
RESERVED: Final = "reserved"  #: The worker was set aside for it.
BACKFILLED: Final = "backfilled"  #: It was set aside for somebody whom the task does not delay.


class Times(NamedTuple):
    """What is known of when attempts begin and end, in cluster time."""

    at: float
    #: Now.
    placed_of: Callable[[AttemptId], float]
    ends_of: Callable[[AttemptId], float]
    #: By when an attempt surely ends; infinite: nobody knows.

    def age(self, attempt: AttemptId) -> int:
        """Return how old an attempt is, as far as that tells when it ends."""
        return int(log2(1.0 + max(0.0, self.at - self.placed_of(attempt)) / AGE_S))


class Plan(NamedTuple):
    """How a worker would come to have room: when, and by which ends."""

    moment: float
    ends: int
    worker: Worker
    passing: set[str]
    age: int = 0
    #: Of the oldest of what ends nobody knows when (`Times.age`).

    @property
    def cost(self) -> tuple[float, int, int, str]:
        """What of two plans is less for the better one."""
        return self.moment, self.age, self.ends, self.worker.name


class Reservation:
    """One worker, set aside for the head of one group.

    Args:
        key: The group.
        plan: By whose end there will be room.
        made: Cluster time.
        after: The one for the same head that waited in vain before.
    """

    __slots__ = ("begun", "key", "made", "moment", "moves", "passing", "roomy", "spare", "worker")

    def __init__(self, key: Key, plan: Plan, made: float, after: Reservation | None = None) -> None:
        self.key: Final = key
        self.worker: Final = plan.worker
        self.made: Final = made
        self.begun: float = made if after is None else after.begun  #: Since then it has been waited for.
        self.moves: int = 0 if after is None else after.moves + 1
        self.moment = plan.moment  #: Cluster time by which there is room; infinite: nobody knows when.
        self.passing = plan.passing  #: Tasks on the worker that end before: in the way, or backfilled.
        self.spare = Room()  #: What others may have for as long as they like.
        self.roomy = FOREVER  #: Cluster time, since when the worker has the room; infinite: it has not.

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
        has_room = not worker.ahead and worker.room.holds(self.key[2])
        self.roomy = min(self.roomy, at) if has_room else FOREVER

    def loaded(self, at: float) -> bool:
        """Tell whether the room has been there for long, and only the load that is measured is too high."""
        return self.key[2].measured and at - self.roomy > LOAD_SETTLES_S

    def in_vain(self, at: float) -> bool:
        """Tell whether it has waited long enough for what ends nobody knows when."""
        waits = self.moment == FOREVER and bool(self.passing) and not self.worker.preempted
        return waits and at - self.made > MOVE_AFTER_S * 2.0**self.moves

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
        self._looked = float("-inf")  #: Cluster time of the newest look.
        self._rests: dict[str, _Rest] = {}  #: By worker; until a reservation there comes true.
        self._loaded: dict[str, tuple[float, float]] = {}
        #: By user: until when none is made for what heeds loads (cluster time), and how long that is.

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
            self._loaded.pop(task.user, None)
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

    def look(
        self,
        queue: Queue,
        workers: Workers,
        shares: Shares,
        times: Times,
        *,
        admits: Callable[[Task, Worker], bool] = lambda _task, _worker: True,
    ) -> None:
        """Give up what nobody needs, take stock of the rest, and make what is needed.

        Args:
            queue: Who waits.
            workers: Which may be set aside.
            shares: What users have, and may have.
            times: When attempts begin and end.
            admits: Tells whether a worker will admit a task once it has room for it.
        """
        at = times.at
        if at - self._looked < LOOK_EVERY_S:
            return
        self._looked = at

        def reserve(group: WaitingGroup, after: Reservation | None = None) -> None:
            able = [worker for worker in workers if admits(group.tasks[0], worker)]
            self._reserve(group, able, times, after)

        for reservation in list(self.by_key.values()):
            group = queue.group(reservation.key)
            if group is None or not _stands(reservation, queue, workers, shares, admits):
                self._drop(reservation, workers)
            elif self._is_to_move(reservation, queue, workers, shares, times):
                self._drop(reservation, workers)
                reserve(group, reservation)
        for name in [name for name in self._rests if name not in workers.by_name]:
            del self._rests[name]
        most = max(1, min(RESERVATIONS_MAX, len(workers.by_name) // WORKERS_EACH))
        for group in queue.starved(at - RESERVE_AFTER_S, shares.share, at):
            if len(self.by_key) >= most:
                return
            if group.key not in self.by_key and self._may_have_one(group, shares, at):
                reserve(group)

    def _is_to_move(
        self, reservation: Reservation, queue: Queue, workers: Workers, shares: Shares, times: Times
    ) -> bool:
        """Take stock of one that stands, or give it up; tells whether its head had better wait elsewhere."""
        at = times.at
        if self._lapses(reservation, queue, shares, at):
            self._lapse(reservation, queue, workers, at)
            return False
        reservation.review(times.ends_of, at)
        workers.grew(reservation.worker)  # what is spared there may be more than it was
        if reservation.loaded(at):
            self._drop(reservation, workers)
            self._give_up_loaded(reservation.key[0], at)
            return False
        return reservation.in_vain(at)

    def _lapses(self, reservation: Reservation, queue: Queue, shares: Shares, at: float) -> bool:
        """Tell whether a head has been waited for long, nobody knows for how long still, and others wait."""
        if at < reservation.moment < FOREVER:
            return False
        worker = reservation.worker
        rest = self._rests.get(worker.name)
        since = at - (LAPSE_S if rest is None else rest.stands_s)
        return reservation.begun <= since and any(
            fits(request, worker.capacity) and shares.allows(user, request)
            for user, _, request, _ in queue.roomless_since(since, reservation.key)
        )

    def _lapse(self, reservation: Reservation, queue: Queue, workers: Workers, at: float) -> None:
        """Let others have a worker for as long as it was set aside; its head is one of them."""
        self._drop(reservation, workers)
        stood_s = at - reservation.begun
        self._rests[reservation.worker.name] = _Rest(at + stood_s, min(2 * stood_s, LAPSE_S_MAX))
        queue.overtake_anew(reservation.key, at)
        fields = {"worker": reservation.worker.name, "user": reservation.key[0], "stood_s": round(stood_s, 3)}
        self.notes.append(Note("reservation_lapsed", fields))

    def _may_be_set_aside(self, worker: Worker, at: float) -> bool:
        rest = self._rests.get(worker.name)
        return worker.placeable and worker.booked is None and (rest is None or rest.until <= at)

    def _give_up_loaded(self, user: str, at: float) -> None:
        """A worker had room for a user's task in vain: let others have it, for longer than the last time."""
        self._loaded = {
            name: (until, rest_s) for name, (until, rest_s) in self._loaded.items() if at < until + rest_s
        }
        rest_s = 2 * self._loaded[user][1] if user in self._loaded else RESTS_S
        self._loaded[user] = (at + rest_s, rest_s)

    def _may_have_one(self, group: WaitingGroup, shares: Shares, at: float) -> bool:
        """Tell whether a reservation could help a group: room is what its head lacks."""
        user, _, request, _ = group.key
        rests = request.measured and user in self._loaded and at < self._loaded[user][0]
        return not rests and shares.allows(user, request)

    def _reserve(
        self, group: WaitingGroup, workers: list[Worker], times: Times, after: Reservation | None
    ) -> None:
        request = group.key[2]
        able = [
            worker
            for worker in workers
            if self._may_be_set_aside(worker, times.at) and fits(request, worker.capacity)
        ]
        step = max(1, len(able) // PLANS_MAX)  # begins elsewhere each time, or some were never looked at
        plans = [_plan(worker, request, times) for worker in able[self.made % step :: step]]
        if request.measured:  # where nothing has to end, the load is what lacks
            plans = [plan for plan in plans if plan.ends]
        best = min(plans, key=lambda plan: plan.cost, default=None)
        if best is None:
            return
        reservation = Reservation(group.key, best, times.at, after)
        self.by_key[group.key] = best.worker.booked = reservation
        reservation.review(times.ends_of, times.at)
        self.made += 1
        head = group.tasks[0].id
        fields = {"worker": best.worker.name, "task": head, "user": group.key[0], "ends": best.ends}
        self.notes.append(Note("worker_reserved", fields))


def _plan(worker: Worker, request: Request, times: Times) -> Plan:
    """Return how a worker, which could run the request if it were empty, would come to have room for it."""
    present = {**worker.reserved, **worker.ahead}
    # What ends soonest goes first; of what nobody knows, the youngest, and of those what frees most: the
    # fewest ends are the likeliest.
    order = sorted(
        (ends, times.age(attempt) if ends == FOREVER else 0, -wants.cpus, attempt)
        for attempt, wants in present.items()
        for ends in (times.ends_of(attempt),)
    )
    room = worker.emptied()
    for wants in present.values():
        room.take(wants)
    moment, passing, oldest = times.at, set[str](), 0
    for ends, age, _, attempt in order:
        if room.holds(request):
            break
        room.give_back(present[attempt])
        passing.add(attempt.task)
        moment, oldest = max(moment, ends), max(oldest, age)
    return Plan(moment, len(passing), worker, passing, oldest)


def _stands(
    reservation: Reservation,
    queue: Queue,
    workers: Workers,
    shares: Shares,
    admits: Callable[[Task, Worker], bool],
) -> bool:
    """Tell whether a reservation still has a head that may have room, and a worker that will have it."""
    worker, group = reservation.worker, queue.group(reservation.key)
    head = group.head() if group is not None else None
    return (
        head is not None
        and shares.allows(head.user, head.request)
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
