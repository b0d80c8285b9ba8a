"""Planted defects of preemption: it ends whom it may not."""

from __future__ import annotations

from typing import Any

from alb_broker.core import preemptions
from alb_broker.core.preemptions import Preemptions
from alb_core.tasks import TaskState


def whoever_runs_is_ended() -> list[tuple[Any, str, Any]]:
    """Nobody is asked whether he agreed, nor whether he may run twice."""
    workers_of = Preemptions._workers

    def all_workers(found: Any) -> Any:
        workers = found._state.workers
        for worker in workers:
            worker.preemptible.update(worker.reserved)
            workers.yielding[worker.name] = worker
        return workers_of(found)

    return [
        (Preemptions, "_workers", all_workers),
        (preemptions, "is_preemptible", lambda task: task.state is TaskState.RUNNING),
    ]
