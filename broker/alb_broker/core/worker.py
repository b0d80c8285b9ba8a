"""One worker as the leader knows it: what is reserved there, what waits there, and whether it may get more.

Whatever changes what a worker holds goes through here, so the room that is left is always right. And so is
whether tasks may be placed there: that is kept, for it is asked far more often than it changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from alb_broker.core.burden import Burden
from alb_broker.policies import Candidate
from alb_core import limits
from alb_core.drains import Drain
from alb_core.messages import AttemptId, AttemptUse, WorkerLine
from alb_core.quarantines import Quarantine
from alb_core.resources import EPSILON, Capacity, Load, Request, Room, fits
from alb_core.speeds import Strain

if TYPE_CHECKING:
    from alb_broker.core.reservations import Reservation


BEGUN: Final = float("inf")
#: When an attempt is asked back that its worker says has begun.


def _condition(name: str) -> property:
    """Return a field on which it depends whether tasks are placed on a worker: judged anew by each change."""
    slot = f"_{name}"

    def put(worker: Worker, value: object) -> None:
        setattr(worker, slot, value)
        worker.judge()

    return property(attrgetter(slot), put)


class Worker:
    """One incarnation of one worker."""

    __slots__ = (
        "_correction",
        "_drain",
        "_known",
        "_leaving",
        "_link",
        "_load",
        "_quarantine",
        "_session",
        "ahead",
        "allowance",
        "begun",
        "booked",
        "burden",
        "capacity",
        "demoting",
        "ended",
        "exited",
        "foreign",
        "heard",
        "incarnation",
        "killing",
        "launching",
        "name",
        "peer",
        "placeable",
        "portrait",
        "preempted",
        "preemptible",
        "quick",
        "reserved",
        "revoked",
        "room",
        "silent_since",
        "turn",
        "turned",
        "unconfirmed",
        "uses",
    )

    session = _condition("session")  #: Its node was read with this incarnation.
    link = _condition("link")  #: It registered with this leader and is heard.
    known = _condition("known")  #: It is one of the leader's: not replaced, not lost.
    leaving = _condition("leaving")  #: It said that it stops.
    drain = _condition("drain")  #: Why it is given nothing new (a `Drain`); None: it is.
    load = _condition("load")  #: As last measured.
    correction = _condition("correction")  #: By which it is faster than it says, as run times tell.
    quarantine = _condition("quarantine")  #: The same of a `Quarantine`, for tasks fail on it.

    def __init__(self, name: str, incarnation: str, at: float) -> None:
        self.name: Final = name
        self.incarnation: Final = incarnation
        self.peer = b""  #: Its address on the workers' link; empty before it registered.
        self.capacity = Capacity(cpus=0, memory_bytes=0)
        self.heard = at  #: Own clock, when it was last heard.
        self.silent_since = at  #: Own clock, since when session or link is missing.
        self.room: Final = Room()  #: What is free.
        self.booked: Reservation | None = None  #: It is set aside for somebody.
        self.reserved: dict[AttemptId, Request] = {}  #: Attempts whose processes may live on it.
        self.uses: dict[AttemptId, AttemptUse] = {}  #: What they were seen to use last.
        self.ahead: dict[AttemptId, Request] = {}  #: Attempts that wait there for room, in their order.
        self.exited: set[AttemptId] = set()  #: Attempts that are over, but for what must be stored of them.
        self.begun: dict[AttemptId, float] = {}
        #: Own clock, since when an attempt runs that did not when it was placed: it had waited ahead for its
        #: room, or its files had to come.
        self.launching: set[AttemptId] = set()  #: Attempts whose files are on their way: they do not run yet.
        self.allowance = 0  #: How many it may hold ahead.
        self.ended = 0  #: Attempts that ended on it since its pace was taken.
        self.turn = 0  #: The number of the newest placement on it.
        self.turned = Request()  #: What the newest of them had reserved.
        self.burden: Final = Burden()  #: Attempts of `reserved` that are demoted.
        self.demoting: dict[AttemptId, float] = {}  #: Demote was sent then (own clock), and not answered.
        self.preemptible: set[AttemptId] = set()  #: Of what it holds, what may be ended for others' memory.
        self.preempted: set[AttemptId] = set()  #: Of `killing`, what ends for that.
        self.foreign: set[AttemptId] = set()
        #: Attempts that it holds and the table does not know; nothing is placed until they are gone.
        self.unconfirmed: dict[AttemptId, float] = {}  #: Run was sent then (own clock), and not answered.
        self.killing: dict[AttemptId, float] = {}  #: Kill was sent then (own clock), and not answered.
        self.revoked: dict[AttemptId, float] = {}
        #: Revoke was sent then (own clock), and not answered; or `BEGUN`.
        self._session = self._link = self._leaving = False
        self._known = True
        self._load = Load()
        self._correction = 1.0
        self._drain: Drain | None = None
        self._quarantine: Quarantine | None = None
        self.portrait: Candidate | None = None  #: What policies see of it; None: something changed.
        self.placeable = False  #: Tasks may be placed on it: kept by `judge`, for it is asked at each look.
        self.quick = False  #: It is among those that are looked at for what may wait on a worker.

    def judge(self) -> None:
        """Judge anew whether tasks may be placed on it: something changed on which that depends."""
        self.portrait = None
        self.placeable = (
            self._session
            and self._link
            and self._known
            and not self._leaving
            and self._drain is None
            and self._quarantine is None
            and not self.foreign
        )

    def draw(self) -> Candidate:
        """Return what policies see of it for most tasks, and keep that until something changes."""
        portrait = self.portrait = self.drawn(0, self.capacity.speed * self._correction)
        return portrait

    def drawn(self, preferred: int, speed: float) -> Candidate:
        """Return what a policy sees of it.

        Args:
            preferred: How much it has of what the task prefers.
            speed: In what the task strains.
        """
        room = self.room
        return Candidate(
            self.name,
            self.capacity,
            room.cpus,
            room.memory_bytes,
            room.net_bps,
            self._load,
            len(self.reserved) + len(self.ahead),
            self.turn,
            preferred,
            speed,
        )

    def take_turn(self, number: int) -> None:
        """Note the number of a placement on it."""
        self.turn = number
        self.portrait = None

    def bar(self, attempt: AttemptId) -> None:
        """It holds an attempt that is none of its own: nothing is placed on it until that is gone."""
        self.foreign.add(attempt)
        self.judge()

    def unbar(self, attempt: AttemptId) -> None:
        """It holds no such attempt any more, or that is its own after all."""
        self.foreign.discard(attempt)
        self.judge()

    @property
    def has_room(self) -> bool:
        """Whether some task could be placed on it, ahead or at once: every task needs processors."""
        return (self.room.cpus > EPSILON or self.may_get_ahead) and self.placeable

    @property
    def may_get_ahead(self) -> bool:
        """Whether it may hold more ahead than it does."""
        return self.booked is None and len(self.ahead) < self.allowance

    def fits(self, request: Request) -> bool:
        """Tell whether the request fits into what is free; behind what waits there, nothing is."""
        room = self.room  # `Room.holds`, without a call: asked more often than anything else
        return (
            request.cpus <= room.cpus + EPSILON
            and request.memory_bytes <= room.memory_bytes
            and request.net_bps <= room.net_bps
            and not self.ahead
            and (not request.counts or room.holds(request))
            and (not (request.labels or request.archs) or request.suits(self.capacity))
            and (not request.measured or self.load.leaves(request, self.capacity))
        )

    def fits_ahead(self, request: Request) -> bool:
        """Tell whether the worker may be given the request ahead of its room.

        Only what asks for no more than what comes free there in one piece: something larger would wait for
        several ends at once, perhaps in vain, and hold up what is behind it. And nothing where the next room
        is set aside for somebody.
        """
        return self.may_get_ahead and not request.exceeds(self.turned) and fits(request, self.capacity)

    def holds(self, attempt: AttemptId) -> bool:
        """Tell whether an attempt was given to this worker and may still be there."""
        return attempt in self.reserved or attempt in self.ahead or attempt in self.exited

    def attempts(self) -> list[AttemptId]:
        """Return all attempts that it holds, in an order that hashes have no part in."""
        return [*self.reserved, *self.ahead, *sorted(self.exited)]

    def reserve(self, attempt: AttemptId, request: Request) -> None:
        """Set the request aside for an attempt, or let it wait ahead; a second time changes nothing."""
        if attempt in self.reserved or attempt in self.ahead or attempt in self.exited:
            return
        self.portrait = None
        if not self.ahead and self.room.holds(request):
            self.reserved[attempt] = request
            self.room.take(request)
        else:
            self.ahead[attempt] = request
            self._advance(waited=False)

    def _advance(self, *, waited: bool = True) -> None:
        """Give room to what waits, in order, as the worker does."""
        while self.ahead:
            attempt, request = next(iter(self.ahead.items()))
            if not self.room.holds(request):
                return
            self.portrait = None
            del self.ahead[attempt]
            self.reserved[attempt] = request
            self.room.take(request)
            if waited:
                self.begun[attempt] = self.heard

    def begin(self, attempt: AttemptId, at: float) -> None:
        """The command of an attempt runs, whose files had to come; `at` by the own clock."""
        if attempt in self.launching:
            self.launching.remove(attempt)
            self.begun[attempt] = at

    def demote(self, attempt: AttemptId, user: str) -> None:
        """Let an attempt that has room run on without its processors: they are free."""
        request = self.reserved[attempt]
        rest = request.without_cpus()
        self.portrait = None
        self.reserved[attempt] = rest
        self.room.give_back(request)
        self.room.take(rest)
        self.burden.add(attempt, user, request.cpus)
        self._advance()

    def admits(self, user: str, request: Request, per_cpu: float, *, has_room: bool = True) -> bool:
        """Tell whether a user's command that may run for ever could be demoted here later.

        Args:
            user: Whose it is.
            request: What it reserves.
            per_cpu: ``max_demoted``.
            has_room: Else it comes once it fits, whatever else is there then.
        """
        reserved = self.capacity.cpus - (self.room.cpus if has_room else request.cpus)
        return self.burden.admits(
            user, request.cpus, reserved=reserved, capacity=self.capacity.cpus, per_cpu=per_cpu
        )

    def order_end(self, attempt: AttemptId, at: float = float("-inf")) -> None:
        """Note that the attempt is to be killed.

        Args:
            attempt: It is not waited for as started any more.
            at: Own clock when Kill is sent; else the next tick sends it.
        """
        self.unconfirmed.pop(attempt, None)
        self.killing[attempt] = at

    def reclaim(self, attempt: AttemptId) -> None:
        """It is to go on with an attempt that was given up."""
        self.unbar(attempt)
        self.killing.pop(attempt, None)

    def release(self, attempt: AttemptId) -> bool:  # noqa: C901 (what it may be in, one after the other)
        """Give back what an attempt had reserved: its processes are gone.

        Returns:
            Whether there was anything to give back.
        """
        self.portrait = None
        self.unconfirmed.pop(attempt, None)
        if self.killing or self.revoked or self.demoting or self.begun:  # mostly nothing is in any of them
            for noted in (self.killing, self.revoked, self.demoting, self.begun):
                noted.pop(attempt, None)
        if self.preemptible or self.preempted:
            self.preemptible.discard(attempt)
            self.preempted.discard(attempt)
        if self.launching:
            self.launching.discard(attempt)
        demoted = self.burden.cpus > 0.0 and self.burden.remove(attempt)
        foreign = attempt in self.foreign
        if foreign:
            self.unbar(attempt)
        if self.exited and attempt in self.exited:
            self.exited.remove(attempt)
            return True
        request = self.reserved.pop(attempt, None)
        if request is not None:
            if self.uses:
                self.uses.pop(attempt, None)
            self.room.give_back(request)
            if not demoted:
                self.ended += 1
                self.turned = request
        elif self.ahead.pop(attempt, None) is None:
            return foreign
        if self.ahead:
            self._advance()
        return True

    def exit(self, attempt: AttemptId) -> bool:
        """Give back what an attempt had reserved, and hold it all the same: its report is still to come.

        Returns:
            Whether there was anything to give back.
        """
        if attempt in self.exited or not self.holds(attempt):
            return False
        self.release(attempt)
        self.exited.add(attempt)
        return True

    def note_uses(self, uses: Iterable[AttemptUse]) -> None:
        """Take what attempts that run there were seen to use; others, and what is no amount, are left out."""
        self.uses.update({use.attempt: use for use in uses if use.attempt in self.reserved and use.countable})
        if self.launching:  # should the word be lost that it began: what uses anything runs
            for attempt in sorted(self.launching & self.uses.keys()):
                self.begin(attempt, self.heard)

    def take_pace(self, elapsed_s: float) -> None:
        """Allow it to hold ahead what it ends in ``AHEAD_S``.

        Args:
            elapsed_s: Since the last call.
        """
        self.allowance = min(limits.AHEAD_MAX, int(self.ended * limits.AHEAD_S / elapsed_s))
        self.ended = 0

    def offer(self, capacity: Capacity) -> None:
        """Take over what the worker says it offers, keeping what is reserved."""
        self.portrait = None
        self.room.resize(self.capacity, capacity)
        self.capacity = capacity
        self._advance(waited=False)  # at a takeover all that it holds passes here

    def speed_in(self, strain: Strain | None) -> float:
        """Return how fast it is in one kind of work, None: in general, as far as anybody knows."""
        capacity = self.capacity
        return (capacity.speed if strain is None else capacity.speed_in(strain)) * self._correction

    def emptied(self) -> Room:
        """Return the room that it would have if nothing ran on it."""
        return Room(self.capacity)

    def line(self) -> WorkerLine:
        """Return the worker as lists show it."""
        return WorkerLine(
            worker=self.name,
            incarnation=self.incarnation,
            capacity=self.capacity,
            load=self.load,
            session=self.session,
            link=self.link,
            reserved_cpus=round(self.capacity.cpus - self.room.cpus, 6),
            reserved_memory_bytes=self.capacity.memory_bytes - self.room.memory_bytes,
            reserved_net_bps=self.capacity.net_bps - self.room.net_bps,
            reserved_counts=self.room.taken_counts(self.capacity),
            running=len(self.reserved),
            ahead=len(self.ahead),
            foreign=len(self.foreign),
            storing=len(self.exited),
            demoted=len(self.burden),
            drain=self.drain,
            quarantine=self.quarantine,
            correction=round(self.correction, 3),
        )


def candidates(workers: Iterable[Worker], request: Request) -> tuple[Candidate, ...]:
    """Return what a policy sees of some workers: most did not change since other tasks were offered there."""
    if request.strain is None and not request.prefers:
        return tuple([worker.portrait or worker.draw() for worker in workers])
    preferred, strain = request.preferred, request.strain
    return tuple([worker.drawn(preferred(worker.capacity), worker.speed_in(strain)) for worker in workers])
