"""What a client sees of a dying leader: the longest pause between two results. None may be lost or doubled.

Four slots are busy with commands of 50 ms, thousands wait, a hundred more are submitted every second, and
four long commands run beside them, when the leader is killed; again and again.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from alb import AlbError, Client, TaskFuture
from alb.local.cluster import LocalCluster
from alb.local.daemons import wait_until
from alb_core import limits
from checks import check
from figures import longest_gap
from ground import BenchmarkFailed, Ground, say
from script import Figures, Size, run

SHORT_S: Final = 0.05
LONG_S: Final = 60
LONG: Final = 4
#: Long commands under way at any time.
SHORT_CPUS: Final = 0.75
LONG_CPUS: Final = 0.25
#: A worker of two slots holds two short and two long commands: all four slots serve short ones, always.
PER_SECOND: Final = 100
BEFORE_S: Final = 1.0
AFTER_S: Final = 10.0
#: The window around a kill in which pauses count.
AGE_S: Final = limits.DEPOSE_LEADER_AGE_S + BEFORE_S
#: A leader is killed when it is as old as one that usually dies: a younger one would not be deposed.
PATIENCE_S: Final = 120.0


class Expected(msgspec.Struct, frozen=True):
    """What a command must bring."""

    future: TaskFuture
    long: bool


class Load:
    """The client's side: what was submitted, and when each result came.

    Args:
        client: Submits.
        witness: File to which every command appends a line as its first act.
    """

    def __init__(self, client: Client, witness: Path) -> None:
        self.finished: list[float] = []
        #: Monotonic seconds.
        self.submitted: list[Expected] = []
        self._client = client
        self._witness = witness
        self._long_ended = threading.Semaphore(LONG)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on)
        witness.touch()

    def begin(self, queued: int) -> None:
        """Fill the queue, and go on submitting from a thread of its own."""
        for _ in range(queued):
            self._submit_short()
        self._thread.start()

    def end(self) -> None:
        """Submit nothing more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _go_on(self) -> None:
        due = time.monotonic()
        while not self._over.wait(max(due - time.monotonic(), 0)):
            due += 1 / PER_SECOND
            self._submit_short()
            if self._long_ended.acquire(blocking=False):
                self._submit_long()

    def _submit_short(self) -> None:
        future = self._client.submit(self._command(SHORT_S), cpus=SHORT_CPUS)
        future.add_done_callback(lambda _: self.finished.append(time.monotonic()))
        self.submitted.append(Expected(future, long=False))

    def _submit_long(self) -> None:
        future = self._client.submit(self._command(LONG_S), cpus=LONG_CPUS, priority=1)
        future.add_done_callback(lambda _: self._long_ended.release())
        self.submitted.append(Expected(future, long=True))

    def _command(self, seconds: float) -> str:
        file = shlex.quote(str(self._witness))
        return f'echo "$ALB_TASK_ID $ALB_ATTEMPT $$" >>{file}; echo "$ALB_TASK_ID"; exec sleep {seconds:g}'

    def reruns(self) -> int:
        """Return how many tasks wrote more than one line."""
        lines = self._witness.read_text().splitlines()
        return sum(count > 1 for count in Counter(line.split()[0] for line in lines).values())


class Auditor:
    """Holds the results that the client was given against those in the table.

    Args:
        load: The client's side.
        client: Another client than the one under load.
    """

    def __init__(self, load: Load, client: Client) -> None:
        self.doubled = 0
        #: Tasks whose result in the table is not the one that the client has.
        self._load = load
        self._client = client
        self._unseen: list[Expected] = []
        self._seen = 0

    def compare(self) -> None:
        """Compare what was finished since the last time; the table keeps results for long enough."""
        fresh = self._load.submitted[self._seen :]
        self._seen += len(fresh)
        self._unseen += fresh
        done = {each.future.id: each.future for each in self._unseen if each.future.done()}
        self._unseen = [each for each in self._unseen if each.future.id not in done]
        ids = list(done)
        for start in range(0, len(ids), 500):
            for line in self._client.tasks(ids=ids[start : start + 500]):
                record = done[line.id].record
                if record is None:
                    continue
                told = (record.state, record.finished, record.exit_status())
                self.doubled += told != (line.state, line.finished, line.exit_status)


class Failover:
    """One cluster whose leader is killed again and again.

    Args:
        cluster: Up.
        load: Under way.
        auditor: Compares between the kills.
        client: Asks the cluster how it is.
    """

    def __init__(self, cluster: LocalCluster, load: Load, auditor: Auditor, client: Client) -> None:
        self._cluster = cluster
        self._load = load
        self._auditor = auditor
        self._client = client

    def kill(self) -> float:
        """Kill the leader once, and bring it back; return the longest pause."""
        self._wait_for_age()
        leader = self._cluster.wait_for_leader()
        killed_at = time.monotonic()
        self._cluster[leader.broker].kill()
        over_at = killed_at + AFTER_S
        self._cluster.wait_for_leader(after_epoch=leader.epoch)
        wait_until(lambda: time.monotonic() > over_at and self._load.finished[-1] > over_at, PATIENCE_S)
        self._cluster[leader.broker].start()
        if not wait_until(lambda: len(self._cluster.look()[1]) == 3, PATIENCE_S, poll_s=0.5):
            raise BenchmarkFailed(f"{leader.broker} does not come back")
        self._auditor.compare()
        return longest_gap(self._load.finished, killed_at - BEFORE_S, over_at)

    def _wait_for_age(self) -> None:
        def old_enough() -> bool:
            page = self._client.cluster()
            return page.now - page.since >= AGE_S

        if not wait_until(old_enough, PATIENCE_S, poll_s=0.2):
            raise BenchmarkFailed("the leader changes by itself")


def count_lost(load: Load) -> int:
    """Wait for every result; return how many accepted tasks have none.

    Raises:
        BenchmarkFailed: A result is wrong.
    """
    lost = 0
    for each in load.submitted:
        try:
            result = each.future.result(timeout=PATIENCE_S)
        except (TimeoutError, AlbError) as error:
            say(f"task {each.future.id} has no result: {error!r}")
            lost += 1
        else:
            check(result, f"{each.future.id}\n".encode())
    return lost


def measure(ground: Ground, size: Size) -> Figures:
    """Kill the leader so many times, and once more at first, which is dropped."""
    gaps: list[float] = []
    with (
        ground.cluster() as cluster,
        Client(zk=cluster.zk) as client,
        Client(zk=cluster.zk) as observer,
    ):
        load = Load(client, ground.folder / "witness")
        auditor = Auditor(load, observer)
        failover = Failover(cluster, load, auditor, observer)
        load.begin(size.tasks)
        try:
            for number in range(size.repeats + 1):
                gaps.append(failover.kill())
                say(f"kill {number}: {gaps[-1]:.2f} s without a result, {len(load.finished)} so far")
        finally:
            load.end()
        lost = count_lost(load)
        auditor.compare()
        session_timeout_s = observer.cluster().session_timeout_s
    return {
        "gap_s": median(gaps[1:]),
        "gap_max_s": max(gaps[1:]),
        "session_timeout_s": session_timeout_s,
        "lost": lost,
        "doubled": auditor.doubled,
        "rerun": load.reruns(),
        "repeats": size.repeats,
        "submitted": len(load.submitted),
    }


if __name__ == "__main__":
    run("failover", measure, repeats=10, tasks=2000)
