"""How long the command line takes: ``alb submit /bin/true``, process start to exit, beside bare imports."""

from __future__ import annotations

from statistics import median

from alb.local.cluster import LocalCluster, alb_command
from figures import against_floor, floor_median, measure_against, measured_median
from floors import import_ms, process_ms
from ground import Ground, say, stopped
from script import Figures, Size, run


def measure(ground: Ground, size: Size) -> Figures:
    """Compare the command with a Python that only imports what every client of ZooKeeper and ZeroMQ needs."""
    with ground.cluster() as cluster:

        def floor() -> float:
            with stopped(cluster):
                return median(import_ms() for _ in range(size.tasks))

        repeats = measure_against(floor, lambda: command_ms(cluster, size.tasks), size.repeats, say)
    return {
        "p50_ms": measured_median(repeats),
        "floor_ms": floor_median(repeats),
        **against_floor(repeats),
        "tasks": size.tasks,
    }


def command_ms(cluster: LocalCluster, tasks: int) -> float:
    """Return the median time of the command on an idle cluster."""
    command = [*alb_command(), "submit", "--zk", cluster.zk, "/bin/true"]
    process_ms(command)  # the first one finds brokers and workers that were started this second
    return median(process_ms(command) for _ in range(tasks))


if __name__ == "__main__":
    run("cli", measure, repeats=5, tasks=30)
