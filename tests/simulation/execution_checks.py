"""Invariants of what really ran: the witness of every start and end, worker by worker."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from tests.simulation.violations import demand

from alb_core.messages import AttemptId
from alb_core.resources import Capacity, Request
from alb_core.spec import OnLost, TaskSpec
from alb_core.tasks import Attempt, Cause, Outcome, Result, TaskRecord, TaskState

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

EPSILON: Final = 1e-6
ENDED_AS: Final = {
    Cause.TIMED_OUT: TaskState.TIMEOUT,
    Cause.KILLED: TaskState.CANCELLED,
    Cause.OUT_OF_MEMORY: TaskState.OOM,
}

UNSTARTED: Final = (Cause.GIVEN_BACK, Cause.EVICTED, Cause.PREEMPTED)
#: As what an attempt may end that was never started, and whose task runs again.


class ExecutionChecks:
    """Watches every start and end.

    Args:
        cluster: The witness of everything else.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.running: dict[str, dict[AttemptId, Request]] = defaultdict(dict)  #: By incarnation.
        self._started: dict[tuple[str, int], str] = {}  #: Who started an attempt.
        self._began: dict[tuple[str, int], float] = {}  #: When it did, in true time.
        self._starts: dict[str, list[int]] = defaultdict(list)  #: The attempts of a task that started.
        self._ended: dict[tuple[str, int], Outcome | None] = {}  #: None: died with its worker or runner.
        self._given_back: set[tuple[str, int]] = set()  #: Attempts that their worker said it never started.
        self._demoted: set[AttemptId] = set()  #: Their processors are others'.
        self._gpus: dict[str, dict[AttemptId, tuple[int, ...]]] = defaultdict(dict)  #: By incarnation.
        self.count = 0

    def starts_of(self, task_id: str) -> list[int]:
        """Return the attempts of a task that were started."""
        return self._starts.get(task_id, [])

    def began_before(self, task_id: str, n: int, moment: float) -> bool:
        """Tell whether an attempt was started before a moment, in true time."""
        return self._began.get((task_id, n), moment) < moment

    def _all_failed(self, task_id: str) -> bool:
        """Tell whether every attempt of a task that started came to an end of its own."""
        ends = [self._ended.get((task_id, n)) for n in self.starts_of(task_id)]
        return all(end is not None and end.cause not in (Cause.KILLED, Cause.INTERRUPTED) for end in ends)

    def may_start_again(self, record: TaskRecord) -> bool:
        """Tell whether a task that must not run twice may be placed: each attempt before failed by itself."""
        return self._all_failed(record.id) and len(self.starts_of(record.id)) <= record.spec.retry.times

    def has_ended(self, task_id: str, n: int) -> bool:
        """Tell whether an attempt was started and is over."""
        return (task_id, n) in self._ended

    def was_given_back(self, task_id: str, n: int) -> bool:
        """Tell whether the worker of an attempt gave it back."""
        return (task_id, n) in self._given_back

    def on_reported(self, attempt: AttemptId, outcome: Outcome) -> None:
        """A worker reports the end of an attempt."""
        key = (attempt.task, attempt.n)
        if outcome.cause is Cause.GIVEN_BACK:
            demand(key not in self._started, "what_is_given_back_never_starts", f"{attempt} has started")
        if outcome.cause in UNSTARTED and key not in self._started:
            self._given_back.add(key)

    def on_demoted(self, attempts: tuple[AttemptId, ...]) -> None:
        """A worker hears that attempts are demoted."""
        for attempt in attempts:
            record = self._cluster.invariants.table.live.get(attempt.task)
            marked = record is None or any(each.demoted for each in record.attempts if each.n == attempt.n)
            demand(marked, "nobody_gives_way_before_the_table_says_so", f"{attempt} of {record}")
            self._demoted.add(attempt)

    def on_start(
        self, attempt: AttemptId, spec: TaskSpec, worker: str, incarnation: str, capacity: Capacity
    ) -> None:
        """A process was started."""
        key = (attempt.task, attempt.n)
        name = f"{attempt} on {incarnation}"
        assigned = self._cluster.invariants.table.assigned.get(key)
        demand(
            assigned is not None and (assigned.worker, assigned.incarnation) == (worker, incarnation),
            "nothing_starts_that_is_not_in_the_table",
            f"{name}, the table says {assigned}",
        )
        demand(key not in self._given_back, "what_is_given_back_never_starts", f"{name} starts")
        demand(key not in self._started, "no_attempt_starts_twice", f"{name} after {self._started.get(key)}")
        demand(
            spec.on_lost is not OnLost.FAIL or self._all_failed(attempt.task),
            "no_second_start_with_on_lost_fail",
            f"{name} after attempts {self._starts[attempt.task]}",
        )
        self._started[key] = incarnation
        self._began[key] = self._cluster.timeline.now
        self._starts[attempt.task].append(attempt.n)
        self.count += 1
        running = self.running[incarnation]
        running[attempt] = spec.request
        cpus = sum(request.cpus for each, request in running.items() if each not in self._demoted)
        memory = sum(request.memory_bytes for request in running.values())
        counts = Counter[str]()
        for request in running.values():
            counts.update({count.name: count.amount for count in request.counts})
        offered = {count.name: count.amount for count in capacity.counts}
        demand(
            cpus <= capacity.cpus + EPSILON
            and memory <= capacity.memory_bytes
            and all(amount <= offered.get(each, 0) for each, amount in counts.items()),
            "no_worker_runs_more_than_its_capacity",
            f"{name}: {cpus} cpus, {memory} bytes and {dict(counts)} in {sorted(map(str, running))}, "
            f"offered {capacity}",
        )

    def on_gpus(self, attempt: AttemptId, spec: TaskSpec, incarnation: str, gpus: tuple[int, ...]) -> None:
        """A process was started with these GPUs."""
        had = self._gpus[incarnation]
        wanted = sum(count.amount for count in spec.request.counts if count.name == "gpus")
        others = {index for each in had.values() for index in each}
        demand(
            len(set(gpus)) == len(gpus) == wanted and not others & set(gpus),
            "no_two_attempts_share_a_gpu",
            f"{attempt} on {incarnation} asks for {wanted} and has {gpus}, others have {had}",
        )
        had[attempt] = gpus

    def on_end(self, attempt: AttemptId, incarnation: str, outcome: Outcome | None) -> None:
        """A process is gone."""
        self.running[incarnation].pop(attempt, None)
        self._gpus[incarnation].pop(attempt, None)
        self._ended[attempt.task, attempt.n] = outcome

    def check_result(self, task_id: str, attempt: Attempt, result: Result) -> None:
        """A result must say what its attempt did."""
        key = (task_id, attempt.n)
        if key not in self._started:
            fits = result.exit_code is None and result.state in (TaskState.CANCELLED, TaskState.FAILED)
            demand(fits, "a_result_says_what_happened", f"{task_id}: {result} without a start")
            return
        outcome = self._ended.get(key)
        demand(outcome is not None, "a_result_says_what_happened", f"{task_id}: {result} before its end")
        assert outcome is not None
        succeeded = TaskState.SUCCEEDED if outcome.exit_code == 0 else TaskState.FAILED
        expected = ENDED_AS.get(outcome.cause, succeeded)
        same = (result.exit_code, result.stdout, result.stderr, result.worker, result.state) == (
            outcome.exit_code,
            outcome.stdout,
            outcome.stderr,
            attempt.worker,
            expected,
        )
        demand(same, "a_result_says_what_happened", f"{task_id}: {result} but it ended as {outcome}")
