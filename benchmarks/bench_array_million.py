"""What a million tasks of one array take of ZooKeeper and of the leader, against a tenth as many.

They do nothing, on workers that answer at once. Each size has a cluster of its own.
"""

from __future__ import annotations

from time import perf_counter
from typing import Final

import msgspec

from alb import Client
from alb_core.tasks import TaskState
from companions import InstantWorkers, wait_for_workers
from ground import BenchmarkFailed, Ground, say
from load_client import COMMAND
from script import Figures, Size, run
from zookeeper_meter import Maxima, Meter

WORKERS: Final = 4
SLOTS: Final = 100
PART: Final = 10
#: The other array has so many times fewer tasks.


class Sizes(msgspec.Struct, frozen=True):
    """What one array took."""

    maxima: Maxima
    seconds: float


def run_array(ground: Ground, tasks: int) -> Sizes:
    """Run an array on a new cluster, and check how every position ended."""
    with ground.cluster(workers=0) as cluster, Client(zk=cluster.zk) as client:
        with InstantWorkers(cluster) as workers:
            names = [f"i{number}" for number in range(1, WORKERS + 1)]
            for name in names:
                workers.prepare(name, SLOTS)
            workers.go(*names)
            wait_for_workers(client, WORKERS)
            leader = client.cluster()
            began = perf_counter()
            with Meter(cluster.zk, cluster[leader.broker].pid) as meter:
                future = client.array(COMMAND, indexes=range(1, tasks + 1), results=False)
                future.result()
                seconds = perf_counter() - began
                check_ends(client, future.id, tasks)
            if client.cluster().epoch != leader.epoch:
                raise BenchmarkFailed("the leader changed meanwhile")
        say(f"{tasks} tasks in {seconds:.1f} s: {meter.maxima}")
        return Sizes(meter.maxima, seconds)


def check_ends(client: Client, array_id: str, tasks: int) -> None:
    """Hold every position to what its command does: success, status 0.

    Raises:
        BenchmarkFailed: One ended otherwise, or did not.
    """
    reached = 0
    for page in client.array_pages(array_id):
        for stretch in page.stretches:
            good = stretch.state is TaskState.SUCCEEDED and not stretch.exit_status
            if not good or stretch.first != reached:
                raise BenchmarkFailed(f"position {reached} and on: {stretch}")
            reached += stretch.count
    if reached != tasks:
        raise BenchmarkFailed(f"{reached} of {tasks} positions ended")


def measure(ground: Ground, size: Size) -> Figures:
    """Compare both sizes."""
    small = run_array(ground, size.tasks // PART)
    large = run_array(ground, size.tasks)
    return {
        "znodes_growth": large.maxima.znodes / small.maxima.znodes,
        "data_growth": large.maxima.data_bytes / small.maxima.data_bytes,
        "rss_growth": large.maxima.rss_bytes / small.maxima.rss_bytes,
        "tasks_per_s": size.tasks / large.seconds,
        "tasks": size.tasks,
        "rss_mib": large.maxima.rss_bytes / 2**20,
        "repeats": 1,
    }


if __name__ == "__main__":
    run("array_million", measure, repeats=1, tasks=1_000_000)
