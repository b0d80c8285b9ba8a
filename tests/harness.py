"""Real clusters for tests: processes to kill and freeze, work for them, and the proof of what came of it.

The witness is the file that the commands themselves write (``alb.local.witness``); what alb says is held
against it.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from alb import Client
from alb.api.future import TaskFuture
from alb.api.result import TaskResult
from alb.local.cluster import LocalCluster, alb_command
from alb.local.daemons import log_end, wait_until
from alb.local.witness import Witness
from alb_core.tasks import TaskState
from alb_core.znodes import LeaderNode

PATIENCE_S = 60.0
#: A fault may cost a session, an election and a loaded machine; nothing here should take longer.
TRIES = 3
#: A busy machine delays one try, hardly all of them.


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait until a condition holds, or fail with what was waited for."""
    assert wait_until(condition, timeout_s), f"waited {timeout_s:g} s in vain for: {what}"


def check_soon(take: Callable[[], float], within_s: float) -> None:
    """Hold the best of some tries to a bound that is too tight for a machine that others use too.

    Args:
        take: Does it once, and returns how long it took.
        within_s: For one of them.
    """
    taken: list[float] = []
    while not taken or taken[-1] >= within_s:
        assert len(taken) < TRIES, f"took {taken} s, and never less than {within_s:g} s"
        taken.append(take())


def alb(
    cluster: LocalCluster, *arguments: str, timeout_s: float = PATIENCE_S
) -> subprocess.CompletedProcess[str]:
    """Run the `alb` command against a cluster and wait for its end."""
    return subprocess.run(
        [*alb_command(), *arguments],
        env=environ_of(cluster),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def alb_json(cluster: LocalCluster, *arguments: str) -> Any:
    """Run a verb with ``--json`` and return what it printed."""
    ran = alb(cluster, *arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def environ_of(cluster: LocalCluster) -> dict[str, str]:
    """Return the environment in which `alb` finds the cluster, and a worker is as large as it says."""
    return {**os.environ, "ALB_ZK": cluster.zk, "ALB_SPEED": "1", "ALB_OVERSUBSCRIBE": "true"}


class Gate:
    """Where commands wait until it is opened: they end when the test wants it, however slow the machine is.

    Args:
        path: Of the file that opens it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.command = f"until [ -e {path} ]; do sleep 0.05; done"
        #: In a command: waits there.

    def open(self) -> None:
        """Let them go on."""
        self._path.touch()


class Work:
    """Tasks given to a cluster, each of which announces itself to the witness; and the check of them all.

    Args:
        cluster: Runs them.
        client: Submits them.
        witness: What they write to.
    """

    def __init__(self, cluster: LocalCluster, client: Client, witness: Witness) -> None:
        self.cluster = cluster
        self.client = client
        self.witness = witness
        self._expected: dict[TaskFuture, str] = {}
        #: What each must write.
        self._lock = threading.Lock()

    def submit(self, seconds: float = 0.0, **options: Any) -> TaskFuture:
        """Submit a command that lasts so many seconds; options are those of ``Client.submit``."""
        with self._lock:
            text = f"{len(self._expected)} is done"
            command = self.witness.command(f"sleep {seconds:g}; echo {text}")
            future = self.client.submit(command, **options)
            self._expected[future] = f"{text}\n"
        return future

    def submit_running(self, seconds: float, count: int = 1, **options: Any) -> list[TaskFuture]:
        """Submit commands and wait until each has started."""
        futures = [self.submit(seconds, **options) for _ in range(count)]
        for future in futures:
            wait_for(lambda task=future.id: self.witness.starts_of(task), f"the start of {future.id}")
        return futures

    @contextmanager
    def submitting(self, per_second: float = 40.0) -> Iterator[None]:
        """Go on submitting short commands within the block."""
        over = threading.Event()

        def go_on() -> None:
            while not over.wait(1 / per_second):
                self.submit()

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def check(self, *, reruns: bool = False) -> dict[str, TaskResult]:
        """Hold every task to its promise, and return the results by id.

        Each task has one result, the right one; each was started, and only once. With `reruns`, more often is
        allowed, but no start may have met an earlier attempt alive.
        """
        self._wait_for_all()
        results = {future.id: future.result() for future in self._expected}
        for future, expected in self._expected.items():
            result = results[future.id]
            told = (result.state, result.stdout.decode())
            assert told == (TaskState.SUCCEEDED, expected), result.describe()
        starts = self.witness.counts()
        assert set(starts) == set(results)
        if reruns:
            assert [start for start in self.witness.starts() if start.others] == []
        else:
            assert {task: count for task, count in starts.items() if count != 1} == {}
        return results

    def _wait_for_all(self) -> None:
        """Wait for every result, as long as everybody is there who should be."""

        def ended() -> bool:
            self.cluster.check_alive()
            return all(future.done() for future in self._expected)

        wait_for(ended, f"the results of {len(self)} tasks")

    @property
    def ids(self) -> set[str]:
        """Every task that was submitted."""
        return {future.id for future in self._expected}

    def __len__(self) -> int:
        return len(self._expected)


def kill_leader(cluster: LocalCluster) -> LeaderNode:
    """Kill the leader without warning, and return what it was."""
    leader = cluster.wait_for_leader()
    cluster[leader.broker].kill()
    return leader


@contextmanager
def frozen(cluster: LocalCluster, name: str) -> Iterator[None]:
    """Keep a process frozen (SIGSTOP) within the block."""
    cluster[name].freeze()
    try:
        yield
    finally:
        cluster[name].thaw()


def show_logs_of_failed(item: pytest.Item, report: pytest.TestReport) -> None:
    """Add the end of every process's log to the report of a failed test that had a cluster."""
    cluster = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and isinstance(cluster, LocalCluster):
        for name, process in cluster.processes.items():
            report.sections.append(
                (f"log of {name}: {process.log}", log_end(process.log, 8 if name.startswith("z") else 25))
            )
