"""Where there may be room: the index behind every search for a worker.

Each request that is searched for has a *pool* of the workers that may have room for it. A worker joins the
pools when its room grew, and is dropped where a search meets it without room: so each is looked at in vain
once for each time that its room grew, and placing costs the same however many workers are full, or have room
that is too small. Who has room but does not admit the task is passed over and stays: that may depend on the
task's user, and whoever looks next may be let in.

A pool stands in rows, of which the one with the highest rank is searched first; without ranks there is one. A
search begins behind the last one, so that all workers get their turn, unless the order is steady: then the
first ones are found again, and fill up before others get anything. Where a request prefers something, who has
more of it stands before the others, and a search that found somebody looks at no lesser ones.
"""

from __future__ import annotations

import abc
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from alb_core.resources import EPSILON, Request

if TYPE_CHECKING:
    from alb_broker.core.worker import Worker

POOLS_MAX: Final = 256
#: Requests that differ, each with its pool, those that were searched for last: whoever's room grows is held
#: against each. Beyond, a search begins with a look at all open workers.

BARRED_MAX: Final = 64
#: Workers with room that do not admit a task, passed over once somebody is found. While nobody is, all are
#: looked at: a search that finds none is not repeated before some worker's room grows that admits the task.

Rank: TypeAlias = Callable[["Worker"], float]
Gate: TypeAlias = Callable[["Worker"], bool]
#: Tells whether a worker admits the task that is searched for.


class Order(NamedTuple):
    """In which order a search looks at workers."""

    rank: Rank
    #: Whom first: the highest.
    steady: bool = False
    #: Of those with one rank the same ones each time; else others each time.


def unranked(_worker: Worker) -> float:
    """Rank all workers alike."""
    return 0.0


UNORDERED: Final = Order(unranked)


def unordered(_request: Request) -> Order:
    """Let all workers be alike to every request."""
    return UNORDERED


class Pool(abc.ABC):
    """The workers that may have room for one request.

    Args:
        request: What is asked for.
    """

    __slots__ = ("members", "plain", "request")

    members: Collection[Worker]

    def __init__(self, request: Request) -> None:
        self.request: Final = request
        self.plain: Final = request.plain  #: As nearly always.

    @abc.abstractmethod
    def join(self, worker: Worker) -> None:
        """Let a worker in that has room; who is in keeps his place."""

    def offer(self, workers: Iterable[Worker]) -> None:
        """Let workers join, those that have room."""
        for worker in workers:
            if worker.fits(self.request):
                self.join(worker)

    @abc.abstractmethod
    def search(self, most: int, gate: Gate | None = None) -> list[Worker]:
        """Return workers with room that admit the task, at most so many, and drop those without room."""


class PlainPool(Pool):
    """The same, where all are alike: one row."""

    __slots__ = ("_row",)

    members: set[Worker]

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.members = set()
        self._row: Final[deque[Worker]] = deque()
        #: All of them. A search begins at the left: whom it looked at and who stays goes to the end.

    def join(self, worker: Worker) -> None:
        """Let a worker in that has room; who is in keeps his place."""
        if worker not in self.members:
            self.members.add(worker)
            self._row.append(worker)

    def search(self, most: int, gate: Gate | None = None) -> list[Worker]:
        """Return workers with room that admit the task, at most so many, and drop those without room."""
        row, request, plain = self._row, self.request, self.plain
        cpus, memory_bytes = request.cpus, request.memory_bytes
        found: list[Worker] = []
        barred = 0
        for _ in range(len(row)):
            worker = row.popleft()
            room = worker.room
            if not (
                cpus <= room.cpus + EPSILON  # `Worker.fits`, without a call
                and memory_bytes <= room.memory_bytes
                and not worker.ahead
                and worker.placeable
                and (plain or worker.fits(request))
            ):
                self.members.discard(worker)
                continue
            row.append(worker)
            if gate is not None and not gate(worker):
                barred += 1
                if found and barred > BARRED_MAX:
                    break
                continue
            found.append(worker)
            if len(found) == most:
                break
        return found


class RankedPool(Pool):
    """The same, where some are searched before others.

    Args:
        request: What is asked for.
        order: Whom a search looks at first.
    """

    __slots__ = ("_rank", "_rows", "_steady")

    members: set[Worker]

    def __init__(self, request: Request, order: Order) -> None:
        super().__init__(request)
        self._rank, self._steady = order
        self.members = set()
        self._rows: dict[tuple[int, float], deque[Worker]] = {}
        #: By how much they have of what is preferred, then by rank. A search begins at the left of a row, and
        #: turns it; in a steady order it turns it back.

    def join(self, worker: Worker) -> None:
        """Let a worker in that has room; who is in keeps his place."""
        if worker not in self.members:
            self.members.add(worker)
            self._stand(worker)

    def _stand(self, worker: Worker) -> None:
        place = self._place(worker)
        row = self._rows.get(place)
        if row is None:
            row = self._rows[place] = deque()
        row.append(worker)

    def _place(self, worker: Worker) -> tuple[int, float]:
        preferred = self.request.preferred(worker.capacity) if self.request.prefers else 0
        return preferred, self._rank(worker)

    def search(self, most: int, gate: Gate | None = None) -> list[Worker]:
        """Return workers with room that admit the task, at most so many, and drop those without room."""
        found: list[Worker] = []
        misplaced: list[Worker] = []
        preferred = 0
        for place in sorted(self._rows, reverse=True):
            if found and place[0] < preferred:
                break
            preferred = place[0]
            turned = self._search_row(place, most, found, misplaced, gate)
            if self._steady:
                self._rows[place].rotate(turned)
            if not self._rows[place]:
                del self._rows[place]
            if len(found) == most:
                break
        for worker in misplaced:  # not before: in its own row this search would miss or double it
            self._stand(worker)
        return found

    def _search_row(
        self,
        place: tuple[int, float],
        most: int,
        found: list[Worker],
        misplaced: list[Worker],
        gate: Gate | None,
    ) -> int:
        """Search one row; returns by how many places it was turned."""
        row, request = self._rows[place], self.request
        (preferred, rank), rank_of = place, self._rank
        barred = turned = 0
        for _ in range(len(row)):
            worker = row[0]
            if not (worker.fits(request) and worker.placeable):
                self.members.discard(row.popleft())
                continue
            if rank_of(worker) == rank and (
                not request.prefers or request.preferred(worker.capacity) == preferred
            ):
                row.rotate(-1)
                turned += 1
            else:
                misplaced.append(row.popleft())
            if gate is not None and not gate(worker):
                barred += 1
                if found and barred > BARRED_MAX:
                    break
                continue
            found.append(worker)
            if len(found) == most:
                break
        return turned


class Amounts:
    """The pools of requests that processors and memory decide, in an order that tells which a room fits."""

    def __init__(self) -> None:
        self._by_cpus: dict[float, tuple[list[int], list[Pool]]] = {}
        #: Of each number of processors, the least memory first; and how much that is of each.

    def add(self, pool: Pool) -> None:
        """Know one more."""
        amounts, pools = self._by_cpus.setdefault(pool.request.cpus, ([], []))
        place = bisect_right(amounts, pool.request.memory_bytes)
        amounts.insert(place, pool.request.memory_bytes)
        pools.insert(place, pool)

    def remove(self, pool: Pool) -> None:
        """Forget one."""
        amounts, pools = self._by_cpus[pool.request.cpus]
        place = pools.index(pool)
        del amounts[place], pools[place]
        if not pools:
            del self._by_cpus[pool.request.cpus]

    def clear(self) -> None:
        """Forget all."""
        self._by_cpus.clear()

    def offer(self, worker: Worker) -> None:
        """Let a worker join those that its room fits; behind what waits there, nothing is free."""
        if worker.ahead:
            return
        cpus, memory_bytes = worker.room.cpus + EPSILON, worker.room.memory_bytes
        for wanted, (amounts, pools) in self._by_cpus.items():
            if wanted <= cpus:
                for pool in pools[: bisect_right(amounts, memory_bytes)]:
                    pool.join(worker)


class Openings:
    """The pools of all requests, and the workers that have any room at all."""

    def __init__(self) -> None:
        self._open: dict[str, Worker] = {}  #: By name: had room when it grew; the others join no pool.
        self._grown: dict[str, Worker] = {}  #: Of these, those that the pools were not offered since.
        self._pools: dict[Request, Pool] = {}  #: Searched for longest ago first.
        self._amounts: Final = Amounts()  #: Those that are plain.
        self._choosy: dict[Request, Pool] = {}  #: The others.
        self._order_of: Callable[[Request], Order] = unordered
        self.heeds_load = False  #: Some request that was searched for heeds measured loads.

    def order_by(self, order_of: Callable[[Request], Order]) -> None:
        """Let searches look at workers in this order of each request, from now on."""
        if order_of is not self._order_of:
            self._order_of = order_of
            self.reorder()

    def reorder(self) -> None:
        """Ranks of workers changed that were not looked at: let them all stand anew."""
        self._pools.clear()
        self._amounts.clear()
        self._choosy.clear()

    def grew(self, worker: Worker) -> None:
        """A worker with room has more of it, or became placeable."""
        self._open[worker.name] = worker
        self._grown[worker.name] = worker

    def eased(self, worker: Worker) -> None:
        """The load of a worker with room fell: whoever heeds it may have room there now."""
        for pool in self._choosy.values():
            if pool.request.measured:
                pool.offer((worker,))

    def remove(self, name: str) -> None:
        """Forget a worker; where it stands in a pool, it is not placeable any more."""
        self._open.pop(name, None)
        self._grown.pop(name, None)

    def search(self, request: Request, most: int, gate: Gate | None = None) -> list[Worker]:
        """Return workers with room for the request, at most so many; the next search begins behind them.

        Args:
            request: What is asked for.
            most: Bound of what is found.
            gate: Tells which workers admit the task; None: all do.
        """
        if self._grown:
            self._settle()
        pool = self._pools.pop(request, None)
        if pool is None:
            pool = self._begin(request)
        self._pools[request] = pool
        return pool.search(most, gate)

    def _begin(self, request: Request) -> Pool:
        """Return a new pool of all who have room, in place of the one that was searched longest ago."""
        self.heeds_load |= request.measured
        order = self._order_of(request)
        alike = order is UNORDERED and not request.prefers
        pool = PlainPool(request) if alike else RankedPool(request, order)
        pool.offer(self._with_room(self._open.values()))
        if len(self._pools) >= POOLS_MAX:
            self._end(self._pools.pop(next(iter(self._pools))))
        if pool.plain:
            self._amounts.add(pool)
        else:
            self._choosy[request] = pool
        return pool

    def _end(self, pool: Pool) -> None:
        if pool.plain:
            self._amounts.remove(pool)
        else:
            del self._choosy[pool.request]

    def may_fit(self, request: Request) -> bool | None:
        """Tell whether some worker may have room for a request: None where nobody knows without a search."""
        if self._grown:
            self._settle()
        pool = self._pools.get(request)
        return None if pool is None else bool(pool.members)

    def _settle(self) -> None:
        """Let those that grew join the pools."""
        workers = self._with_room(self._grown.values())
        for worker in workers:
            self._amounts.offer(worker)
        for pool in self._choosy.values():
            pool.offer(workers)
        self._grown.clear()

    def _with_room(self, workers: Iterable[Worker]) -> list[Worker]:
        """Return those that have room still, and close the others."""
        found: list[Worker] = []
        full: list[str] = []
        for worker in workers:
            if worker.has_room:
                found.append(worker)
            else:
                full.append(worker.name)
        for name in full:
            self.remove(name)
        return found
