"""How soon a new leader works that takes over a full table with many tasks running on living workers.

From the commit of its claim, as ZooKeeper's clock has it, until a worker receives the first order for a task
that waited. That worker registers while the table is loading; the others run their commands on, and must keep
them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Final

import msgspec
import psutil

from alb import Client, TaskState
from alb.local.cluster import LocalCluster
from alb.local.daemons import wait_until
from alb_core import znodes
from alb_core.messages import TaskLine
from companions import InstantWorkers, wait_for_workers
from figures import Repeat, against_floor, floor_median, measured_median
from floors import Asker, multi_read_seconds
from ground import BenchmarkFailed, Ground, say
from script import Figures, Size, run

COMMAND: Final = ["/bin/sleep", "3600"]
RUNNING: Final = 200
HOLDERS: Final = ("w1", "w2")
#: The workers on which the tasks run; they have no room for more.
NEWCOMER: Final = "w3"
USERS: Final = ("ann", "bob")
#: One user alone may not fill half of the table.
PATIENCE_S: Final = 120.0


class Takeover(msgspec.Struct, frozen=True):
    """What one takeover showed."""

    seconds: float
    adopted: int
    rerun: int
    rss_mib: float


class Recovery:
    """One repeat: a table is filled, and its leader killed.

    Args:
        cluster: Up, without workers and without tasks.
        queued: How many tasks wait.
    """

    def __init__(self, cluster: LocalCluster, queued: int) -> None:
        self._cluster = cluster
        self._queued = queued

    def measure(self) -> tuple[Takeover, Repeat]:
        """Fill, measure the floor, take over, measure the floor."""
        zk = self._cluster.zk
        self._fill()
        self._stop_brokers()
        before = multi_read_seconds(zk, znodes.CHROOT)
        with InstantWorkers(self._cluster, hold=True) as workers:
            takeover = self._take_over(workers)
            self._stop_brokers()
        after = multi_read_seconds(zk, znodes.CHROOT)
        return takeover, Repeat(takeover.seconds, before, after)

    def _fill(self) -> None:
        """Submit from several users, and leave once everything is in the table."""
        total = self._queued + RUNNING
        clients = [Client(zk=self._cluster.zk, user=user) for user in USERS]
        try:
            for number in range(total):
                clients[number % len(clients)].submit(COMMAND, output=False)
            wait(lambda: counts(clients[0])["QUEUED"] == total, f"{total} accepted tasks")
        finally:
            for client in clients:
                client.close()

    def _stop_brokers(self) -> None:
        for broker in self._cluster.named("broker"):
            broker.stop()

    def _take_over(self, workers: InstantWorkers) -> Takeover:
        cluster = self._cluster
        for name in HOLDERS:
            workers.prepare(name, RUNNING // len(HOLDERS))
        workers.prepare(NEWCOMER, 1)
        for broker in cluster.named("broker"):
            broker.start()
        cluster.wait_for_leader()
        with Client(zk=cluster.zk) as client:
            workers.go(*HOLDERS)
            wait_for_workers(client, len(HOLDERS))
            wait(lambda: counts(client)["RUNNING"] == RUNNING, f"{RUNNING} running tasks")
            running = {task.id: task for task in client.tasks(states=(TaskState.RUNNING,))}
            heads = oldest_of_each_user(client)
        leader = cluster.wait_for_leader()
        cluster[leader.broker].kill()
        workers.go(NEWCOMER)
        wait(lambda: starts(workers, NEWCOMER), "an order of the new leader")
        started_at, task, _ = starts(workers, NEWCOMER)[0]
        if task not in heads:
            raise BenchmarkFailed(
                f"the new leader's first order is {task}, but {sorted(heads)} waited longer"
            )
        return self._judge(workers, running, started_at - claimed_at(cluster, leader.epoch))

    def _judge(self, workers: InstantWorkers, running: dict[str, TaskLine], seconds: float) -> Takeover:
        with Client(zk=self._cluster.zk) as client:
            wait_for_workers(client, len(HOLDERS) + 1)
            page = client.cluster()
            now = {task.id: task for task in client.tasks(states=(TaskState.RUNNING,))}
            memory = psutil.Process(self._cluster[page.broker].pid).memory_info().rss
        total = page.counts["QUEUED"] + page.counts["RUNNING"]
        if total != self._queued + RUNNING or page.set_aside:
            raise BenchmarkFailed(f"{total} tasks after the takeover, and {page.set_aside}")
        again = [
            task for name in (*HOLDERS, NEWCOMER) for _, task, _ in starts(workers, name) if task in running
        ]
        return Takeover(
            seconds=seconds,
            adopted=sum(now.get(task) == line for task, line in running.items()),
            rerun=len(again) - len(running),
            rss_mib=memory / 2**20,
        )


def wait(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds.

    Raises:
        BenchmarkFailed: It does not.
    """
    if not wait_until(condition, PATIENCE_S):
        raise BenchmarkFailed(f"waited {PATIENCE_S:g} s in vain for {what}")


def counts(client: Client) -> dict[str, int]:
    """Return the leader's count of tasks by state."""
    return client.cluster().counts


def oldest_of_each_user(client: Client) -> set[str]:
    """Return the task of each user that waits longest: which user is served first is a matter of fairness."""
    oldest: dict[str, TaskLine] = {}
    for task in client.tasks(states=(TaskState.QUEUED,)):
        known = oldest.setdefault(task.user, task)
        if (task.submitted, task.id) < (known.submitted, known.id):
            oldest[task.user] = task
    return {task.id for task in oldest.values()}


def starts(workers: InstantWorkers, name: str) -> list[tuple[float, str, int]]:
    """Return the starts on a worker: wall clock, task, attempt."""
    lines = [line.split() for line in workers.journal(name).read_text().splitlines()]
    return [(float(at), task, int(attempt)) for at, task, attempt in lines]


def claimed_at(cluster: LocalCluster, after_epoch: int) -> float:
    """Return when the leader's claim was committed: ZooKeeper's wall clock, which is this machine's."""
    with Asker(cluster.zk, znodes.CHROOT) as asker:
        (node,) = asker.read([znodes.EPOCH])
    if znodes.decode(znodes.EpochNode, node.path, node.data).epoch != after_epoch + 1:
        raise BenchmarkFailed("the leader changed more than once")
    return node.stat.mtime_s


def measure(ground: Ground, size: Size) -> Figures:
    """Take over a full table again and again, each time a new one."""
    takeovers: list[Takeover] = []
    repeats: list[Repeat] = []
    for number in range(size.repeats + 1):
        began = time.monotonic()
        with ground.cluster(workers=0) as cluster:
            takeover, repeat = Recovery(cluster, size.tasks).measure()
        say(f"takeover {number}: {repeat} {takeover} after {time.monotonic() - began:.0f} s")
        if number:
            takeovers.append(takeover)
            repeats.append(repeat)
    return {
        "tasks": size.tasks,
        "seconds": measured_median(repeats),
        "floor_s": floor_median(repeats),
        **against_floor(repeats),
        "adopted": min(takeover.adopted for takeover in takeovers),
        "rerun": max(takeover.rerun for takeover in takeovers),
        "rss_mib": median(takeover.rss_mib for takeover in takeovers),
    }


if __name__ == "__main__":
    run("recovery", measure, repeats=3, tasks=100_000)
