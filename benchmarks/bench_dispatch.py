"""How many tasks a second the leader handles when running them costs nothing.

Four clients submit, ten worker processes answer at once. The clock runs from the first submission until the
last result is with its client and the table is down to the finished tasks that it keeps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Final

import msgspec
import psutil

from alb import Client, TaskState
from alb.local.cluster import LocalCluster
from alb.local.daemons import wait_until
from alb_core import limits, znodes
from alb_core.io.clock import monotonic
from alb_core.tasks import TaskRecord
from companions import PATIENCE_S, InstantWorkers, load_clients, wait_for_workers
from figures import against_floor, floor_median, mean_size, measure_against, measured_median
from floors import Asker, record_rate, table_buckets
from ground import BenchmarkFailed, Ground, only_zookeeper, say
from load_client import Span
from script import Figures, Size, run

WORKERS: Final = 10
SLOTS: Final = 100
#: Of each worker: the leader, not the number of slots, is to be the narrow place.
CLIENTS: Final = 4
WARM_UP: Final = 5000
SAMPLE: Final = 1000
FIRST_SIZE: Final = 600
#: Bytes of a record, for the first floor, which only the warm-up uses.


class Dispatch:
    """The benchmark's run.

    Args:
        cluster: Up, without workers.
        tasks: Of one repeat.
    """

    def __init__(self, cluster: LocalCluster, tasks: int) -> None:
        self._cluster = cluster
        self._tasks = tasks
        self.record_bytes = FIRST_SIZE
        #: Mean size of the records that the latest run wrote.
        self.cpu_us: list[float] = []
        #: Processor time of the leader for one task, of each repeat; the warm-up's first.

    def floor(self) -> float:
        """Measure what ZooKeeper alone can do."""
        with only_zookeeper(self._cluster):
            return record_rate(self._cluster.zk, self.record_bytes, self._tasks)

    def rate(self) -> float:
        """Measure the cluster."""
        cluster = self._cluster
        with Client(zk=cluster.zk) as client, InstantWorkers(cluster) as workers:
            names = [f"i{number}" for number in range(1, WORKERS + 1)]
            for name in names:
                workers.prepare(name, SLOTS)
            workers.go(*names)
            wait_for_workers(client, WORKERS)
            run_tasks(cluster, client, min(WARM_UP, self._tasks))
            with leader_cpu(client, cluster) as used:
                seconds = run_tasks(cluster, client, self._tasks)
            self.cpu_us.append(used[0] / self._tasks * 1e6)
            self.record_bytes = record_bytes(cluster)
        return self._tasks / seconds


def run_tasks(cluster: LocalCluster, client: Client, tasks: int) -> float:
    """Run tasks from all clients; return how many seconds they and the removal of the oldest took."""
    with load_clients(cluster, CLIENTS, tasks) as clients:
        for each in clients:
            each.go()
        spans = [msgspec.json.decode(each.line(), type=Span) for each in clients]
        began, ended = min(span.began for span in spans), max(span.ended for span in spans)
        if tidied(client):
            return ended - began
        if not wait_until(lambda: tidied(client), PATIENCE_S):
            raise BenchmarkFailed(f"more than {limits.DONE_KEPT_MAX} finished tasks stay in the table")
        return monotonic() - began


def tidied(client: Client) -> bool:
    """Tell whether the oldest finished tasks are deleted: the leader answers only after that is durable."""
    return client.cluster().counts["done"] <= limits.DONE_KEPT_MAX


@contextmanager
def leader_cpu(client: Client, cluster: LocalCluster) -> Iterator[list[float]]:
    """Measure the processor time in seconds that the leader uses within the block."""
    leader = client.cluster()
    process = psutil.Process(cluster[leader.broker].pid)
    before = process.cpu_times()
    used: list[float] = []
    yield used
    after = process.cpu_times()
    used.append(after.user + after.system - before.user - before.system)
    if client.cluster().epoch != leader.epoch:
        raise BenchmarkFailed("the leader changed meanwhile")


def record_bytes(cluster: LocalCluster) -> int:
    """Return the mean size of the records that were written: each task's when queued, running and done."""
    with Asker(cluster.zk, znodes.CHROOT) as asker:
        done = asker.read(asker.children(table_buckets(znodes.DONE))[:SAMPLE])
    forms: list[bytes] = []
    for node in done:
        record = msgspec.json.decode(node.data, type=TaskRecord)
        running = msgspec.structs.replace(record, state=TaskState.RUNNING, result=None)
        queued = msgspec.structs.replace(running, state=TaskState.QUEUED, attempts=())
        forms += [znodes.encode(queued), znodes.encode(running), node.data]
    return mean_size(forms)


def measure(ground: Ground, size: Size) -> Figures:
    """Compare the cluster with ZooKeeper alone."""
    with ground.cluster(workers=0) as cluster:
        dispatch = Dispatch(cluster, size.tasks)
        repeats = measure_against(dispatch.floor, dispatch.rate, size.repeats, say)
    return {
        "tasks_per_s": measured_median(repeats),
        "floor_per_s": floor_median(repeats),
        "broker_cpu_us_per_task": median(dispatch.cpu_us[1:]),
        **against_floor(repeats),
        "tasks": size.tasks,
        "record_bytes": dispatch.record_bytes,
        "slots": WORKERS * SLOTS,
    }


if __name__ == "__main__":
    run("dispatch", measure, repeats=3, tasks=100_000)
