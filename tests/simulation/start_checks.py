"""Invariants of waiting: nothing is placed before what it waits for, and no failure is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.simulation.violations import demand

from alb_core.spec import After, Dependency
from alb_core.tasks import Attempt, Result, TaskRecord, TaskState

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.table_checks import TableChecks

SLACK_S: Final = 1e-4
#: Cluster time is told in microseconds.
FAILED: Final = (TaskState.FAILED, TaskState.TIMEOUT, TaskState.OOM, TaskState.LIMIT)


class StartChecks:
    """Holds placements, and results, against what tasks asked for.

    Args:
        cluster: The witness of everything else.
        table: As it is in ZooKeeper.
    """

    def __init__(self, cluster: Cluster, table: TableChecks) -> None:
        self._cluster = cluster
        self._table = table
        self._placed: list[tuple[TaskRecord | None, TaskRecord, Attempt]] = []
        #: In the transaction that is looked at: its task before and after.

    def on_placed(self, before: TaskRecord | None, after: TaskRecord, attempt: Attempt) -> None:
        """An attempt is in the table."""
        self._placed.append((before, after, attempt))

    def on_result(self, before: TaskRecord, result: Result) -> None:
        """A task ended: not by a failure after which it was to be tried again."""
        retry = before.spec.retry
        demand(
            before.failures <= retry.times,
            "no_more_retries_than_asked",
            f"{before.id} failed {before.failures} times of {retry.times}",
        )
        own = result.attempt and result.state in FAILED and not before.cancel
        wanted = not retry.exit_codes or result.exit_code in retry.exit_codes
        full = "no worker has more" in result.why
        demand(
            not own or not wanted or before.failures == retry.times or full,
            "a_failure_is_tried_again",
            f"{before.id} ended {result.state} after {before.failures} retries of {retry.times}",
        )

    def after_transaction(self) -> None:
        """Everything that a transaction says is known: judge what it placed."""
        placed, self._placed = self._placed, []
        for before, after, attempt in placed:
            name = f"{after.id} attempt {attempt.n}, placed at {attempt.placed}"
            self._check_time(name, before, after, attempt)
            released = after.released or not after.spec.start.hold
            demand(not after.held_by and released, "nothing_held_is_placed", f"{name}: {after}")
            for dependency in after.spec.start.dependencies:
                demand(
                    self._came_true(dependency),
                    "nothing_is_placed_before_its_dependencies",
                    f"{name}: {dependency}, {self._table.results.get(dependency.task)}",
                )
            if after.spec.start.singleton:
                self._check_alone(name, after)

    def _check_time(self, name: str, before: TaskRecord | None, after: TaskRecord, attempt: Attempt) -> None:
        start = after.spec.start
        not_before = max(before.not_before if before is not None else 0.0, start.begin)
        if start.delay_s:
            not_before = max(not_before, after.submitted + start.delay_s)
        demand(
            attempt.placed >= not_before - SLACK_S,
            "nothing_is_placed_before_its_time",
            f"{name}, not before {not_before}",
        )

    def _came_true(self, dependency: Dependency) -> bool:
        result = self._table.results.get(dependency.task)
        match dependency.after:
            case After.STARTED:
                return result is not None or any(task == dependency.task for task, _ in self._table.assigned)
            case After.ENDED:
                return result is not None
            case After.SUCCEEDED:
                return result is not None and result.state is TaskState.SUCCEEDED
            case After.FAILED:
                return result is not None and result.state is not TaskState.SUCCEEDED

    def _check_alone(self, name: str, record: TaskRecord) -> None:
        likes = [
            other.id
            for other in self._table.live.values()
            if (other.user, other.spec.name) == (record.user, record.spec.name)
            and other.submitted < record.submitted
        ]
        demand(not likes, "a_singleton_is_alone", f"{name} before {likes}")

    def may_wait(self, task_id: str) -> bool:
        """Tell whether a task rightly waits still: for one that nobody submitted, or that was forgotten."""
        record = self._table.live.get(task_id)
        if record is None or record.state is not TaskState.HELD:
            return False
        kept = record.held_by or (record.spec.start.hold and not record.released)
        if kept and not any(client.alive for client in self._cluster.clients):
            return True  # nobody is there to release it
        return any(
            place not in record.met and self._is_forgotten(dependency.task)
            for place, dependency in enumerate(record.spec.start.dependencies)
        ) or any(self.may_wait(dependency.task) for dependency in record.spec.start.dependencies)

    def _is_forgotten(self, task_id: str) -> bool:
        table, store = self._table, self._cluster.store
        stored = self._cluster.knobs.store and task_id in store.tasks and task_id not in store.cleared
        return table.known(task_id) is None and not stored
