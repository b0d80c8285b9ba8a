"""The floors: what the same machine does without the cluster, of which nothing may run meanwhile."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Final, Self

from alb_core import znodes
from alb_core.io.session import Session
from alb_core.zk import (
    Applied,
    ChildrenListed,
    Create,
    Delete,
    ListChildren,
    Multi,
    MultiEnded,
    NodeRead,
    NodesRead,
    Operation,
    ReadNodes,
    Request,
    SessionConnected,
    SessionEvent,
    SetData,
)
from ground import BenchmarkFailed

SLOTS: Final = 4
#: Processes under way at once: two workers of two slots.
TRANSACTION: Final = 100
#: Records in one transaction.
IN_FLIGHT: Final = 4
#: Transactions under way at once: ZooKeeper syncs one while it reads the next.
SESSION_S: Final = 10.0
ANSWER_S: Final = 60.0


# --- processes --------------------------------------------------------------------------------------------


def popen_rate(command: Sequence[str], count: int) -> float:
    """Return how many processes a second a bare loop runs, each with pipes and a session of its own."""
    under_way: deque[subprocess.Popen[bytes]] = deque()
    began = time.perf_counter()
    for _ in range(count):
        if len(under_way) == SLOTS:
            _finish(under_way.popleft())
        under_way.append(
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        )
    while under_way:
        _finish(under_way.popleft())
    return count / (time.perf_counter() - began)


def _finish(process: subprocess.Popen[bytes]) -> None:
    written = process.communicate()
    if process.returncode or any(written):
        raise BenchmarkFailed(f"{process.args!r} failed without a cluster: {process.returncode} {written!r}")


def process_ms(command: Sequence[str]) -> float:
    """Return how long a command takes, from its start to its exit; it must succeed and print nothing."""
    began = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    taken = time.perf_counter() - began
    if done.returncode or done.stdout or done.stderr:
        said = done.stdout + done.stderr
        raise BenchmarkFailed(f"{' '.join(command)} exits with {done.returncode} and prints {said!r}")
    return taken * 1000


def import_ms() -> float:
    """Return how long a Python takes that imports kazoo and zmq, and nothing else."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import kazoo.client, zmq"], stdin=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - began) * 1000


# --- ZooKeeper --------------------------------------------------------------------------------------------


class Asker:
    """A session of the product's own, and somebody who waits for its answers.

    Args:
        hosts: ``host:port``.
        chroot: Prefix of every path.
    """

    def __init__(self, hosts: str, chroot: str = "") -> None:
        self._events: SimpleQueue[SessionEvent] = SimpleQueue()
        self._session = Session(hosts, chroot, SESSION_S, self._events.put)

    def __enter__(self) -> Self:
        self._session.start()
        if not isinstance(event := self._events.get(timeout=ANSWER_S), SessionConnected):
            raise BenchmarkFailed(f"ZooKeeper cannot be reached: {event}")
        return self

    def __exit__(self, *_: object) -> None:
        self._session.stop()

    def ask(self, request: Request) -> None:
        """Send a request."""
        self._session.request(request)

    def applied(self) -> None:
        """Wait until the oldest transaction is applied."""
        event = self._events.get(timeout=ANSWER_S)
        if not isinstance(event, MultiEnded) or not isinstance(event.verdict, Applied):
            raise BenchmarkFailed(f"a transaction failed: {event}")

    def children(self, paths: Sequence[str]) -> list[str]:
        """Return the children of all these nodes, as paths."""
        for token, path in enumerate(paths):
            self.ask(ListChildren(token=token, path=path))
        found: list[str] = []
        for path in paths:
            event = self._events.get(timeout=ANSWER_S)
            if not isinstance(event, ChildrenListed) or event.names is None:
                raise BenchmarkFailed(f"{path} cannot be listed: {event}")
            found += [f"{path}/{name}" for name in event.names]
        return found

    def read(self, paths: Sequence[str], *, stats: bool = True) -> list[NodeRead]:
        """Return the nodes, read by multiRead; one that vanished is left out."""
        self.ask(ReadNodes(token=0, paths=tuple(paths), stats=stats))
        event = self._events.get(timeout=ANSWER_S)
        if not isinstance(event, NodesRead) or event.nodes is None:
            raise BenchmarkFailed("ZooKeeper did not answer a multiRead")
        return [node for node in event.nodes if node is not None]


def table_buckets(table: str) -> list[str]:
    """Return the nodes below which the records of a table lie."""
    return [path for path in znodes.permanent_paths() if path.startswith(f"{table}/")]


def record_rate(hosts: str, size_bytes: int, count: int) -> float:
    """Return half the rate at which records are created and then set: the least that a task needs.

    Args:
        hosts: A ZooKeeper that nobody else uses now.
        size_bytes: Of one record.
        count: How many records.
    """
    data = bytes(size_bytes)
    paths = [f"/floor/{number:08d}" for number in range(count)]
    with Asker(hosts) as asker:
        _write(asker, [Create("/floor", b"")])
        began = time.perf_counter()
        _write(asker, [Create(path, data) for path in paths])
        _write(asker, [SetData(path, data) for path in paths])
        taken = time.perf_counter() - began
        _write(asker, [Delete(path) for path in (*paths, "/floor")])
    return count / taken


def _write(asker: Asker, operations: Sequence[Operation]) -> None:
    under_way = 0
    for start in range(0, len(operations), TRANSACTION):
        if under_way == IN_FLIGHT:
            asker.applied()
            under_way -= 1
        asker.ask(Multi(start, tuple(operations[start : start + TRANSACTION])))
        under_way += 1
    for _ in range(under_way):
        asker.applied()


def multi_read_seconds(hosts: str, chroot: str) -> float:
    """Return how long a bare multiRead of every live task takes; listing them is not counted."""
    with Asker(hosts, chroot) as asker:
        paths = asker.children(table_buckets(znodes.TASKS))
        began = time.perf_counter()
        asker.read(paths, stats=False)
        return time.perf_counter() - began
