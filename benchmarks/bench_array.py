"""How many commands a second one array runs: many ``/bin/true``, each with its result at the client."""

from __future__ import annotations

from contextlib import suppress
from statistics import median
from time import perf_counter

from alb import Client
from alb.local.cluster import LocalCluster
from bench_dispatch import leader_cpu
from bench_throughput import COMMAND, WARM_UP
from checks import PATIENCE_S, check
from figures import against_floor, floor_median, measure_against, measured_median
from floors import popen_rate
from ground import BenchmarkFailed, Ground, say, stopped
from script import Figures, Size, run

FLOOR_TASKS = 5000
#: Of the floor: its rate does not depend on how many follow.


class ArrayRun:
    """The benchmark's run.

    Args:
        cluster: Up.
        tasks: Of one repeat.
    """

    def __init__(self, cluster: LocalCluster, tasks: int) -> None:
        self._cluster = cluster
        self._tasks = tasks
        self.cpu_us: list[float] = []
        #: Processor time of the leader for one task, of each repeat; the warm-up's first.

    def floor(self) -> float:
        """Measure a bare loop of processes."""
        with stopped(self._cluster):
            return popen_rate(COMMAND, min(FLOOR_TASKS, self._tasks))

    def rate(self) -> float:
        """Measure the cluster."""
        with Client(zk=self._cluster.zk) as client:
            run_array(client, min(WARM_UP, self._tasks))
            began = perf_counter()
            with leader_cpu(client, self._cluster) as used:
                run_array(client, self._tasks)
            seconds = perf_counter() - began
        self.cpu_us.append(used[0] / self._tasks * 1e6)
        return self._tasks / seconds


def run_array(client: Client, tasks: int) -> None:
    """Run an array and check every result.

    Raises:
        BenchmarkFailed: One is wrong, or missing.
    """
    future = client.array(COMMAND, indexes=range(1, tasks + 1))
    seen: set[int] = set()
    for task in future:
        check(task.result())
        seen.add(task.index)
    line = None
    with suppress(TimeoutError):
        line = future.result(timeout=PATIENCE_S)
    if len(seen) != tasks or line is None or line.counts.succeeded != tasks:
        raise BenchmarkFailed(f"of {tasks} tasks {len(seen)} came with their results; the array: {line}")


def measure(ground: Ground, size: Size) -> Figures:
    """Compare the cluster's rate with that of a bare loop of processes."""
    with ground.cluster() as cluster:
        array = ArrayRun(cluster, size.tasks)
        repeats = measure_against(array.floor, array.rate, size.repeats, say)
    return {
        "tasks_per_s": measured_median(repeats),
        "floor_per_s": floor_median(repeats),
        "broker_cpu_us_per_task": median(array.cpu_us[1:]),
        **against_floor(repeats),
        "tasks": size.tasks,
    }


if __name__ == "__main__":
    run("array", measure, repeats=3, tasks=100_000)
