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
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

from alb_broker.core.misfits import why_misfit
from alb_broker.core.openings import Gate, Openings, Order
from alb_broker.core.worker import Worker
from alb_core import limits
from alb_core.drains import Drain
from alb_core.quarantines import Quarantine
from alb_core.resources import EPSILON, Load, Request, Room, fits


class Grown(NamedTuple):
    """Workers whose room grew, as a placement pass begins."""

    workers: list[Worker]
    rooms: list[Room]
    #: Of these, of those on which what is placed starts at once.
    ahead: list[Worker]
    #: Of these, those that may hold something ahead.

    def reach(self, cpus: float) -> int:
        """Return with how much memory a request of so many processors could fit there; -1: with none.

        Of requests that nothing else decides.
        """
        most = -1
        for room in self.rooms:
            if cpus <= room.cpus + EPSILON and room.memory_bytes > most:
                most = room.memory_bytes
        for worker in self.ahead:
            if cpus <= worker.turned.cpus:
                most = max(most, worker.turned.memory_bytes)
        return most


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
        self.candidates: Final = self._openings.search
        #: Returns workers with room for a request, in the order for it: see `Openings.search`.
        self.may_fit: Final = self._openings.may_fit
        #: Tells whether any has room for a request, if that is known.
        self.quick: Final = deque[Worker]()
        #: May hold something ahead, mostly nobody; a search begins at the left and turns it.
        self.crowded: dict[str, Worker] = {}  #: On which something is demoted, or was a tick ago.
        self.yielding: dict[str, Worker] = {}  #: That hold, or held, what is preemptible.
        self.rows: dict[str, Worker] = {}  #: That hold something ahead, or did a while ago, by name.
        self._grown: dict[str, Worker] = {}  #: Whose room grew since the last placement pass, by name.
        self._heard_all = float("-inf")  #: Own clock: since then everybody with a link was heard.

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
        if not worker.has_room or self.by_name.get(worker.name) is not worker:
            return
        self._grown[worker.name] = worker
        self._openings.grew(worker)
        if worker.allowance and not worker.quick and worker.may_get_ahead:  # mostly none is allowed
            worker.quick = True
            self.quick.append(worker)

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
        return Grown(
            grown,
            [each.room for each in grown if each.placeable and not each.ahead],
            [each for each in grown if each.allowance and each.may_get_ahead and each.placeable],
        )

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

    def could_take(self, grown: Grown, request: Request, gate: Gate | None = None) -> bool:
        """Tell whether the request is worth a search after the room of these workers grew.

        With a gate only those that admit the task count: the others have room that is no use to it.
        """
        workers, ahead = grown.workers, grown.ahead
        if gate is None:
            may_fit = self.may_fit(request)
        else:
            workers, ahead, may_fit = [*filter(gate, workers)], [*filter(gate, ahead)], None
        if may_fit is None:
            may_fit = any(worker.fits(request) and worker.placeable for worker in workers)
        return may_fit or any(worker.fits_ahead(request) for worker in ahead)

    def soonest(self, request: Request, most: int, spared: Callable[[Worker], bool]) -> Worker | None:
        """Return the worker that would start the request soonest of at most `most` that may get it ahead.

        Args:
            request: What is asked for.
            most: Bound of the search.
            spared: Tells which workers get nothing ahead.
        """
        found: list[Worker] = []
        for _ in range(len(self.quick)):
            worker = self.quick[0]
            if not (worker.may_get_ahead and worker.placeable):
                self.quick.popleft()
                worker.quick = False
                continue
            self.quick.rotate(-1)
            if worker.fits_ahead(request) and not spared(worker):
                found.append(worker)
                if len(found) == most:
                    break
        return min(found, key=lambda worker: len(worker.ahead) / worker.allowance, default=None)

    def take_paces(self, elapsed_s: float) -> None:
        """Set anew what each worker may hold ahead; to be called every tick."""
        for worker in self.by_name.values():
            if worker.ended or worker.allowance:  # of thousands few have either
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
        for worker in [worker for worker in self.by_name.values() if not worker.link]:
            bound = limits.LOST_WITH_SESSION_S if worker.session else limits.LOST_WITHOUT_SESSION_S
            if at - worker.silent_since >= bound:
                lost.append(worker)
        return lost

    def mark_silent(self, at: float) -> list[Worker]:
        """Take the link from workers that missed too many heartbeats, and return them."""
        bound = limits.MISSED_HEARTBEATS * limits.HEARTBEAT_S
        if at - self._heard_all <= bound:
            return []
        linked = [worker for worker in self.by_name.values() if worker.link]
        silent = [worker for worker in linked if at - worker.heard > bound]
        for worker in silent:
            worker.link = False
            worker.silent_since = at
        self._heard_all = min([worker.heard for worker in linked if worker.link], default=at)
        return silent
