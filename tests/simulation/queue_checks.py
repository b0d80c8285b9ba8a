"""Invariants of the queue, looked for in a leader's books right after it placed something.

Nobody has more than he may, and nothing is put before a task for which a worker is set aside. That is done
for those only who may have it, and not for long where it is in vain.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.knobs import MOVE_AFTER_S
from tests.simulation.violations import demand

if TYPE_CHECKING:
    from alb_broker.core.reservations import Reservation
    from alb_broker.core.state import State
    from alb_broker.core.worker import Worker
    from alb_core.messages import AttemptId
    from alb_core.resources import Request
    from alb_core.shares import SharesNode

EPSILON: Final = 1e-6


class QueueChecks:
    """Watches placements."""

    def __init__(self) -> None:
        self.reservations = 0  #: Workers that were seen to be set aside.
        self._in_force: dict[str, tuple[SharesNode, float]] = {}
        #: By broker, when its turn before was over, and when that was first seen.

    def after_turn(self, broker: str, state: State) -> None:
        """A leader's turn is over."""
        node, since = self._in_force.get(broker, (None, 0.0))
        if node is not state.shares.node:
            since = state.now()
            self._in_force[broker] = state.shares.node, since
        reservations = state.placer.reservations
        for worker in state.workers:
            if worker.booked is not None:
                _check_patience(broker, worker.booked, reservations._looked)
                if worker.booked.made == reservations._looked == state.now() > since:
                    self._check_entitled(broker, state, worker.booked)
        if state.placed_at != state.now():
            return
        if state.placed_at > since:  # else something may have been given at this moment under other bounds
            self._check_bounds(broker, state)
        for worker in state.workers:
            if worker.booked is not None:
                self.reservations += 1
                _check_reservation(broker, state, worker)

    @staticmethod
    def _check_entitled(broker: str, state: State, booked: Reservation) -> None:
        """What was reserved now is for somebody who may have it: his bounds are not what he lacks."""
        user, _, request, _ = booked.key
        held = sum(
            wants.cpus
            for worker in state.workers
            for attempt_id, wants in _present(worker)
            if _placed(state, attempt_id) < booked.made
            and (task := state.table.live.get(attempt_id.task)) is not None
            and task.user == user
        )
        most = state.shares.node.of(user).cpus_max
        demand(
            most is None or held + request.cpus <= most + EPSILON,
            "only_who_lacks_room_has_a_reservation",
            f"{broker} reserves {request.cpus} cpus for {user}, who has {held}, of at most {most}",
        )

    def _check_bounds(self, broker: str, state: State) -> None:
        """Who was given something now has no more than he may; who has, from of old, is given nothing."""
        held: dict[str, float] = defaultdict(float)
        given: set[str] = set()
        for worker in state.workers:
            for attempt_id, request in _present(worker):
                task = state.table.live.get(attempt_id.task)
                if task is not None:
                    held[task.user] += request.cpus
                    given |= {task.user} if _placed(state, attempt_id) == state.now() else set()
        for user in sorted(given):
            most = state.shares.node.of(user).cpus_max
            demand(
                most is None or held[user] <= most + EPSILON,
                "nobody_has_more_than_he_may",
                f"{broker} lets {user} have {held[user]} cpus, of at most {most}",
            )


def _check_patience(broker: str, booked: Reservation, looked: float) -> None:
    """Nobody waits on a worker for long, when nobody knows until when."""
    in_vain = booked.moment == float("inf") and booked.passing and not booked.worker.preempted
    demand(
        not in_vain or looked - booked.made <= MOVE_AFTER_S * 2.0**booked.moves,
        "a_reservation_is_looked_at_again",
        f"{broker} has set {booked.worker.name} aside for {booked.key} since {looked - booked.made:.1f} s",
    )


def _check_reservation(broker: str, state: State, worker: Worker) -> None:
    """What was placed since beside the large task leaves it room, or surely ends before."""
    booked: Any = worker.booked
    stays = 0.0
    for attempt_id, request in _present(worker):
        task = state.table.live.get(attempt_id.task)
        placed = _placed(state, attempt_id)
        if task is None or placed <= booked.made:
            continue
        limit_s = task.spec.time_limit_s or state.limits.time_limit_s
        if (
            limit_s is None
            or placed + limit_s + task.spec.grace_s > booked.moment
            or booked.moment == float("inf")
        ):
            stays += request.cpus
    wanted, whole = booked.key[2].cpus, worker.capacity.cpus
    demand(
        stays + wanted <= whole + EPSILON,
        "a_reservation_is_honoured",
        f"{broker} placed {stays} cpus on {worker.name}, since that is set aside for {wanted} of {whole}",
    )


def _present(worker: Worker) -> list[tuple[AttemptId, Request]]:
    return [*worker.reserved.items(), *worker.ahead.items()]


def _placed(state: State, attempt_id: AttemptId) -> float:
    """Return when an attempt was placed in this reign; 0: it was not."""
    task = state.table.live.get(attempt_id.task)
    attempt = task.attempt(attempt_id.n) if task is not None else None
    return attempt.placed if attempt is not None and attempt.epoch == state.epoch else 0.0
