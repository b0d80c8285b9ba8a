"""How many commands a second: many ``/bin/true`` through the whole cluster, first submit to last result."""

from __future__ import annotations

import time

from alb import Client
from alb.local.cluster import LocalCluster
from checks import check_all
from figures import against_floor, floor_median, measure_against, measured_median
from floors import popen_rate
from ground import Ground, say, stopped
from script import Figures, Size, run
from usage import medians, processor_us

COMMAND = ["/bin/true"]
WARM_UP = 200
#: Tasks that brokers and workers run before they are measured: they were started a second ago.


def measure(ground: Ground, size: Size) -> Figures:
    """Compare the cluster's rate with that of a bare loop of processes."""
    with ground.cluster() as cluster:

        def floor() -> float:
            with stopped(cluster):
                return popen_rate(COMMAND, size.tasks)

        def rate() -> float:
            with processor_us(cluster, size.tasks + min(WARM_UP, size.tasks)) as spent:
                found = cluster_rate(cluster, size.tasks)
            used.append(spent)
            return found

        used: list[dict[str, float]] = []
        repeats = measure_against(floor, rate, size.repeats, say)
    return {
        "tasks_per_s": measured_median(repeats),
        "floor_per_s": floor_median(repeats),
        **against_floor(repeats),
        **medians(used),
        "tasks": size.tasks,
    }


def cluster_rate(cluster: LocalCluster, tasks: int) -> float:
    """Return how many tasks a second the cluster runs."""
    with Client(zk=cluster.zk) as client:
        check_all([client.submit(COMMAND) for _ in range(min(WARM_UP, tasks))])
        began = time.perf_counter()
        futures = [client.submit(COMMAND) for _ in range(tasks)]
        check_all(futures)
        return tasks / (time.perf_counter() - began)


if __name__ == "__main__":
    run("throughput", measure, repeats=5, tasks=5000)
