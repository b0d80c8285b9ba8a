"""Who saves leaves idle workers asleep for a while: room on one that runs something is worth a short wait.

It says of a task and the idle worker that a policy chose for it whether the task waits instead. It waits as
long as its vector says (`patience_s`) and no longer, and only where there is something to wait for: a worker
that runs something, on which it would have room beside others, and that is not too slow. After that any
worker will do, so nobody who saves starves of it.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from alb_core.resources import Request, fits
from alb_core.vectors import Vector, patience_s

if TYPE_CHECKING:
    from alb_broker.core.task import Task
    from alb_broker.core.worker import Worker
    from alb_broker.core.workers import Workers

LOOK_EVERY_S: Final = 1.0
#: Between two looks at all workers: whom others woke since is not known yet.
HOSTS_MAX: Final = 64
#: Of the workers that run something, looked at for one task: where none of so many suits, it waits for none.
AHEAD_S: Final = 1.0
#: What comes at one moment is stamped microseconds apart, so a little ahead of the clock. What is ahead by
#: more tells of a clock that went back: that keeps nobody waiting.
SLOW: Final = 0.5
#: On a worker that is slower than this part of the one that would be woken, the task would hold its room so
#: long that waking costs less.


class Patience:
    """Tells who waits."""

    def __init__(self) -> None:
        self._awake: list[Worker] = []  #: Ran something at the newest look, or were woken since.
        self._looked = float("-inf")  #: Cluster time of that.

    def spares(self, task: Task, idle: Worker, vector: Vector, workers: Workers, at: float) -> bool:
        """Tell whether a task had better wait than be placed on a worker that runs nothing.

        Args:
            task: That is offered.
            idle: The worker.
            vector: What counts for the task.
            workers: All.
            at: Cluster time.
        """
        waited_s, most_s = at - task.queued_since, patience_s(vector)
        if not most_s or not -AHEAD_S <= waited_s < most_s:
            return False
        if not 0 <= at - self._looked < LOOK_EVERY_S:
            self._looked = at
            self._awake = [worker for worker in workers if worker.reserved]
        hosts = islice((worker for worker in self._awake if worker.reserved), HOSTS_MAX)
        if any(_suits(worker, idle, task.request) for worker in hosts):
            return True
        self._awake.append(idle)  # it is woken now: who comes next may wait for its room
        return False


def _suits(host: Worker, idle: Worker, request: Request) -> bool:
    """Tell whether a request could run on a worker beside what runs there, and about as well."""
    capacity = host.capacity
    return (
        host.placeable
        and host.booked is None
        and request.cpus < capacity.cpus  # who takes all of a worker finds it empty, or not at all
        and request.memory_bytes < capacity.memory_bytes
        and fits(request, capacity)
        and host.speed_in(request.strain) >= SLOW * idle.speed_in(request.strain)
        and request.preferred(capacity) >= request.preferred(idle.capacity)
    )
