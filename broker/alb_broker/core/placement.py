"""The placement pass: which waiting task goes to which worker, asked of the policy.

It owns the choice of policy and its fallback, and the bounds of a pass. It reserves nothing and writes
nothing: it says ``(task, worker)`` to its caller, which does both.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from alb_broker.core.decisions import Decided
from alb_broker.core.declines import DECLINES_S, Declines
from alb_broker.core.groups import BOUNDED, FILLED, NO_ROOM, NOWHERE, PLACED, Offered
from alb_broker.core.openings import Gate
from alb_broker.core.patience import Patience
from alb_broker.core.queue import Queue
from alb_broker.core.ranks import Ranks
from alb_broker.core.reservations import FOREVER, Reservations, sure_end
from alb_broker.core.shares import Shares
from alb_broker.core.task import Task
from alb_broker.core.worker import Worker, candidates
from alb_broker.core.workers import Workers
from alb_broker.policies import (
    CANDIDATES_MAX,
    Candidate,
    Context,
    Policy,
    Wishes,
    check_parameters,
    completed,
    optimize,
    wishes_of,
)
from alb_core.choices import DEFAULT_POLICY, Choice, Parameter
from alb_core.draws import Draws
from alb_core.notes import Level, Note
from alb_core.resources import Request, fits
from alb_core.spec import OnLost
from alb_core.vectors import OPTIMIZE, Vector

SOONEST_OF: Final = 4
#: Workers that are compared by when they would start what waits on them.
FAILURES_KEPT: Final = 8
#: Requests that fitted nowhere, remembered within a pass, so that larger ones are not searched for.
PASS_MAX: Final = 500
#: Placements of one pass: as many as a batch of writes holds.
POLICY_RESTS_S: Final = 1.0
#: After a policy failed, the default places for so long: a slow or broken one costs little, and logs little.
POLICY_RESTS_S_MAX: Final = 64.0
#: Each time that it fails again soon after, it rests twice as long, up to this.
OURS: Final = "alb_broker"
#: The package of the policies that cannot hang.

RERUN: Final = OnLost.RERUN  # looked up in its class it costs thirty times as much

Admission: TypeAlias = Callable[[Task, Worker], bool]
#: Tells whether a task that may run for ever may go to a worker.


class Trouble(NamedTuple):
    """How a policy failed in this reign."""

    failures: int
    newest: str
    #: What it raised last, type and text; or that it let a task wait for too long.
    at: float
    #: Cluster time of that.


class Placer:
    """Places tasks by the policy in force.

    Args:
        policies: All that are installed, by name; must hold the default.
        seed: Of the draws.
    """

    def __init__(self, policies: Mapping[str, Policy], seed: int) -> None:
        self.policies: Final = policies
        self.choice = Choice()  #: The policy in force.
        self.reservations: Final = Reservations()
        self.calls: defaultdict[str, int] = defaultdict(int)  #: How often each policy was asked.
        self.troubles: dict[str, Trouble] = {}  #: Of the policies that failed.
        self.declines: Final = Declines()  #: Of the policy in force.
        self.notes: list[Note] = []  #: What the pass wants logged; taken by the caller.
        self._wishes = Wishes()  #: Of the policy in force.
        self._parameters: Mapping[str, Parameter] = {}  #: Its own, and what was chosen instead.
        self._ranks = Ranks()  #: Whom it looks at first.
        self._vector: Vector | None = None  #: See `vector`.
        self._patience: Final = Patience()
        self._draws: Final = Draws(seed)
        self._turn = 0  #: How many placements there were.
        self._decided = DEFAULT_POLICY  #: Which policy made the newest choice.
        self._seen: tuple[Candidate, ...] = ()  #: Among these.
        self.held = False  #: The policy in force is not asked yet, and what it would be asked about waits.
        self.wanted = False  #: That is so for some task for which there is room.
        self._rests_s = 0.0  #: How long the policy in force rested last.
        self._rests_until = float("-inf")  #: Cluster time, until when it is not asked.
        self._hold_at = float("inf")  #: Cluster time at which a rest ends that ends in a hold.
        self.use(self.choice)  # the default has wishes, too

    @property
    def name(self) -> str:
        """The name of the policy in force."""
        return self.choice.policy

    @property
    def vector(self) -> Vector | None:
        """What is optimised for tasks that say nothing; None: the policy in force knows nothing of it."""
        return optimize.vector_of(self._parameters) if self.name == OPTIMIZE else None

    @property
    def failures(self) -> int:
        """How often a policy failed and the default stood in."""
        return sum(trouble.failures for trouble in self.troubles.values())

    def rests(self, at: float) -> bool:
        """Tell whether the default stands in now, because the policy in force failed."""
        return at < self._rests_until and not self.held

    @property
    def foreign(self) -> bool:
        """Whether the policy in force is somebody else's: only such a one may end whoever asks it."""
        return self.is_foreign(self.name)

    def is_foreign(self, name: str) -> bool:
        """Tell whether an installed policy is not of alb itself."""
        return getattr(self.policies[name], "__module__", "").partition(".")[0] != OURS

    def refusal(self, choice: Choice, *, asking: bool = True) -> str | None:
        """Return why a choice cannot be in force here, as a sentence, or None.

        Args:
            choice: A policy and parameters.
            asking: Whether the policy's own check of them is asked, which is foreign code as well.
        """
        policy = self.policies.get(choice.policy)
        if policy is None:
            known = ", ".join(sorted(self.policies))
            return f"there is no policy {choice.policy[:40]!r}; known: {known}"
        wrong = check_parameters(policy, choice.parameters, asking=asking)
        return None if wrong is None else f"the policy {choice.policy}: {wrong}"

    def use(self, choice: Choice) -> None:
        """Let a choice that is not refused be in force."""
        self.choice = choice.plain()
        self._wishes = wishes_of(self.policies[choice.policy])
        given = completed(self.policies[choice.policy], choice.parameters)
        self._parameters = {**self._wishes.parameters, **given}
        self._vector = self.vector
        self._ranks = Ranks(fastest_first=self._wishes.fastest_first, vector=self._vector)
        self.trust()

    def trust(self) -> None:
        """Somebody wants the policy in force, however it failed: let it have its next chance at once."""
        self._rests_s, self._rests_until, self._hold_at = 0.0, float("-inf"), float("inf")
        self.held = self.wanted = False
        self.declines.clear()

    def hold(self) -> None:
        """Do not ask the policy in force, nor the default in its place, until `release`."""
        self._rests_until, self._hold_at = float("inf"), float("inf")
        self.held, self.wanted = True, False

    def release(self) -> None:
        """Ask the policy in force again."""
        self._rests_until = float("-inf")
        self.held = self.wanted = False

    def distrust(self, why: str, at: float, seconds: float) -> None:
        """Let the default stand in for a policy that may end whoever asks it; then hold that.

        Args:
            why: It may.
            at: Cluster time.
            seconds: How long.
        """
        self.held = self.wanted = False
        self._rest(why, at, least_s=seconds)
        self._hold_at, self._rests_until = self._rests_until, float("inf")

    def run(  # noqa: PLR0913, PLR0917 (what a pass is about)
        self,
        queue: Queue,
        workers: Workers,
        shares: Shares,
        commit: Callable[[Task, Worker, Decided], None],
        at: float,
        time_limit_s: float | None = None,
        *,
        admits: Admission | None = None,
    ) -> int:
        """Place what fits.

        Args:
            queue: The waiting tasks.
            workers: Where they may go.
            shares: What users have, and may have.
            commit: Reserves and records one placement, with how it was decided.
            at: Cluster time.
            time_limit_s: Of tasks that name none; None: there is none.
            admits: Tells of a task that may run for ever which workers may get it; None: all may.

        Returns:
            How many tasks were placed.
        """
        context, booked = Context(at, self._draws, self._parameters), self.reservations
        self._begin(queue, workers, admits, at)
        # Room only shrinks until the pass ends.
        failures = defaultdict[str, tuple[_Failures, _Failures]](lambda: (_Failures(), _Failures()))
        # what found no free room; what found none ahead either: users apart where workers do not admit all
        of_all = failures[""]
        entitled: list[Request] = []  # what may not wait on a worker, and whose turn came before the others'
        alike = admits is None and not booked.by_key  # else who finds no room may be told apart from others
        # Whether a search that finds one worker tells that there is no other, nor one that may get it ahead.
        tells_last = alike and not workers.quick and self._wishes.candidates > 1

        def offer(task: Task, share: float) -> Offered:
            request = task.request
            if shares.bounded and not shares.allows(task.user, request):
                return BOUNDED
            ends = sure_end(task, at, time_limit_s) if booked.by_key else FOREVER
            gate = None if admits is None else _gate(task, admits)
            full, nowhere = of_all if gate is None else failures[task.user]
            tried = not (booked.by_key and booked.favour(task, ends)) and full.cover(request)
            if tried and nowhere.cover(request):
                return NOWHERE if alike else _no_room_for(request, workers, gate)
            found = [] if tried else self._with_room(task, workers, ends, gate)
            last = tells_last and len(found) == 1 and not request.prefers  # of lesser ones it may not tell
            if ahead := not found:
                full.add(request)
                if not _may_wait_there(task):
                    entitled.append(request)
                    del entitled[:-FAILURES_KEPT]
                    return NO_ROOM
                soonest = _soonest(request, workers, entitled, gate) if workers.quick else None
                if soonest is None:
                    nowhere.add(request)
                    return NOWHERE if alike else _no_room_for(request, workers, gate)
                found = [soonest]
            elif len(found) > 1 and task.attempts and task.failed_on:
                found = [worker for worker in found if worker.name != task.failed_on]
            worker = self._choose(task, found, context, workers, ahead=ahead)
            if worker is None:
                return Offered.DECLINED
            commit(task, worker, self._decided_on(task, worker, share, at, ahead=ahead))
            if booked.by_key:
                booked.on_placed(task, worker, workers, ends)
            return FILLED if last and not worker.fits(request) else PLACED

        return queue.place(shares.share, offer, PASS_MAX, at, shares.take_fallen())

    def _begin(self, queue: Queue, workers: Workers, admits: Admission | None, at: float) -> None:
        """Let searches go by the policy's wishes, and have offered again what may fit where room grew."""
        self.declines.begin()
        if at >= self._hold_at:
            self.hold()
        workers.order_by(self._ranks)
        grown = workers.take_grown()
        if not grown.workers:
            return
        could_fit = partial(workers.could_take, grown)
        lets_in = None if admits is None else partial(_lets_in, could_fit, admits)
        queue.open_shapes(grown.reach, could_fit, lets_in)

    def _with_room(self, task: Task, workers: Workers, ends: float, gate: Gate | None) -> list[Worker]:
        """Return some workers that admit a task and have room that is not set aside for others."""
        booked, most = self.reservations, self._wishes.candidates
        if task.request.optimize is not None:
            most = CANDIDATES_MAX
        if not booked.by_key:
            return workers.candidates(task.request, most, gate)
        found = workers.candidates(task.request, most + len(booked.by_key), gate)
        return booked.allowed(found, task, ends)[:most]

    def find_room(
        self, task: Task, workers: Workers, at: float, admits: Admission | None = None
    ) -> list[Worker]:
        """Return some workers on which a task could be placed at once, if the policy wanted it.

        Arguments are as for `run`.
        """
        return self._with_room(task, workers, sure_end(task, at, None), _gate(task, admits))

    def _choose(
        self, task: Task, found: list[Worker], context: Context, workers: Workers, *, ahead: bool
    ) -> Worker | None:
        """Ask the policy, which may decline even the only worker there is; None: the task waits."""
        seen = self._seen = candidates(found, task.request)
        place = self._ask(task, seen, context, ahead=ahead)
        if place is None:
            return None
        worker, vector = found[place], task.request.optimize or self._vector
        if vector is None or seen[place].attempts:
            return worker
        # Who saves may rather wait than wake one.
        return None if self._patience.spares(task, worker, vector, workers, context.at) else worker

    def _decided_on(self, task: Task, worker: Worker, share: float, at: float, *, ahead: bool) -> Decided:
        """Return how the newest choice was made, which is one more placement on its worker."""
        self._turn += 1
        worker.take_turn(self._turn)
        part = "" if worker.booked is None else self.reservations.part(task, worker)
        return Decided(self._decided, self._seen, at - task.queued_since, share, ahead, part)

    def _ask(
        self, task: Task, candidates: tuple[Candidate, ...], context: Context, *, ahead: bool
    ) -> int | None:
        """Return which candidate is chosen."""
        if task.request.optimize is not None:  # whoever says what counts for his task goes before the policy
            self._decided = OPTIMIZE
            self.calls[OPTIMIZE] += 1
            return _place_of(optimize.choose(task.effective, candidates, context), candidates)
        if context.at >= self._rests_until:
            name = self._decided = self.choice.policy
            self.calls[name] += 1
            try:
                chosen = _place_of(self.policies[name](task.effective, candidates, context), candidates)
            except Exception as error:  # noqa: BLE001 (a policy is foreign code: whatever it does, tasks go on)
                told = " ".join(f"{type(error).__name__}: {error}".split()).strip(": ")
                self._rest(told[:200], context.at)
            else:
                if chosen is not None:
                    self.declines.end(task)
                    return chosen
                if ahead or not self._waited_enough(task, context.at):
                    return None
        elif self.held:
            self.wanted = True
            return None
        self._decided = DEFAULT_POLICY
        self.calls[DEFAULT_POLICY] += 1
        return _place_of(self.policies[DEFAULT_POLICY](task.effective, candidates, context), candidates)

    def _waited_enough(self, task: Task, at: float) -> bool:
        """The policy lets a task wait for which there is room; tell whether it has for too long."""
        since = self.declines.note(task, at)
        if since is None:
            return False
        told = f"it let task {task.id} wait for {at - since:.0f} s though there was room"
        self._rest(told, at, since, least_s=DECLINES_S)
        return True

    def _rest(
        self, told: str, at: float, since: float | None = None, *, least_s: float = POLICY_RESTS_S
    ) -> None:
        """Let the default stand in for a while: longer where the policy failed soon after it rested.

        Args:
            told: How it failed.
            at: Cluster time.
            since: When that began; None: now.
            least_s: So long it rests at least.
        """
        again = (at if since is None else since) < self._rests_until + self._rests_s
        self._rests_s = max(least_s, min(2 * self._rests_s, POLICY_RESTS_S_MAX) if again else 0.0)
        self._rests_until = at + self._rests_s
        self.declines.clear()
        known = self.troubles.get(self.name)
        self.troubles[self.name] = Trouble(1 if known is None else known.failures + 1, told, at)
        fields = {"policy": self.name, "error": told, "rests_s": self._rests_s, "stands_in": DEFAULT_POLICY}
        self.notes.append(Note("policy_failed", fields, Level.WARNING))


def _gate(task: Task, admits: Admission | None) -> Gate | None:
    """Return what tells which workers admit a task; None: all do."""
    return None if admits is None or task.spec.time_limit_s is not None else partial(admits, task)


def _no_room_for(request: Request, workers: Workers, gate: Gate | None) -> Offered:
    """Answer one who found no room: nobody does where there is none at all, whomever workers admit."""
    nobody = workers.may_fit(request) is False and (gate is None or not workers.quick)
    return NOWHERE if nobody else NO_ROOM


def _lets_in(could_fit: Callable[[Request, Gate | None], bool], admits: Admission, head: Task) -> bool:
    """Tell whether a head could fit where it is admitted."""
    return could_fit(head.request, _gate(head, admits))


def _place_of(chosen: Candidate | None, candidates: tuple[Candidate, ...]) -> int | None:
    """Return which of the candidates it is, and hold the policy to its interface."""
    if chosen is None:
        return None
    try:
        return candidates.index(chosen)
    except ValueError:
        raise ValueError(f"the policy chose {chosen!r:.80}, which is no candidate") from None


class _Failures:
    """Requests that found nothing within a pass; whatever asks for as much finds nothing either."""

    __slots__ = ("_least_cpus", "_requests")

    def __init__(self) -> None:
        self._requests = deque[Request](maxlen=FAILURES_KEPT)
        self._least_cpus = float("inf")  #: That any of them asked for.

    def cover(self, request: Request) -> bool:
        """Tell whether a request need not be tried."""
        cpus, memory = request.cpus, request.memory_bytes
        if cpus < self._least_cpus:
            return False
        for failed in self._requests:
            if failed.cpus <= cpus and failed.memory_bytes <= memory and _asks_for_rest(request, failed):
                return True
        return False

    def add(self, request: Request) -> None:
        """Remember one more, and at most so many in all."""
        if request not in self._requests:
            self._requests.append(request)
            if request.cpus < self._least_cpus:  # noqa: PLR1730 (a call of `min` costs ten times as much)
                self._least_cpus = request.cpus


def _asks_for_rest(request: Request, other: Request) -> bool:
    """Tell whether the request asks for at least as much of everything but processors and memory."""
    return request is other or (
        not ((other.net_bps or other.counts) and other.exceeds(request))
        and (not other.labels or set(other.labels) <= set(request.labels))
        and (not other.archs or (bool(request.archs) and set(request.archs) <= set(other.archs)))
        and (request.measured or not other.measured)
    )


def _soonest(request: Request, workers: Workers, entitled: list[Request], gate: Gate | None) -> Worker | None:
    """Return a worker that admits a task and may be given it ahead of its room."""
    return workers.soonest(
        request,
        SOONEST_OF,
        lambda worker: _is_spared(worker, entitled) or (gate is not None and not gate(worker)),
    )


def _is_spared(worker: Worker, entitled: list[Request]) -> bool:
    """Tell whether what waits on this worker is to run dry: somebody waits for its room."""
    return any(fits(request, worker.capacity) for request in entitled)


def _may_wait_there(task: Task) -> bool:
    """Tell whether a task may be held ahead: should its worker be lost, nobody knows whether it started.

    Nor one that heeds measured loads: what is measured when it starts is not what it was placed by. Nor
    one that came back from workers again and again.
    """
    return task.spec.on_lost is RERUN and not task.request.measured and not task.bounces
