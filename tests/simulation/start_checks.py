"""Invariants of waiting: nothing is placed before what it waits for, and no failure is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from tests.simulation.violations import demand

from alb_core import ids
from alb_core.arrays import ArrayRecord, state_of
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
        array = self._cluster.invariants.arrays.known(ids.array_of(before.id))
        ended = before.id in self._cluster.cancels or (array is not None and array.record.cancel)
        own = result.attempt and result.state in FAILED and not (before.cancel or ended)
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
            demand(not after.held_by and released, "nothing_held_is_placed", "{}: {}", name, after)
            for dependency in after.spec.start.dependencies:
                demand(
                    self.came_true(dependency),
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

    def on_array_started(self, record: ArrayRecord) -> None:
        """The table says that nothing keeps an array back any more; the same write may hold it again."""
        start = record.spec.task.start
        released = record.released or not start.hold
        made = bool(record.held_by and record.cursor)
        demand(released and not made, "nothing_held_is_placed", f"{record}")
        for dependency in start.dependencies:
            demand(
                self.came_true(dependency),
                "no_array_starts_before_its_dependencies",
                f"{record}: {dependency}, {self._table.results.get(dependency.task)}",
            )
        if start.singleton:
            self._check_alone(record.id, record)

    def came_true(self, dependency: Dependency) -> bool:
        """Tell whether what was to happen to a task, an array, or a task of an array is in the table."""
        name = dependency.task
        state = self._end_of(name)
        match dependency.after:
            case After.STARTED:
                begun = any(name in (task, ids.array_of(task)) for task, _ in self._table.assigned)
                return state is not None or begun or self._has_ends(name)
            case After.ENDED:
                return state is not None
            case After.SUCCEEDED:
                return state is TaskState.SUCCEEDED
            case After.FAILED:
                return state not in (None, TaskState.SUCCEEDED)

    def _end_of(self, name: str) -> TaskState | None:
        arrays = self._cluster.invariants.arrays
        result, array = self._table.results.get(name), arrays.known(name)
        if result is not None:
            return result.state
        if array is not None:
            return state_of(array.record) if array.record.finished else None
        return arrays.end_of_unmade(name)

    def _has_ends(self, name: str) -> bool:
        array = self._cluster.invariants.arrays.known(name)
        return array is not None and array.record.counts.over > 0

    def _check_alone(self, name: str, record: TaskRecord | ArrayRecord) -> None:
        likes = [
            each.id
            for each in self._singles()
            if (each.user, _name(each)) == (record.user, _name(record)) and each.submitted < record.submitted
        ]
        demand(not likes, "a_singleton_is_alone", f"{name} before {likes}")

    def _singles(self) -> Iterator[TaskRecord | ArrayRecord]:
        """Yield what counts among its likes: tasks that are of no array, and arrays as one."""
        yield from (record for record in self._table.live.values() if not ids.array_of(record.id))
        arrays = self._cluster.invariants.arrays.seen.values()
        yield from (seen.record for seen in arrays if not seen.record.finished)

    def may_wait(self, task_id: str) -> bool:
        """Tell whether a task or array rightly waits: for one that nobody submitted, or that is forgotten."""
        record = self._waiting(task_id)
        if record is None:
            return False
        start = record.spec.start if isinstance(record, TaskRecord) else record.spec.task.start
        kept = record.held_by or (start.hold and not record.released)
        if kept and not any(client.alive for client in self._cluster.clients):
            return True  # nobody is there to release it
        if start.singleton and self._earlier_may_wait(record):
            return True
        return any(
            place not in record.met and self._is_forgotten(dependency.task)
            for place, dependency in enumerate(start.dependencies)
        ) or any(self.may_wait(dependency.task) for dependency in start.dependencies)

    def _earlier_may_wait(self, record: TaskRecord | ArrayRecord) -> bool:
        """Tell whether an earlier one of the same user and name rightly waits, and a singleton behind it."""
        return any(
            self.may_wait(each.id)
            for each in self._singles()
            if (each.user, _name(each)) == (record.user, _name(record))
            and (each.submitted, each.id) < (record.submitted, record.id)
        )

    def _waiting(self, name: str) -> TaskRecord | ArrayRecord | None:
        """Return what is held: a task, an array, or the array of a task that is not made yet."""
        record = self._table.live.get(name)
        if record is not None:
            return record if record.state is TaskState.HELD else None
        array = self._cluster.invariants.arrays.seen.get(ids.array_of(name) or name)
        held = array is not None and state_of(array.record) is TaskState.HELD
        return array.record if array is not None and held else None

    def _is_forgotten(self, task_id: str) -> bool:
        table, store = self._table, self._cluster.store
        if (ids.array_of(task_id) or task_id) in self._cluster.invariants.arrays.seen:
            return False
        stored = self._cluster.knobs.store and task_id in store.tasks and task_id not in store.cleared
        return table.known(task_id) is None and not stored


def _name(record: TaskRecord | ArrayRecord) -> str:
    return record.spec.name if isinstance(record, TaskRecord) else record.spec.task.name
