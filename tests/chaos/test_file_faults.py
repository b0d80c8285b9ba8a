"""Whoever moves files dies: the bytes arrive all the same, and nothing else waits for them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import psutil
import pytest
from tests.harness import wait_for

from alb import Client
from alb.api.future import TaskFuture
from alb.local.cluster import LocalCluster, Plan
from alb_core.tasks import TaskState

SIZE = 128 * 2**20
#: Large enough to be caught on its way.
GIB = 2**30
LONE_P99_S = 0.2
LONE_P99_RATIO = 3
#: A lone task may take so much, and so many times what it takes when nothing moves: disk and processors are
#: shared. Behind bulk bytes, on their socket or in their loop, it would take seconds.
QUIET_TASKS = 100

VALUE_S = 300.0
PAUSE_S = 0.02
#: Between lone tasks: they are to be few.

T = TypeVar("T")


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A large file that no other test has."""
    return make_file(tmp_path / "big", SIZE)


def make_file(path: Path, size: int) -> Path:
    """Make a file whose every MiB differs; most of it is a hole, which costs no disk here."""
    with path.open("wb") as file:
        for offset in range(0, size, 2**20):
            file.seek(offset)
            file.write(os.urandom(64))
        file.truncate(size)
    return path


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Background(Generic[T]):
    """A call that runs in a thread."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._values: list[T] = []
        self._thread = threading.Thread(target=lambda: self._values.append(call()))
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether it has returned, or raised."""
        return not self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Wait until it is over, or so long."""
        self._thread.join(seconds)

    def value(self) -> T:
        """Wait for its value."""
        self._thread.join(VALUE_S)
        (only,) = self._values
        return only


def processes_of(pid: int, module: str) -> list[psutil.Process]:
    """Return the children of a process that run a module."""
    return [child for child in psutil.Process(pid).children() if module in " ".join(child.cmdline())]


def kill_all(processes: list[psutil.Process]) -> None:
    assert processes
    for process in processes:
        process.send_signal(signal.SIGKILL)


def depots_known(depot: str) -> int:
    """Return how many depots a depot knows."""
    with urllib.request.urlopen(depot) as answer:  # noqa: S310 (a cluster of our own)
        return len(json.load(answer)["depots"])


def under_way(places: list[Path], name: str) -> bool:
    """Tell whether some of a file, and not all of it, has arrived in one of the places."""
    sizes = [(place / name).stat().st_size for place in places if (place / name).exists()]
    return any(0 < size < SIZE for size in sizes)


def test_the_leader_dies_in_an_upload(cluster: LocalCluster, client: Client, big: Path) -> None:
    """And its depot with it: the client goes on with another depot, and the task gets the right bytes."""
    name = sha256_of(big)
    leader = cluster.wait_for_leader().broker
    submitted = Background(lambda: client.submit(["sha256sum", "big"], files=[big]))
    wait_for(lambda: under_way([cluster.folder / f"{leader}-depot/parts"], name), "the upload")
    cluster[leader].kill()
    assert submitted.value().result(60).stdout == f"{name}  big\n".encode()


def test_a_courier_dies_in_a_download(cluster: LocalCluster, client: Client, big: Path) -> None:
    """The worker starts another, which goes on where it ended; the task notices nothing."""
    name = sha256_of(big)
    submitted = Background(lambda: client.submit(["sha256sum", "big"], files=[big]))
    parts = [cluster.folder / worker.name / "cache/parts" for worker in cluster.named("worker")]
    wait_for(lambda: under_way(parts, name), "the download", 60)
    (worker,) = (each for each in cluster.named("worker") if processes_of(each.pid, "alb_worker.courier"))
    kill_all(processes_of(worker.pid, "alb_worker.courier"))
    result = submitted.value().result(60)
    assert (result.stdout, result.record.attempt) == (f"{name}  big\n".encode(), 1)
    assert '"courier_died"' in worker.log.read_text()


def test_every_depot_dies_before_the_download(cluster: LocalCluster, client: Client, tmp_path: Path) -> None:
    """What was answered is on the disk: the brokers start their depots again, and the task gets its file."""
    (tmp_path / "small").write_text("still there\n")
    holders = [client.submit("sleep 4", cpus=2.0) for _ in cluster.named("worker")]
    future = client.submit("cat small", files=[tmp_path / "small"])
    depots = [
        found for broker in cluster.named("broker") for found in processes_of(broker.pid, "alb_broker.depot")
    ]
    kill_all(depots)
    assert future.result(60).stdout == b"still there\n"
    assert all(holder.result(60).state is TaskState.SUCCEEDED for holder in holders)


def test_the_broker_that_took_a_file_is_gone_for_good(
    cluster: LocalCluster, client: Client, tmp_path: Path
) -> None:
    """Another has it: that is what the upload waited for; all depots believed the leader."""
    depots = client._find_depots()
    assert len(depots) == 3
    wait_for(lambda: {depots_known(depot) for depot in depots} == {3}, "all depots to know the others", 60)
    (tmp_path / "small").write_text("copied\n")
    for _ in cluster.named("worker"):
        client.submit("sleep 4", cpus=2.0)
    future = client.submit("cat small", files=[tmp_path / "small"])
    cluster[cluster.wait_for_leader().broker].kill()
    assert future.result(60).stdout == b"copied\n"


def test_a_worker_dies_while_files_go_back(cluster: LocalCluster, client: Client, tmp_path: Path) -> None:
    """The end was not reported: the task runs again elsewhere, and its files come from there."""
    command = f"head -c {SIZE} /dev/urandom > out; sha256sum out"
    future = client.submit(command, returns=["out"])
    places = [cluster.folder / f"{broker.name}-depot/parts" for broker in cluster.named("broker")]
    wait_for(lambda: any(any(place.glob("*")) for place in places if place.exists()), "files to go back")
    victim = client.task(future.id).attempts[-1].worker
    cluster[victim].kill()
    (path,) = future.fetch(tmp_path / "back")
    result = future.result()
    assert (result.record.attempt, result.worker != victim) == (2, True)
    assert result.stdout == f"{sha256_of(path)}  out\n".encode()


def lone_task_s(client: Client) -> float:
    """Return how long a task takes of which there is no other."""
    began = time.monotonic()
    assert client.submit(["/bin/true"], cpus=0.1).result(60).state is TaskState.SUCCEEDED
    return time.monotonic() - began


@pytest.mark.timeout(400)  # a slow disk, and others at work on it
@pytest.mark.parametrize("plan", [Plan(brokers=1, workers=1)], indirect=True)
def test_a_gigabyte_moves_and_nobody_waits(client: Client, tmp_path: Path) -> None:
    """There and back again; meanwhile 99 of 100 lone tasks on the same worker end soon."""
    path = make_file(tmp_path / "huge", GIB)

    def move() -> tuple[TaskFuture, list[Path]]:
        future = client.submit("sha256sum huge", files=[path], returns=["huge"], cpus=0.1)
        return future, future.fetch(tmp_path / "back")

    quiet = [lone_task_s(client) for _ in range(QUIET_TASKS)]
    moved = Background(move)
    taken: list[float] = []
    while not moved.over:
        taken.append(lone_task_s(client))
        moved.wait(PAUSE_S)
    future, (back,) = moved.value()
    assert future.result().stdout == f"{sha256_of(back)}  huge\n".encode()
    assert back.stat().st_size == GIB
    assert len(taken) > 100
    assert p99(taken) < LONE_P99_S + LONE_P99_RATIO * p99(quiet), f"{p99(taken):.3f} s, of {len(taken)}"


def p99(taken: list[float]) -> float:
    """Return what 99 of 100 took at most."""
    return sorted(taken)[int(0.99 * len(taken))]
