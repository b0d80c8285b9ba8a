"""The invariant of the queue's order: nobody is given what another would have taken whose turn was before.

Compared is what was placed with what would have fitted in its place, where nothing but level and share tells
them apart. What has a bound, a reservation, a vector or a policy that may decline beside it, or is placed
ahead of its room, has more to its turn, and is left to other checks. Shares are counted here anew, from what
is reserved on workers.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from tests.simulation.knobs import POLICIES
from tests.simulation.violations import demand

from alb_core.vectors import OPTIMIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alb_broker.core.state import State
    from alb_broker.core.task import Task
    from alb_broker.core.worker import Worker
    from alb_core.messages import AttemptId
    from alb_core.resources import Request
    from alb_core.tasks import Attempt

EPSILON: Final = 1e-6
AGES_S: Final = 500.0
#: Who waits for longer may stand higher than his priority.
NEVER_DECLINE: Final = frozenset(POLICIES) - {OPTIMIZE}
RESOURCES: Final = ("cpus", "memory_bytes", "net_bps")


class TurnChecks:
    """Watches whom a leader placed, and who still waits."""

    def __init__(self) -> None:
        self.compared = 0  #: Pairs of who was placed and who waits, and would have fitted there.

    def after_turn(self, broker: str, state: State) -> None:
        """A leader's turn is over."""
        if state.placed_at != state.now() or not _is_plain(state):
            return
        new = [(task, attempt) for task, attempt in _new(state) if attempt.placed == state.now()]
        if any(attempt.part for _, attempt in new):
            return  # a reservation was kept, and is no more
        plain = (task for task, attempt in new if not attempt.ahead and _is_young(state, task))
        placed = [task for task in plain if _is_like_others(state, task)]
        waiting = [task for task in state.table.live.values() if _waited(state, task)] if placed else []
        if not waiting:
            return
        if any(each.task not in state.table.live for worker in state.workers for each, _ in _present(worker)):
            return  # a task is over of which an attempt still has its room: whose that is, nobody tells
        before, after = _shares(state, without_new=True), _shares(state, without_new=False)
        for task in placed:
            for other in waiting:
                if _fits_in_place(other, task) and _is_limited(other) is _is_limited(task):
                    self.compared += 1
                    _check(broker, task, other, before[task.user], after[other.user])


def _check(broker: str, task: Task, other: Task, had: float, has: float) -> None:
    """One was placed, and the other, who would have fitted there, was not."""
    mine, theirs = task.spec.priority, other.spec.priority
    demand(
        mine > theirs or (mine == theirs and (task.user == other.user or had <= has + EPSILON)),
        "everybody_has_his_turn",
        "{} placed {} of {} (priority {}, share {:.3f} before) past {} of {} (priority {}, share {:.3f} now)",
        broker,
        task.id,
        task.user,
        mine,
        had,
        other.id,
        other.user,
        theirs,
        has,
    )


def _is_plain(state: State) -> bool:
    """Tell whether level and share alone decide."""
    placer = state.placer
    return (
        placer.name in NEVER_DECLINE
        and not placer.reservations.by_key
        and not any(worker.booked for worker in state.workers)
        and not state.shares.bounded
    )


def _new(state: State) -> Iterator[tuple[Task, Attempt]]:
    """Yield what this leader placed, copies apart."""
    for task in state.table.live.values():
        for attempt in task.attempts:
            if attempt.epoch == state.epoch and not attempt.copy_of:
                yield task, attempt


def _waited(state: State, task: Task) -> bool:
    """Tell whether a task waited before this turn began, and does so still."""
    held = any(task is each for each, _ in state.queue._held)
    return (
        task.waits_for_room
        and task.queued_since < state.now()
        and _is_young(state, task)
        and not held
        and _is_like_others(state, task)
    )


def _is_young(state: State, task: Task) -> bool:
    return state.now() - task.queued_since < AGES_S


def _is_like_others(state: State, task: Task) -> bool:
    """Tell whether a task goes wherever its likes go."""
    request = task.request
    return request.optimize is None and not request.measured and (state.gate is None or _is_limited(task))


def _fits_in_place(other: Task, task: Task) -> bool:
    """Tell whether one fits wherever the other does."""
    wants, has = other.request, task.request
    amounts = {count.name: count.amount for count in has.counts}
    return (
        all(getattr(wants, name) <= getattr(has, name) for name in RESOURCES)
        and all(count.amount <= amounts.get(count.name, 0) for count in wants.counts)
        and wants.labels == has.labels
        and wants.archs == has.archs
    )


def _is_limited(task: Task) -> bool:
    return task.spec.time_limit_s is not None


def _shares(state: State, *, without_new: bool) -> defaultdict[str, float]:
    """Return the dominant share of each user over his weight, perhaps without what this turn placed."""
    held: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    total: defaultdict[str, float] = defaultdict(float)
    for worker in state.workers:
        for name in RESOURCES:
            total[name] += getattr(worker.capacity, name)
        for count in worker.capacity.counts:
            total[count.name] += count.amount
        for attempt_id, request in _present(worker):
            task = state.table.live[attempt_id.task]
            attempt = task.attempt(attempt_id.n)
            if without_new and attempt is not None and attempt.placed == state.now():
                continue
            held[task.user]["cpus"] += worker.burden._attempts.get(attempt_id, ("", 0.0))[
                1
            ]  # demoted: others' now
            for name in RESOURCES:
                held[task.user][name] += getattr(request, name)
            for count in request.counts:
                held[task.user][count.name] += count.amount
    shares: defaultdict[str, float] = defaultdict(float)
    for user, amounts in held.items():
        parts = (amount / total[name] for name, amount in amounts.items() if total[name])
        shares[user] = max(parts, default=0.0) / state.shares.weight(user)
    return shares


def _present(worker: Worker) -> list[tuple[AttemptId, Request]]:
    return [*worker.reserved.items(), *worker.ahead.items()]
