"""The placement pass: which waiting task goes to which worker, asked of the policy.

It owns the choice of policy and its fallback, and the bounds of a pass. It reserves nothing and writes
nothing: it says ``(task, worker)`` to its caller, which does both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

from alb_broker.core.queue import Offered, Queue
from alb_broker.core.task import Task
from alb_broker.core.workers import Worker, Workers
from alb_broker.policies import Candidate, Context, Policy
from alb_core.draws import Draws
from alb_core.notes import Level, Note
from alb_core.resources import Request, fits
from alb_core.spec import OnLost

CANDIDATES_MAX: Final = 4
#: A policy sees at most so many workers: the cost of a placement does not grow with the cluster, and a few
#: choices are nearly as good as all (Mitzenmacher, "The power of two choices", 2001).
FAILURES_KEPT: Final = 8
#: Requests that fitted nowhere, remembered within a pass, so that larger ones are not searched for.
PASS_MAX: Final = 500
#: Placements of one pass: as many as a batch of writes holds.
DEFAULT_POLICY: Final = "least-loaded"
POLICY_RESTS_S: Final = 1.0
#: After a policy failed, the default places for so long: a slow or broken one costs little, and logs little.


class Decision(NamedTuple):
    """How a worker was chosen."""

    policy: str
    candidates: int
    #: Workers that it could choose from.
    ahead: bool
    #: There is no room for the task yet.


class Placer:
    """Places tasks by the policy in force.

    Args:
        policies: All that are installed, by name; must hold the default.
        seed: Of the draws.
    """

    def __init__(self, policies: Mapping[str, Policy], seed: int) -> None:
        self.policies: Final = policies
        self.name = DEFAULT_POLICY
        self._draws: Final = Draws(seed)
        self._decided = DEFAULT_POLICY  #: Which policy made the newest choice.
        self.failures = 0  #: Times that the policy failed and the default stood in.
        self._rests_until = float("-inf")  #: Cluster time, until when the default stands in.
        self.notes: list[Note] = []  #: What the pass wants logged; taken by the caller.

    def use(self, name: str) -> bool:
        """Switch to another policy; returns whether it is installed (else nothing changes)."""
        if name not in self.policies:
            return False
        self.name = name
        self._rests_until = float("-inf")
        return True

    def run(  # noqa: PLR0913 (what a pass is about)
        self,
        queue: Queue,
        workers: Workers,
        share: Callable[[str], float],
        commit: Callable[[Task, Worker, Decision], None],
        at: float,
        *,
        admits: Callable[[Task, Worker], bool] | None = None,
    ) -> int:
        """Place what fits.

        Args:
            queue: The waiting tasks.
            workers: Where they may go.
            share: What a user has reserved.
            commit: Reserves and records one placement, with how it was decided.
            at: Cluster time.
            admits: Tells of a task that may run for ever which workers may get it; None: all may.

        Returns:
            How many tasks were placed.
        """
        context = Context(at, self._draws)
        grown = workers.take_grown()
        if grown:
            queue.unblock(lambda request: _fits_one(grown, request))

        # Room only shrinks until the pass ends.
        fulls, nowheres = (_Failures(), _Failures()), (_Failures(), _Failures())
        # what found no free room; what found none ahead either; each apart for what some workers do not admit
        entitled: list[Request] = []  # what may not wait on a worker, and whose turn came before the others'

        def spared(worker: Worker) -> bool:
            """Let what waits on this worker run dry: somebody waits for its room."""
            return any(fits(request, worker.capacity) for request in entitled)

        def offer(task: Task) -> Offered:
            request = task.request
            picky = admits is not None and task.spec.time_limit_s is None
            admitted = partial(admits, task) if picky and admits is not None else None
            full, nowhere = fulls[picky], nowheres[picky]
            if nowhere.cover(request):
                return Offered.NO_ROOM
            found = [] if full.cover(request) else workers.candidates(request, CANDIDATES_MAX, admitted)
            ahead = not found
            if ahead:
                full.add(request)
                if not _may_wait_there(task):
                    entitled.append(request)
                    del entitled[:-FAILURES_KEPT]
                    return Offered.NO_ROOM
                soonest = workers.soonest(
                    request,
                    CANDIDATES_MAX,
                    lambda worker: spared(worker) or (admitted is not None and not admitted(worker)),
                )
                if soonest is None:
                    nowhere.add(request)
                    return Offered.NO_ROOM
                found = [soonest]
            elif len(found) > 1 and task.failed_on:
                found = [worker for worker in found if worker.name != task.failed_on]
            worker = self._choose(task, found, context)
            if worker is None:
                return Offered.DECLINED
            commit(task, worker, Decision(self._decided, len(found), ahead))
            return Offered.PLACED

        return queue.place(share, offer, PASS_MAX)

    def _choose(self, task: Task, found: list[Worker], context: Context) -> Worker | None:
        """Ask the policy, which may decline even the only worker there is."""
        candidates = tuple(
            Candidate(
                worker.name,
                worker.capacity,
                worker.room.cpus,
                worker.room.memory_bytes,
                worker.room.net_bps,
                worker.load,
            )
            for worker in found
        )
        chosen = self._ask(task, candidates, context)
        if chosen is None:
            return None
        return found[candidates.index(chosen)]

    def _ask(self, task: Task, candidates: tuple[Candidate, ...], context: Context) -> Candidate | None:
        self._decided = self.name
        if context.at >= self._rests_until:
            try:
                return _checked(self.policies[self.name](task.effective, candidates, context), candidates)
            except Exception as error:  # noqa: BLE001 (a policy is foreign code: whatever it does, tasks go on)
                self.failures += 1
                self._rests_until = context.at + POLICY_RESTS_S
                fields = {"policy": self.name, "error": repr(error)[:200], "rests_s": POLICY_RESTS_S}
                self.notes.append(Note("policy_failed", fields, Level.WARNING))
        self._decided = DEFAULT_POLICY
        return self.policies[DEFAULT_POLICY](task.effective, candidates, context)


def _checked(chosen: object, candidates: tuple[Candidate, ...]) -> Candidate | None:
    """Hold a policy to its interface."""
    if chosen is None:
        return None
    for candidate in candidates:
        if candidate is chosen:
            return candidate
    raise ValueError(f"the policy chose {chosen!r:.80}, which is no candidate")


class _Failures:
    """Requests that found nothing within a pass; whatever asks for as much finds nothing either."""

    __slots__ = ("_requests",)

    def __init__(self) -> None:
        self._requests: list[Request] = []

    def cover(self, request: Request) -> bool:
        """Tell whether a request need not be tried."""
        return bool(self._requests) and any(_asks_for_more(request, failed) for failed in self._requests)

    def add(self, request: Request) -> None:
        """Remember one more, and at most so many in all."""
        if request not in self._requests:
            self._requests.append(request)
            del self._requests[:-FAILURES_KEPT]


def _asks_for_more(request: Request, other: Request) -> bool:
    """Tell whether the request asks for at least as much of everything."""
    return (
        not other.exceeds(request)
        and (not other.labels or set(other.labels) <= set(request.labels))
        and (not other.archs or (bool(request.archs) and set(request.archs) <= set(other.archs)))
    )


def _fits_one(workers: list[Worker], request: Request) -> bool:
    return any(
        worker.placeable and (worker.fits(request) or worker.fits_ahead(request)) for worker in workers
    )


def _may_wait_there(task: Task) -> bool:
    """Tell whether a task may be held ahead: should its worker be lost, nobody knows whether it started."""
    return task.spec.on_lost is OnLost.RERUN
