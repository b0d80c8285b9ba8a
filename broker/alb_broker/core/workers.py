"""The workers that a leader knows: their capacity, what is reserved on them, and whether they live.

A worker has a *session* while its ephemeral node holds its incarnation, and a *link* while it is heard.
Both: tasks are placed on it. Session only: nothing is placed, lost after 30 s. Link only: nothing is placed,
it keeps its attempts. Neither: lost after 5 s. Loss is judged per incarnation.

A worker that ends short commands is given a few *ahead* of its room: as many as it ends in ``AHEAD_S``, by
its pace since the last tick. It starts them itself, in the order in which it got them, as soon as there is
room.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from alb_broker.core.burden import Burden
from alb_broker.core.misfits import why_misfit
from alb_broker.core.openings import Gate, Openings, Order
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


class Worker:
    """One incarnation of one worker."""

    __slots__ = (
        "ahead",
        "allowance",
        "begun",
        "booked",
        "burden",
        "capacity",
        "correction",
        "demoting",
        "drain",
        "ended",
        "exited",
        "foreign",
        "heard",
        "incarnation",
        "killing",
        "known",
        "launching",
        "leaving",
        "link",
        "load",
        "name",
        "peer",
        "preempted",
        "preemptible",
        "quarantine",
        "quick",
        "reserved",
        "revoked",
        "room",
        "session",
        "silent_since",
        "turn",
        "turned",
        "unconfirmed",
        "uses",
    )

    def __init__(self, name: str, incarnation: str, at: float) -> None:
        self.name: Final = name
        self.incarnation: Final = incarnation
        self.peer = b""  #: Its address on the workers' link; empty before it registered.
        self.capacity = Capacity(cpus=0, memory_bytes=0)
        self.correction = 1.0  #: By which it is faster than it says, as run times tell.
        self.load = Load()
        self.session = False  #: Its node was read with this incarnation.
        self.link = False  #: It registered with this leader and is heard.
        self.heard = at  #: Own clock, when it was last heard.
        self.silent_since = at  #: Own clock, since when session or link is missing.
        self.leaving = False  #: It said that it stops.
        self.drain: Drain | None = None  #: It is given nothing new.
        self.quarantine: Quarantine | None = None  #: Nor now, for tasks fail on it.
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
        self.known = True  #: It is one of the leader's: not replaced, not lost.
        self.quick = False  #: It is among those that are looked at for what may wait on a worker.

    @property
    def placeable(self) -> bool:
        """Whether tasks may be placed on it."""
        return (
            self.session
            and self.link
            and self.known
            and not self.leaving
            and self.drain is None
            and self.quarantine is None
            and not self.foreign
        )

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
        """Return all attempts that it holds."""
        return [*self.reserved, *self.ahead, *self.exited]

    def reserve(self, attempt: AttemptId, request: Request) -> None:
        """Set the request aside for an attempt, or let it wait ahead; a second time changes nothing."""
        if self.holds(attempt):
            return
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
        self.foreign.discard(attempt)
        self.killing.pop(attempt, None)

    def release(self, attempt: AttemptId) -> bool:  # noqa: C901 (what it may be in, one after the other)
        """Give back what an attempt had reserved: its processes are gone.

        Returns:
            Whether there was anything to give back.
        """
        self.unconfirmed.pop(attempt, None)
        if self.killing or self.revoked or self.demoting or self.begun:  # mostly nothing is in any of them
            for noted in (self.killing, self.revoked, self.demoting, self.begun):
                noted.pop(attempt, None)
        if self.preemptible or self.preempted:
            self.preemptible.discard(attempt)
            self.preempted.discard(attempt)
        if self.launching:
            self.launching.discard(attempt)
        demoted = bool(self.burden) and self.burden.remove(attempt)
        foreign = bool(self.foreign) and attempt in self.foreign
        if foreign:
            self.foreign.remove(attempt)
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
        """Take what attempts that run there were seen to use; of others nobody wants to know it."""
        self.uses.update({use.attempt: use for use in uses if use.attempt in self.reserved})
        if self.launching:  # should the word be lost that it began: what uses anything runs
            for attempt in self.launching & self.uses.keys():
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
        self.room.resize(self.capacity, capacity)
        self.capacity = capacity
        self._advance(waited=False)  # at a takeover all that it holds passes here

    def speed_in(self, strain: Strain | None) -> float:
        """Return how fast it is in one kind of work, None: in general, as far as anybody knows."""
        capacity = self.capacity
        return (capacity.speed if strain is None else capacity.speed_in(strain)) * self.correction

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


class Grown(NamedTuple):
    """Workers whose room grew, as a placement pass begins."""

    workers: list[Worker]
    ahead: list[Worker]
    #: Of these, those that may hold something ahead.


class Workers:
    """All workers, by name: one incarnation each.

    Those that may have room are kept apart (`Openings`), and those that may hold something ahead: whoever
    lets room on a worker grow says so (`grew`), and one without any is dropped by the next search.
    """

    def __init__(self) -> None:
        self.by_name: dict[str, Worker] = {}
        self.by_peer: dict[bytes, Worker] = {}
        self.drains: dict[str, Drain] = {}  #: Of every drained worker, known now or not, by name.
        self.quarantines: dict[str, Quarantine] = {}  #: By name: a new start does not mend a machine.
        self.corrections: Mapping[
            str, float
        ] = {}  #: Of speeds, by name; who is not in it is as fast as it says.
        self._openings: Final = Openings()  #: May have room.
        self._quick: deque[Worker] = deque()
        #: May hold something ahead; a search begins at the left and turns it.
        self.crowded: dict[str, Worker] = {}  #: On which something is demoted, or was a tick ago.
        self.yielding: dict[str, Worker] = {}  #: That hold, or held, what is preemptible.
        self.rows: dict[str, Worker] = {}  #: That hold something ahead, or did a while ago, by name.
        self._grown: dict[str, Worker] = {}  #: Whose room grew since the last placement pass, by name.

    def __iter__(self) -> Iterator[Worker]:
        return iter(self.by_name.values())

    def find(self, name: str, incarnation: str) -> Worker | None:
        """Return this incarnation of a worker."""
        worker = self.by_name.get(name)
        return worker if worker is not None and worker.incarnation == incarnation else None

    def add(self, worker: Worker) -> None:
        """Know a worker, in place of an earlier incarnation."""
        self.remove(worker.name)
        self.by_name[worker.name] = worker
        worker.known = True
        worker.drain = self.drains.get(worker.name)
        worker.quarantine = self.quarantines.get(worker.name)
        worker.correction = self.corrections.get(worker.name, 1.0)

    def remove(self, name: str) -> Worker | None:
        """Forget a worker and its link."""
        worker = self.by_name.pop(name, None)
        if worker is None:
            return None
        if self.by_peer.get(worker.peer) is worker:
            del self.by_peer[worker.peer]
        worker.known = False
        self._openings.remove(name)
        self._grown.pop(name, None)
        self.crowded.pop(name, None)
        self.yielding.pop(name, None)
        self.rows.pop(name, None)
        return worker

    def drain(self, drains: dict[str, Drain]) -> None:
        """Let these drains be in force, and no others."""
        self.drains = drains
        for worker in self.by_name.values():
            worker.drain = drains.get(worker.name)
            self.grew(worker)

    def isolate(self, name: str, quarantine: Quarantine | None) -> None:
        """Let a worker be in quarantine, or None: be out of it."""
        if quarantine is None:
            self.quarantines.pop(name, None)
        else:
            self.quarantines[name] = quarantine
        worker = self.by_name.get(name)
        if worker is not None:
            worker.quarantine = quarantine
            self.grew(worker)

    def correct(self, corrections: Mapping[str, float]) -> None:
        """Let these corrections of speeds hold, and no others."""
        self.corrections = corrections
        for worker in self.by_name.values():
            worker.correction = corrections.get(worker.name, 1.0)
        self._openings.reorder()

    def linked(self, worker: Worker, peer: bytes, at: float) -> None:
        """The worker is heard at this address."""
        self.by_peer.pop(worker.peer, None)
        worker.peer = peer
        self.by_peer[peer] = worker
        worker.link = True
        worker.heard = at

    def grew(self, worker: Worker) -> None:
        """Something was given back on the worker, or it became placeable."""
        if self.by_name.get(worker.name) is not worker or not worker.has_room:
            return
        self._grown[worker.name] = worker
        self._openings.grew(worker)
        if not worker.quick and worker.may_get_ahead:
            worker.quick = True
            self._quick.append(worker)

    def loaded(self, worker: Worker, load: Load) -> None:
        """A worker measured its load: where that fell, requests that heed it may fit now."""
        fell = load.fell(worker.load)
        worker.load = load
        if fell and self._openings.heeds_load and self.by_name.get(worker.name) is worker and worker.has_room:
            self._grown[worker.name] = worker
            self._openings.eased(worker)

    def take_grown(self) -> Grown:
        """Return, and forget, the workers whose room grew since the last call."""
        grown = list(self._grown.values())
        self._grown.clear()
        return Grown(grown, [worker for worker in grown if worker.may_get_ahead and worker.placeable])

    def forget_crowds(self) -> None:
        """Forget on which workers nothing is demoted any more."""
        for name in [name for name, worker in self.crowded.items() if not worker.burden]:
            del self.crowded[name]

    def take_rows(self, most: int) -> list[Worker]:
        """Return workers that hold something ahead, at most so many; the next call begins behind them."""
        found = list(islice(self.rows.values(), most))
        for worker in found:
            del self.rows[worker.name]
            if worker.ahead:
                self.rows[worker.name] = worker
        return found

    def order_by(self, order_of: Callable[[Request], Order]) -> None:
        """Let searches for candidates look at workers in this order of each request, from now on."""
        self._openings.order_by(order_of)

    def candidates(self, request: Request, most: int, gate: Gate | None = None) -> list[Worker]:
        """Return workers with room for the request, at most `most`, in the order for it.

        Args:
            request: What is asked for.
            most: Bound of the search.
            gate: Tells which workers admit the task, where room does not decide alone.
        """
        return self._openings.search(request, most, gate)

    def could_take(self, grown: Grown, request: Request, gate: Gate | None = None) -> bool:
        """Tell whether the request is worth a search after the room of these workers grew.

        With a gate only those that admit the task count: the others have room that is no use to it.
        """
        if gate is None:
            may_fit = self._openings.may_fit(request)
        else:
            grown, may_fit = Grown(*([worker for worker in each if gate(worker)] for each in grown)), None
        if may_fit is None:
            may_fit = any(worker.fits(request) and worker.placeable for worker in grown.workers)
        return may_fit or any(worker.fits_ahead(request) for worker in grown.ahead)

    def soonest(self, request: Request, most: int, spared: Callable[[Worker], bool]) -> Worker | None:
        """Return the worker that would start the request soonest of at most `most` that may get it ahead.

        Args:
            request: What is asked for.
            most: Bound of the search.
            spared: Tells which workers get nothing ahead.
        """
        found: list[Worker] = []
        for _ in range(len(self._quick)):
            worker = self._quick[0]
            if not (worker.may_get_ahead and worker.placeable):
                self._quick.popleft()
                worker.quick = False
                continue
            self._quick.rotate(-1)
            if worker.fits_ahead(request) and not spared(worker):
                found.append(worker)
                if len(found) == most:
                    break
        return min(found, key=lambda worker: len(worker.ahead) / worker.allowance, default=None)

    def take_paces(self, elapsed_s: float) -> None:
        """Set anew what each worker may hold ahead; to be called every tick."""
        for worker in self.by_name.values():
            before = worker.allowance
            worker.take_pace(elapsed_s)
            if worker.allowance > before:
                self.grew(worker)

    def why_never(self, request: Request) -> str:
        """Return why no worker of now could run the request, even if it were empty; empty: one could."""
        workers = self.by_name.values()
        if any(worker.drain is None and fits(request, worker.capacity) for worker in workers):
            return ""  # mostly the first one could: this is asked for every task
        return why_misfit(request, list(workers))

    def largest_memory(self, request: Request) -> int:
        """Return the most memory that a worker has that suits a request, but for its memory; 0: none does."""
        suiting = (
            worker.capacity.memory_bytes
            for worker in self.by_name.values()
            if request.suits(worker.capacity) and request.cpus <= worker.capacity.cpus
        )
        return max(suiting, default=0)

    def overdue(self, at: float) -> list[Worker]:
        """Return the workers that are lost by now."""
        lost = []
        for worker in self.by_name.values():
            silent = at - worker.silent_since
            bound = limits.LOST_WITH_SESSION_S if worker.session else limits.LOST_WITHOUT_SESSION_S
            if not worker.link and silent >= bound:
                lost.append(worker)
        return lost

    def mark_silent(self, at: float) -> list[Worker]:
        """Take the link from workers that missed too many heartbeats, and return them."""
        bound = limits.MISSED_HEARTBEATS * limits.HEARTBEAT_S
        silent = [worker for worker in self.by_name.values() if worker.link and at - worker.heard > bound]
        for worker in silent:
            worker.link = False
            worker.silent_since = at
        return silent
