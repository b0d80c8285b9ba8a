"""Invariants of what is bounded for each task and worker: crashes, preemptions, copies, what is demoted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.simulation.violations import demand

from alb_broker.core.burden import NEWCOMERS_PER_CPU
from alb_broker.core.copies import COPIES_MAX
from alb_core import limits
from alb_core.spec import OnLost
from alb_core.tasks import Attempt, AttemptState, TaskRecord, TaskState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.simulation.cluster import Cluster

EPSILON: Final = 1e-6


class BoundChecks:
    """Counts in the table what must not be too often, or too much.

    Args:
        cluster: The witness of everything else.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def on_placed(self, record: TaskRecord, attempt: Attempt) -> None:
        """An attempt is in the table that was not there."""
        crash_limit = self._crash_limit(record)
        demand(
            record.crashes <= crash_limit or attempt.copy_of,
            "no_task_is_lost_too_often",
            "{} is placed after {} crashes of {}",
            record.id,
            record.crashes,
            crash_limit,
        )
        copies = sum(each.copy_of > 0 for each in record.attempts)
        demand(copies <= COPIES_MAX, "no_task_is_copied_too_often", "{}: {}", record.id, record.attempts)

    def on_changed(self, before: TaskRecord, after: TaskRecord) -> None:
        """A record was written that was there before."""
        demand(
            before.preemptions <= after.preemptions <= limits.PREEMPTIONS_MAX,
            "no_task_is_preempted_too_often",
            "{}: {} after {}",
            after.id,
            after.preemptions,
            before.preemptions,
        )
        if before.result is None and after.state is TaskState.LOST:
            given_up = after.spec.on_lost is OnLost.FAIL or after.crashes > self._crash_limit(after)
            demand(given_up, "no_task_is_given_up_early", "{} after {} crashes", after.id, after.crashes)

    def on_demoted(self, worker: str, incarnation: str, live: Iterable[TaskRecord]) -> None:
        """An attempt is demoted in the table: no more is there on its worker than it bears.

        What has ended bears on nobody, also where its report waits for the results store.
        """
        ended = self._cluster.invariants.execution.has_ended
        capacity, most = self._cluster.worker(worker).capacity, self._cluster.knobs.max_demoted
        demoted = sum(
            record.spec.request.cpus
            for record in live
            for attempt in record.attempts
            if attempt.demoted and attempt.incarnation == incarnation and attempt.state is AttemptState.LIVE
            if not ended(record.id, attempt.n)
        )
        bound = (most + NEWCOMERS_PER_CPU) * capacity.cpus
        demand(
            demoted <= bound + EPSILON,
            "no_worker_bears_more_than_it_may",
            "{}: {} cpus are demoted, of {}",
            incarnation,
            demoted,
            bound,
        )

    def _crash_limit(self, record: TaskRecord) -> int:
        own = record.spec.retry.crash_limit
        return self._cluster.knobs.crash_limit if own is None else own
