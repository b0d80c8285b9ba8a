"""The processes beside a cluster: workers that run nothing, and clients. None outlives this one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Self

from alb import Client
from alb.local.cluster import LocalCluster
from alb.local.daemons import wait_until
from ground import BenchmarkFailed

SCRIPTS: Final = Path(__file__).resolve().parent
PATIENCE_S: Final = 30.0


class Companion:
    """One process that obeys lines on its stdin, and ends with it.

    Args:
        script: A file beside this one.
        arguments: Its arguments.
        log: Takes its stderr.
    """

    def __init__(self, script: str, *arguments: str, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(SCRIPTS / script), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._log = log

    def go(self) -> None:
        """Let it begin."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def line(self) -> str:
        """Wait for the next line that it prints.

        Raises:
            BenchmarkFailed: It ended instead.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkFailed(f"a process of the benchmark ended; read {self._log}")
        return line

    def end(self) -> None:
        """End it, and wait until it is gone."""
        try:
            self._process.communicate(timeout=PATIENCE_S)
        finally:
            self._process.kill()


class InstantWorkers:
    """Workers that run nothing, by name.

    Args:
        cluster: Where they register.
        hold: Their commands never end; each start is written to a journal.
    """

    def __init__(self, cluster: LocalCluster, *, hold: bool = False) -> None:
        self._cluster = cluster
        self._hold = hold
        self._workers: dict[str, Companion] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def prepare(self, name: str, slots: int) -> None:
        """Start the process of a worker; it registers once told to `go`."""
        folder = self._cluster.folder
        (folder / name).mkdir(parents=True, exist_ok=True)
        holding: tuple[str, ...] = ()
        if self._hold:
            self.journal(name).touch()
            holding = ("--hold", "--journal", str(self.journal(name)))
        self._workers[name] = Companion(
            "instant_worker.py",
            *("--zk", self._cluster.zk, "--name", name, "--slots", str(slots)),
            *("--work-dir", str(folder / name)),
            *holding,
            log=folder / "logs" / f"{name}.log",
        )

    def go(self, *names: str) -> None:
        """Let workers register."""
        for name in names:
            self._workers[name].go()

    def journal(self, name: str) -> Path:
        """Return the file with a line for each start on a worker."""
        return self._cluster.folder / f"{name}.journal"

    def end(self) -> None:
        """End all."""
        with ExitStack() as stack:
            for worker in self._workers.values():
                stack.callback(worker.end)
        self._workers.clear()


@contextmanager
def load_clients(cluster: LocalCluster, count: int, tasks: int) -> Iterator[list[Companion]]:
    """Start client processes that share the tasks, and wait until all are connected."""
    with ExitStack() as stack:
        clients: list[Companion] = []
        for number in range(count):
            share = tasks // count + (number < tasks % count)
            client = Companion(
                "load_client.py",
                *("--zk", cluster.zk, "--tasks", str(share)),
                log=cluster.folder / "logs" / f"client-{number}.log",
            )
            stack.callback(client.end)
            clients.append(client)
        for client in clients:
            client.line()
        yield clients


def wait_for_workers(client: Client, count: int) -> None:
    """Wait until tasks can be placed on so many workers."""

    def usable() -> bool:
        return sum(worker.session and worker.link for worker in client.workers()) >= count

    if not wait_until(usable, PATIENCE_S):
        raise BenchmarkFailed(f"{count} workers are not usable after {PATIENCE_S:g} s")
