"""Which running tasks lag behind their likes, of those that may run twice: the rules of LATE.

It owns what is known of siblings and of the pace of workers, and judges; it makes no copies. All of it is in
memory: the next leader learns it anew, from the tasks that are over and the heartbeats of those that run.

A task lags when its rate is below that of most of its siblings, over and running. Among those the one that
ends farthest in the future is the first to be copied (``copies.py``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from alb_broker.core.likeness import alike_in_progress
from alb_broker.core.newest import newest
from alb_broker.core.siblings import SIBLINGS_MIN, Advance, Siblings, Standing, percentile
from alb_broker.core.task import Task
from alb_core.copies import COPIES, CopiesNode, may_run_twice
from alb_core.messages import AttemptId
from alb_core.tasks import Attempt, Cause, Outcome, TaskRecord, TaskState

if TYPE_CHECKING:
    from alb_broker.core.worker import Worker
    from alb_broker.core.workers import Workers
    from alb_core.messages import AttemptProgress

KINDS_MAX: Final = 1000
#: Of siblings that are remembered; those of which nothing ended for longest go first.
PACE_WEIGHT: Final = 0.3
#: Of the newest run time in what is known of a worker's pace: three ends make an impression.
SLACK: Final = 1000
#: Tasks that left otherwise may linger.
LOOKED_AT_MAX: Final = 4000
#: Running tasks in one look, in turns.


class Straggler(NamedTuple):
    """An attempt that lags."""

    left_s: float
    task: Task
    attempt: Attempt
    work: float
    #: What it would cost elsewhere, as seconds at speed 1.


class _Member(NamedTuple):
    task: Task
    attempt: Attempt
    worker: Worker
    standing: Standing


class Stragglers:
    """The running tasks that may be copied."""

    def __init__(self) -> None:
        self.node: CopiesNode = COPIES  #: The bounds in force.
        self.watched: dict[str, Task] = {}  #: By id; some may have left.
        self._kinds: Final[OrderedDict[Hashable, Siblings]] = OrderedDict()
        self._advances: Final[dict[AttemptId, Advance]] = {}  #: Of watched tasks.
        self._paces: Final[dict[str, float]] = {}
        #: Work a second of each worker, by name, as ends of siblings told; its speed is what it promises.
        self._turn = 0

    # --- what happens ---------------------------------------------------------------------------------------

    def watch(self, task: Task) -> None:
        """A task was placed."""
        if may_run_twice(task.spec, self.node) and self.node.enabled:
            self.watched[task.id] = task

    def use(self, node: CopiesNode, running: Iterable[Task]) -> None:
        """Let other bounds be in force; of tasks that run, others may be copied now."""
        self.node = node
        self.watched.clear()
        self._advances.clear()
        for task in running:
            if task.state is TaskState.RUNNING:
                self.watch(task)

    def note_progress(self, told: Iterable[AttemptProgress], at: float) -> None:
        """A worker told how far attempts are."""
        for each in told:
            if each.attempt.task in self.watched:
                self._advances[each.attempt] = Advance(each.increments, each.step, at)

    def on_end(self, task: Task, attempt: Attempt, worker: Worker, outcome: Outcome) -> None:
        """An attempt is over; what came to its own good end tells what is to be expected of others."""
        if task.id not in self.watched:
            return
        advance = self._advances.pop(AttemptId(task.id, attempt.n), None)
        if task.state is not TaskState.RUNNING:
            del self.watched[task.id]
        if outcome.cause is not Cause.EXITED or outcome.exit_code != 0 or outcome.wall_s <= 0:
            return
        if attempt.demoted:
            return  # it ran with what others left over: that tells nothing of what it takes
        siblings, wall_s = self._siblings(task.id, task.user, task), outcome.wall_s
        told_s = advance.at - attempt.placed if advance is not None else 0.0
        increments = advance.increments * wall_s / told_s if advance is not None and told_s > 0 else 0.0
        siblings.end(wall_s, speed_of(worker), increments)
        work = siblings.work()
        if work:
            before = self._paces.get(worker.name, speed_of(worker))
            self._paces[worker.name] = before + PACE_WEIGHT * (work / wall_s - before)

    def learn(self, record: TaskRecord, workers: Workers) -> None:
        """A task was over before this reign."""
        result = record.result
        if result is None or result.state is not TaskState.SUCCEEDED or result.wall_s <= 0:
            return
        if may_run_twice(record.spec, self.node):
            worker = workers.by_name.get(result.worker)
            speed = speed_of(worker) if worker is not None else 1.0
            self._siblings(record.id, record.user, record).end(result.wall_s, speed)

    def _siblings(self, task_id: str, user: str, of: Task | TaskRecord) -> Siblings:
        return newest(self._kinds, alike_in_progress(task_id, user, of.spec), Siblings, KINDS_MAX)

    # --- who lags -------------------------------------------------------------------------------------------

    def look(
        self, workers: Workers, now: float, runs_since: Callable[[Worker, AttemptId, float], float]
    ) -> tuple[list[Straggler], dict[str, float]]:
        """Judge the running tasks.

        Args:
            workers: Where they run.
            now: Cluster time.
            runs_since: See `State.runs_since`.

        Returns:
            Those that lag and have no copy, the one that ends last first; and what each worker does a second,
            where something tells it.
        """
        kinds: dict[Hashable, list[_Member]] = {}
        for task in self._next():
            key = alike_in_progress(task.id, task.user, task.spec)
            siblings = self._kinds.get(key)
            for attempt in task.live():
                member = self._judge(task, attempt, siblings, workers, now, runs_since)
                if member is not None:
                    kinds.setdefault(key, []).append(member)
        paces = dict(self._paces)
        found: list[Straggler] = []
        for key, members in kinds.items():
            found += self._lagging(self._kinds.get(key), members, paces)
        found.sort(key=lambda each: (-each.left_s, each.task.id))
        return found, paces

    def _next(self) -> Iterator[Task]:
        """Yield the running tasks whose turn it is to be looked at: all, unless there are very many."""
        tasks = [task for task in self.watched.values() if task.state is TaskState.RUNNING]
        if len(tasks) > LOOKED_AT_MAX:
            begin = self._turn % len(tasks)
            self._turn = begin + LOOKED_AT_MAX
            tasks = (tasks[begin:] + tasks[:begin])[:LOOKED_AT_MAX]
        yield from tasks

    def _judge(  # noqa: PLR0913, PLR0917 (what is known of one attempt)
        self,
        task: Task,
        attempt: Attempt,
        siblings: Siblings | None,
        workers: Workers,
        now: float,
        runs_since: Callable[[Worker, AttemptId, float], float],
    ) -> _Member | None:
        worker, name = workers.find(attempt.worker, attempt.incarnation), AttemptId(task.id, attempt.n)
        if worker is None or name not in worker.reserved or name in worker.unconfirmed:
            return None  # it waits there, is over but for its report, or has not reached its worker yet
        if name in worker.killing:
            return None  # its end is ordered, perhaps before it began: its task goes on elsewhere by that
        advance, elapsed_s = self._advances.get(name), now - runs_since(worker, name, attempt.placed)
        if name in worker.launching:
            return None  # the clock of its likes' run times does not tick while its files come
        known = siblings if siblings is not None else Siblings()
        standing = known.standing(task.spec, elapsed_s, speed_of(worker), advance, now)
        return None if standing is None or not standing.total_s else _Member(task, attempt, worker, standing)

    def _lagging(
        self, siblings: Siblings | None, members: list[_Member], paces: dict[str, float]
    ) -> Iterator[Straggler]:
        """Yield who lags among siblings, and take note of what their workers do a second."""
        work = siblings.work() if siblings is not None else 0.0
        telling = [each for each in members if not each.attempt.demoted]  # the others have what is left over
        if not work:
            if len(telling) < SIBLINGS_MIN:
                return
            work = median(each.standing.total_s * speed_of(each.worker) for each in telling)
        rates = [1 / each.standing.total_s for each in telling]
        threshold = percentile(
            rates + list(siblings.rates) if siblings is not None else rates, self.node.slow_tasks
        )
        for member in members:
            worker, rate = member.worker, 1 / member.standing.total_s
            if not member.attempt.demoted:
                paces[worker.name] = min(paces.get(worker.name, speed_of(worker)), work * rate)
            if rate < threshold and len(member.task.live()) == 1:
                yield Straggler(member.standing.left_s, member.task, member.attempt, work)

    def tidy(self, workers: Workers) -> None:
        """Forget tasks that left otherwise than by an end, and workers that are no more."""
        if len(self.watched) > SLACK or len(self._advances) > SLACK:
            self.watched = {
                name: task for name, task in self.watched.items() if task.state is TaskState.RUNNING
            }
            for attempt in [each for each in self._advances if each.task not in self.watched]:
                del self._advances[attempt]
        if len(self._paces) > 2 * len(workers.by_name) + SLACK:
            for name in [each for each in self._paces if each not in workers.by_name]:
                del self._paces[name]


def speed_of(worker: Worker) -> float:
    """Return how fast a worker is said to be."""
    return worker.speed_in(None)
