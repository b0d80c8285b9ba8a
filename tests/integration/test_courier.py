"""A real courier and a real depot: full disks, damaged files, and couriers that die over an order."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.depot_process import DepotProcess, content
from tests.harness import wait_for
from tests.worker_parts import attempt

from alb_core.files import FileRef
from alb_core.io import logs, transfer
from alb_worker.courier.messages import Collect, Collected, FromCourier, NotPrepared, Prepare, Prepared
from alb_worker.shell.courier_link import TRIES_MAX, CourierLink

DATA = random.Random(5).randbytes(3 * 2**20)
SMALL = b"small"


@pytest.fixture
def depot(tmp_path: Path) -> Iterator[DepotProcess]:
    with DepotProcess(tmp_path / "d1") as process:
        process.lead()
        for data in (DATA, SMALL):
            (tmp_path / "source").write_bytes(data)
            descriptor = os.open(tmp_path / "source", os.O_RDONLY)
            transfer.store(process.endpoint, content(data), descriptor)
            os.close(descriptor)
        yield process


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


class Orders:
    """A courier, and who gives it orders."""

    def __init__(self, home: Path, *depots: str) -> None:
        self.link = CourierLink(str(home), 2**30, logs.configure("error"))
        self.link.use_depots(depots)
        self._heard: list[FromCourier] = []
        self._attempts = 0

    def prepare(self, *files: FileRef) -> FromCourier:
        """Have files gathered, and return the answer."""
        self.begin(*files)
        return self.answer()

    def begin(self, *files: FileRef) -> None:
        """Order files."""
        self._attempts += 1
        self.link.order(Prepare(attempt=attempt(self._attempts), files=files, ordered_at=0.0))
        self.link.flush()

    def collect(self, directory: Path, *patterns: str) -> FromCourier:
        """Have files brought back, and return the answer."""
        self._attempts += 1
        self.link.order(Collect(attempt=attempt(self._attempts), directory=str(directory), patterns=patterns))
        return self.answer()

    def replaced(self, pid: int) -> bool:
        """Tell whether the courier of this number is gone, or given up."""
        assert self.link.receive() == []
        return self.link.pid != pid

    def answer(self) -> FromCourier:
        """Wait for the next answer."""

        def heard() -> list[FromCourier]:
            self.link.flush()
            self._heard += [
                said for said in self.link.receive() if isinstance(said, Prepared | NotPrepared | Collected)
            ]
            return self._heard

        wait_for(heard, "the courier's answer", 20)
        return self._heard.pop(0)


@pytest.fixture
def orders(depot: DepotProcess, tmp_path: Path) -> Iterator[Orders]:
    made = Orders(tmp_path / "w1", depot.endpoint)
    yield made
    made.link.close()


def ref(data: bytes, name: str = "in/file") -> FileRef:
    known = content(data)
    return FileRef(name=name, sha256=known.sha256, size_bytes=known.size_bytes)


def test_files_are_gathered_and_brought_back(orders: Orders) -> None:
    """Through the real depot; the directory that was brought back is removed."""
    told = orders.prepare(ref(DATA), ref(SMALL, "b"))
    assert isinstance(told, Prepared)
    assert (Path(told.directory) / "in/file").read_bytes() == DATA
    (Path(told.directory) / "b").write_text("changed")
    back = orders.collect(Path(told.directory), "**", "x")
    assert isinstance(back, Collected)
    assert back.files == (ref(b"changed", "b"), ref(DATA))
    assert (back.unmatched, back.unreturned) == ("nothing to return matches 'x'", "")
    assert not Path(told.directory).exists()
    again = orders.prepare(ref(SMALL))
    assert isinstance(again, Prepared)
    assert (Path(again.directory) / "in/file").read_bytes() == SMALL  # what was changed was a copy


def test_a_full_disk_is_the_task_s_error(depot: DepotProcess, small_disk: Path) -> None:
    """The sentence goes to the task; what had come is removed, and the next task's file has room."""
    orders = Orders(small_disk, depot.endpoint)
    try:
        told = orders.prepare(ref(DATA))
        assert isinstance(told, NotPrepared)
        assert "'in/file': the disk of this worker is full" in told.why
        assert isinstance(orders.prepare(ref(SMALL)), Prepared)
    finally:
        orders.link.close()


def test_a_disk_that_is_full_of_others_is_said(depot: DepotProcess, small_disk: Path) -> None:
    """The file fits into the cache, and its copy does not: nothing is left of the attempt."""
    orders = Orders(small_disk, depot.endpoint)
    try:
        assert isinstance(orders.prepare(ref(SMALL)), Prepared)
        (small_disk / "others").write_bytes(bytes(2 * 2**20 - os.statvfs(small_disk).f_bsize * 16))
        many = [ref(SMALL, f"copy{n}") for n in range(40)]
        told = orders.prepare(*many)
        assert isinstance(told, NotPrepared)
        assert "the disk of this worker is full" in told.why
        (small_disk / "others").unlink()
        assert isinstance(orders.prepare(*many), Prepared)
    finally:
        orders.link.close()


def test_a_damaged_copy_is_passed_over(depot: DepotProcess, tmp_path: Path) -> None:
    """One depot's disk lies: the bytes are refused, and the other depot's are right."""
    with DepotProcess(tmp_path / "d2") as other:
        depot.lead(other)
        descriptor = os.open(tmp_path / "source", os.O_RDWR)  # holds SMALL
        assert transfer.store(depot.endpoint, content(SMALL), descriptor) == 2
        os.close(descriptor)
        name = content(SMALL).sha256
        (depot.directory / "files" / name[:2] / name).write_bytes(b"smALL")
        orders = Orders(tmp_path / "w1", depot.endpoint, other.endpoint)
        told = orders.prepare(ref(SMALL))
        orders.link.close()
        assert isinstance(told, Prepared)
        assert (Path(told.directory) / "in/file").read_bytes() == SMALL


def test_a_courier_that_dies_is_replaced_but_not_for_ever(tmp_path: Path) -> None:
    """Its orders go to the next one; what several died over is the task's error."""
    orders = Orders(tmp_path / "w1", "http://127.0.0.1:1")
    orders.begin(ref(SMALL))
    killed: set[int] = set()
    for _ in range(TRIES_MAX):
        pid = orders.link.pid
        assert pid is not None
        killed.add(pid)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: orders.replaced(pid), "its death to be noticed")
    told = orders.answer()
    assert len(killed) == TRIES_MAX
    assert isinstance(told, NotPrepared)
    assert "died 3 times" in told.why
    orders.link.close()


def test_a_courier_ends_with_its_agent(orders: Orders) -> None:
    """The other end of its socket is closed."""
    assert isinstance(orders.prepare(ref(SMALL)), Prepared)
    process = orders.link._process
    assert process is not None
    assert orders.link._link is not None
    orders.link._link.close()
    assert process.wait(60) == 0
