"""A placement pass without a broker: waiting tasks, workers, and a placer with a policy of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.broker_parts import POLICIES, attempt, make_task, make_worker, request

from alb_broker.core.decisions import Decided
from alb_broker.core.placement import (
    Placer,
)
from alb_broker.core.queue import Queue
from alb_broker.core.shares import Shares
from alb_broker.core.task import Task
from alb_broker.core.worker import Worker
from alb_broker.core.workers import Workers
from alb_broker.policies import Candidate, Context, Policy
from alb_core.choices import Choice
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskState


class Scene:
    """Waiting tasks, workers, and a placer with one more policy."""

    def __init__(self, policy: Policy | None = None, workers: int = 2, cpus: float = 4) -> None:
        self.placer = Placer({**POLICIES, "mine": policy or POLICIES["uniform"]}, seed=1)
        if policy is not None:
            self.placer.use(Choice(policy="mine"))
        self.queue, self.workers = Queue(), Workers()
        self.placed: list[tuple[int, str]] = []
        for number in range(workers):
            worker = make_worker(f"w{number}", cpus)
            self.workers.add(worker)
            self.workers.grew(worker)

    def submit(self, *numbers: int, **shape: Any) -> None:
        """Let tasks wait."""
        for number in numbers:
            self.queue.add(make_task(number, spec=TaskSpec(command="x", request=request(**shape))))

    def allow(self, name: str, ahead: int) -> Worker:
        """Let a worker hold so many ahead, as its pace at a tick would."""
        worker = self.workers.by_name[name]
        worker.allowance = ahead
        self.workers.grew(worker)
        return worker

    def run(
        self,
        at: float = 0.0,
        shares: Shares | None = None,
        admits: Callable[[Task, Worker], bool] | None = None,
    ) -> int:
        """Make a pass."""
        return self.placer.run(self.queue, self.workers, shares or Shares(), self._commit, at, admits=admits)

    def _commit(self, task: Task, worker: Worker, _decided: Decided) -> None:
        number = int(task.id, 16)
        worker.reserve(attempt(number), task.spec.request)
        task.state = TaskState.RUNNING
        self.placed.append((number, worker.name))


def take_last(_task: TaskSpec, candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
    """Choose the last candidate."""
    return candidates[-1]


def decline(_task: TaskSpec, _candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
    """Let every task wait."""
    return None
