"""A worker's cache: each file loaded once, however many want it; bounded; nobody waits for ever."""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.harness import wait_for

from alb_core.errors import TransferStopped
from alb_core.io.transfer import Content, always
from alb_worker.courier.cache import Cache
from alb_worker.courier.errors import NotMoved

BOUND = 100


class Source:
    """Where files come from: counts, and waits where it is told to."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.stops_first = False

    def load(self, content: Content, descriptor: int) -> None:
        """Bring a file, or fail."""
        self.loads.append(content.sha256)
        assert self.gate.wait(60)
        if self.stops_first and len(self.loads) == 1:
            raise TransferStopped
        if self.error is not None:
            raise self.error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, letter_of(content) * content.size_bytes, 0)


def letter_of(content: Content) -> bytes:
    return next(bytes([n]) for n in range(256) if file(chr(n), content.size_bytes) == content)


def file(letter: str, size: int = 40) -> Content:
    return Content(hashlib.sha256(letter.encode("latin-1") * size).hexdigest(), size)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path, BOUND)


def read(cache: Cache, source: Source, content: Content) -> bytes:
    with cache.holding(content, source.load, always) as path:
        return path.read_bytes()


def test_a_file_is_loaded_once(cache: Cache, source: Source, tmp_path: Path) -> None:
    """Also for a courier that starts again."""
    assert read(cache, source, file("a")) == b"a" * 40
    assert read(cache, source, file("a")) == b"a" * 40
    os.close(cache._lock)
    assert read(Cache(tmp_path, BOUND), source, file("a")) == b"a" * 40
    assert source.loads == [file("a").sha256]


def test_many_at_once_share_one_download(cache: Cache, source: Source) -> None:
    """And where it fails for good, they share that, too: nobody waits as long again."""
    with ThreadPoolExecutor(8) as threads:
        source.gate.clear()
        wanted = [threads.submit(read, cache, source, file("a")) for _ in range(8)]
        wait_for(lambda: source.loads, "the download to begin")
        source.gate.set()
        assert {each.result(20) for each in wanted} == {b"a" * 40}
        assert len(source.loads) == 1
        source.gate.clear()
        source.error = NotMoved("no depot has it")
        failed = [threads.submit(read, cache, source, file("b")) for _ in range(8)]
        wait_for(lambda: len(source.loads) == 2, "the second download to begin")
        wait_for(lambda: sum(each.running() for each in failed) == 8, "all to wait")
        source.gate.set()
        assert {str(each.exception(20)) for each in failed} == {"no depot has it"}
    assert len(source.loads) <= 3  # one thread may have come after the end


def test_who_waits_goes_on_when_the_first_is_called_off(cache: Cache, source: Source) -> None:
    """The download is the next one's."""
    with ThreadPoolExecutor(2) as threads:
        source.gate.clear()
        source.stops_first = True
        first = threads.submit(read, cache, source, file("a"))
        wait_for(lambda: source.loads, "the download to begin")
        second = threads.submit(read, cache, source, file("a"))
        source.gate.set()
        assert isinstance(first.exception(20), TransferStopped)
        assert second.result(20) == b"a" * 40


def test_the_longest_unused_gives_way(cache: Cache, source: Source) -> None:
    """The bound holds."""
    for letter in "abac":
        read(cache, source, file(letter))
    assert cache.path(file("a").sha256).exists()
    assert not cache.path(file("b").sha256).exists()


def break_off(cache: Cache, directory: Path, letter: str, size: int, at: float) -> Path:
    """Let a download of so many bytes break off at a time."""

    def load(_content: Content, descriptor: int) -> None:
        os.pwrite(descriptor, b"?" * size, 0)
        raise TransferStopped

    wanted = file(letter, size + 1)
    with pytest.raises(TransferStopped), cache.holding(wanted, load, always):
        pass
    part = directory / "parts" / wanted.sha256
    os.utime(part, (at, at))
    return part


def test_what_broke_off_counts_and_goes_first(cache: Cache, source: Source, tmp_path: Path) -> None:
    """The oldest first, and no more than is needed; whole files stay as long as that is enough."""
    read(cache, source, file("a"))
    newer, older = (break_off(cache, tmp_path, letter, 25, at) for letter, at in (("n", 2.0), ("o", 1.0)))
    assert newer.exists()
    assert older.exists()
    read(cache, source, file("b", 30))
    assert (newer.exists(), older.exists()) == (True, False)
    read(cache, source, file("c", 30))
    assert not newer.exists()
    assert cache.path(file("a").sha256).exists()
    used = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert used <= BOUND


def test_what_broke_off_is_gone_on_with_where_its_file_is_wanted_again(
    cache: Cache, source: Source, tmp_path: Path
) -> None:
    """Its own part is no obstacle: it is inside what the file is to take."""
    part = break_off(cache, tmp_path, "n", 70, 1.0)
    inode = part.stat().st_ino
    wanted = file("n", 71)
    read(cache, source, wanted)
    assert cache.path(wanted.sha256).stat().st_ino == inode


def test_what_is_held_is_not_removed(cache: Cache, source: Source) -> None:
    """Who finds no room because of it waits; who is called off meanwhile does not."""
    with ThreadPoolExecutor(1) as threads:
        with cache.holding(file("a", 60), source.load, always) as path:
            waits = threads.submit(read, cache, source, file("b", 60))
            with pytest.raises(TransferStopped), cache.holding(file("c", 60), source.load, lambda: False):
                pass
            assert path.exists()
            assert not waits.done()
        assert waits.result(20) == b"b" * 60


def test_what_can_never_fit_is_refused(cache: Cache, source: Source) -> None:
    """With the bound in the sentence."""
    with pytest.raises(NotMoved, match="does not fit into this worker's cache of 100"):
        read(cache, source, file("a", BOUND + 1))
    assert source.loads == []


def test_a_full_disk_is_the_task_s_error(cache: Cache, source: Source, tmp_path: Path) -> None:
    """What had come is removed, and the cache goes on."""
    source.error = OSError(28, "No space left on device")
    with pytest.raises(NotMoved, match="the disk of this worker is full"):
        read(cache, source, file("a"))
    assert list((tmp_path / "parts").iterdir()) == []
    source.error = None
    assert read(cache, source, file("a")) == b"a" * 40


def test_a_file_that_somebody_removed_is_loaded_again(cache: Cache, source: Source) -> None:
    """Nobody gets what is not there."""
    read(cache, source, file("a"))
    cache.path(file("a").sha256).unlink()
    assert read(cache, source, file("a")) == b"a" * 40
    assert len(source.loads) == 2
