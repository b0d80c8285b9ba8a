"""How long short commands wait while endless ones hold every slot, in quanta; no endless one may be killed.

User A has four endless commands for each slot, without limits. When all slots are held, user B comes with
short commands, two a second. How long B waits, from accepted to started, is what the cluster itself recorded.
"""

from __future__ import annotations

import time
from typing import Final

from alb import Client
from alb.api.future import TaskFuture
from alb.local.cluster import LocalCluster
from alb_core.limits import QUANTUM_S
from alb_core.tasks import TaskState
from checks import PATIENCE_S, check
from companions import wait_for_workers
from figures import percentile
from ground import BenchmarkFailed, Ground, say
from script import Figures, Size, run

LOOP: Final = "while :; do :; done"
SHORT: Final = ["/bin/sleep", "0.1"]
WORKERS: Final = 2
SLOTS: Final = 4
#: Of both workers.
LOOPS_A_SLOT: Final = 4
EVERY_S: Final = 0.5
LIMIT_S: Final = 60.0
#: Of B's commands: what has one is let in past whatever loops.


def measure(ground: Ground, size: Size) -> Figures:
    """Let the loops have everything, and see how others fare."""
    with ground.cluster(workers=WORKERS) as cluster:
        return fare(cluster, WORKERS, SLOTS * LOOPS_A_SLOT, size.tasks)


def fare(cluster: LocalCluster, workers: int, loops: int, tasks: int) -> Figures:
    """Return how B's commands fared beside A's loops."""
    with Client(zk=cluster.zk, user="A") as looping, Client(zk=cluster.zk, user="B") as client:
        wait_for_workers(client, workers)
        endless = [looping.submit(LOOP) for _ in range(loops)]
        _wait_for_full_slots(client)
        say(f"{len(endless)} loops, and every slot is held")
        futures, demoted = _submit(client, tasks)
        waits_s = [_wait_of(client, future) for future in futures]
        lines = list(looping.tasks(user="A"))
        alive = sum(line.state in (TaskState.RUNNING, TaskState.QUEUED) for line in lines)
        for future in endless:
            future.cancel()
        for future in endless:
            future.exception(timeout=PATIENCE_S)
    return {
        "p99_quanta": round(percentile(waits_s, 99) / QUANTUM_S, 3),
        "p50_quanta": round(percentile(waits_s, 50) / QUANTUM_S, 3),
        "quantum_s": QUANTUM_S,
        "finished": len(waits_s),
        "submitted": tasks,
        "killed": len(endless) - alive,
        "loops_alive": alive,
        "demoted_max": demoted,
    }


def _wait_for_full_slots(client: Client) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while any(worker.running < worker.capacity.cpus for worker in client.workers()):
        if time.monotonic() > deadline:
            raise BenchmarkFailed("the loops do not hold every slot")
        time.sleep(0.1)


def _submit(client: Client, tasks: int) -> tuple[list[TaskFuture], int]:
    """Submit B's commands at their times; return them, and the most that one worker had demoted."""
    futures, demoted = list[TaskFuture](), 0
    began = time.monotonic()
    for number in range(tasks):
        time.sleep(max(0.0, began + number * EVERY_S - time.monotonic()))
        futures.append(client.submit(SHORT, time_limit=LIMIT_S))
        demoted = max(demoted, *(worker.demoted for worker in client.workers()))
    return futures, demoted


def _wait_of(client: Client, future: TaskFuture) -> float:
    """Wait for a command's end; return how long it had waited, by the cluster's own clock."""
    check(future.result(timeout=PATIENCE_S))
    record = client.task(future.id)
    if record.result is None:
        raise BenchmarkFailed(f"{future.id} has no result in the table")
    return max(0.0, record.result.started - record.submitted)


if __name__ == "__main__":
    run("progress", measure, repeats=1, tasks=200)
