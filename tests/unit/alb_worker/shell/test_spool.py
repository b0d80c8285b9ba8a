"""What the spool keeps, where, how long, and what happens when there is no room."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from alb_core.config import WorkerConfig
from alb_core.limits import INLINE_OUTPUT_BYTES
from alb_core.messages import AttemptId, StreamName
from alb_worker.core.streams import Kept
from alb_worker.shell import spool as spool_module
from alb_worker.shell.spool import Spool
from alb_worker.shell.spooled_stream import MEMORY_STREAM_BYTES
from alb_worker.shell.tails import marker

OUT, ERR = StreamName.STDOUT, StreamName.STDERR


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time that was set."""
        return self.now


def attempt(number: int) -> AttemptId:
    """Name an attempt."""
    return AttemptId(f"{number:032x}", 1)


def make(home: Path, clock: Clock | None = None, **settings: float) -> Spool:
    """Make a spool with some bounds."""
    return Spool(str(home), WorkerConfig(zk="localhost", name="w1", **settings), clock or Clock())  # type: ignore[arg-type]


def files(home: Path) -> list[str]:
    """Return the names of the files in the spool."""
    return sorted(path.name for path in (home / "spool").iterdir())


def test_streams_are_kept_apart_and_read_at_any_offset(tmp_path: Path) -> None:
    """Pieces join into a stream; reads beyond it are short or empty."""
    spool = make(tmp_path)
    assert spool.append(attempt(1), OUT, b"hello ") == 6
    assert spool.append(attempt(1), OUT, b"world") == 11
    spool.append(attempt(1), ERR, b"oops")
    assert spool.read(attempt(1), OUT, 3, 5) == b"lo wo"
    assert spool.read(attempt(1), OUT, 9, 100) == b"ld"
    assert spool.read(attempt(1), OUT, 11, 5) == spool.read(attempt(1), OUT, 50, 5) == b""
    assert spool.tail(attempt(1), ERR, 3) == b"ops"
    assert spool.length(attempt(1), OUT) == 11
    spool.close()


def test_an_unknown_attempt_has_nothing(tmp_path: Path) -> None:
    """Whatever never had output is read as empty, and may be finished and dropped."""
    spool = make(tmp_path)
    spool.finish(attempt(1))
    spool.drop(attempt(1))
    assert spool.read(attempt(1), OUT, 0, 10) == spool.tail(attempt(1), OUT, 10) == b""
    assert spool.length(attempt(1), OUT) == 0
    assert not spool.truncated(attempt(1), OUT)


def test_little_output_costs_no_disk_operation(tmp_path: Path) -> None:
    """Up to the bound of memory there is no file, neither while a command runs nor after."""
    spool = make(tmp_path)
    spool.append(attempt(1), OUT, b"x" * MEMORY_STREAM_BYTES)
    spool.finish(attempt(1))
    assert files(tmp_path) == []
    assert spool.read(attempt(1), OUT, 0, 10**6) == b"x" * MEMORY_STREAM_BYTES


def test_much_output_moves_to_a_private_file(tmp_path: Path) -> None:
    """One byte more than memory takes, and the stream has a file, and reads the same."""
    spool = make(tmp_path)
    spool.append(attempt(1), OUT, b"a" * MEMORY_STREAM_BYTES)
    spool.append(attempt(1), OUT, b"b")
    spool.append(attempt(1), OUT, b"cd")
    (name,) = files(tmp_path)
    assert name == f"{attempt(1).task}.1.stdout.part"
    assert (tmp_path / "spool" / name).stat().st_mode & 0o777 == 0o600
    assert spool.tail(attempt(1), OUT, 5) == b"aabcd"
    spool.finish(attempt(1))
    assert spool.read(attempt(1), OUT, MEMORY_STREAM_BYTES - 1, 3) == b"abc"
    spool.drop(attempt(1))
    assert files(tmp_path) == []
    assert spool.length(attempt(1), OUT) == 0


def test_a_flood_is_bounded_and_marked(tmp_path: Path) -> None:
    """Beyond its bound nothing of a stream is kept, and it says so; the other stream goes on."""
    spool = make(tmp_path, stream_bytes_max=100_000)
    for _ in range(5):
        size = spool.append(attempt(1), OUT, b"x" * 30_000)
    assert size == spool.length(attempt(1), OUT) == 100_000
    assert spool.truncated(attempt(1), OUT)
    assert spool.append(attempt(1), ERR, b"fine") == 4
    assert not spool.truncated(attempt(1), ERR)
    spool.close()
    assert files(tmp_path) == []


def test_a_stream_as_long_as_its_bound_is_whole(tmp_path: Path) -> None:
    """The last byte that fits does not make a stream truncated."""
    spool = make(tmp_path, stream_bytes_max=10)
    spool.append(attempt(1), OUT, b"x" * 10)
    assert not spool.truncated(attempt(1), OUT)
    spool.append(attempt(1), OUT, b"y")
    assert spool.truncated(attempt(1), OUT)


def test_a_bounded_command_keeps_head_and_tail(tmp_path: Path) -> None:
    """While it runs its head can be read and never changes; with the end come the marker and the tail."""
    spool = make(tmp_path)
    spool.bound(attempt(1), 10)
    assert spool.append(attempt(1), OUT, b"abc") == 3
    assert spool.append(attempt(1), OUT, b"defgh") == 5
    assert spool.append(attempt(1), OUT, b"x" * 100 + b"vwxyz") == 5
    assert spool.read(attempt(1), OUT, 0, 100) == b"abcde"
    kept, left_out = spool.seal(attempt(1), OUT)
    assert left_out == 3 + 100
    whole = spool.read(attempt(1), OUT, 0, 1000)
    assert (whole, len(whole)) == (b"abcde" + marker(103) + b"vwxyz", kept)
    spool.finish(attempt(1))
    assert spool.read(attempt(1), OUT, 0, 1000) == whole
    assert not spool.truncated(attempt(1), OUT)


def test_what_fits_into_its_bound_is_whole(tmp_path: Path) -> None:
    """Head and tail that meet make the stream, without a marker; another attempt has no such bound."""
    spool = make(tmp_path)
    spool.bound(attempt(1), 10)
    for piece in (b"abc", b"defg", b"hij"):
        spool.append(attempt(1), OUT, piece)
    spool.append(attempt(2), OUT, b"0123456789ABC")
    assert spool.seal(attempt(1), OUT) == (10, 0)
    assert spool.read(attempt(1), OUT, 0, 100) == b"abcdefghij"
    assert spool.seal(attempt(2), OUT) == (13, 0)
    assert spool.seal(attempt(3), OUT) == (0, 0)


def test_a_long_tail_has_a_file_until_the_end(tmp_path: Path) -> None:
    """What does not fit into memory is a ring on the disk, and gone with the end, or with its attempt."""
    spool = make(tmp_path)
    for number in (1, 2):
        spool.bound(attempt(number), 400_000)
        for _ in range(20):
            spool.append(attempt(number), OUT, b"x" * 50_000)
    assert sum(name.endswith(".tail") for name in files(tmp_path)) == 2
    spool.drop(attempt(2))
    spool.finish(attempt(1))
    assert files(tmp_path) == [f"{attempt(1).task}.1.stdout"]  # whole: what its bound leaves out is told
    assert spool.length(attempt(1), OUT) == 400_000 + len(marker(600_000))


def test_the_dead_are_finished(tmp_path: Path) -> None:
    """When what ran is dead, all of it is as if it had ended; what said nothing leaves nothing."""
    spool = make(tmp_path, Clock(), spool_kept_s=10.0)
    spool.bound(attempt(1), 10)
    spool.append(attempt(2), OUT, b"x")
    spool.finish_running()
    assert spool.expire(100.0, lambda _: False) == [attempt(2)]


def test_retention_by_age(tmp_path: Path) -> None:
    """Finished output goes when its time is over, the oldest first; running output stays."""
    clock = Clock()
    spool = make(tmp_path, clock, spool_kept_s=10.0)
    for number in (1, 2, 3):
        spool.append(attempt(number), OUT, b"x")
    spool.finish(attempt(2))
    clock.now = 5.0
    spool.finish(attempt(1))
    assert spool.expire(9.9, lambda _: False) == []
    assert spool.expire(10.0, lambda _: False) == [attempt(2)]
    assert spool.expire(1000.0, lambda _: False) == [attempt(1)]
    assert spool.length(attempt(2), OUT) == 0
    assert spool.length(attempt(3), OUT) == 1


def test_retention_by_size(tmp_path: Path) -> None:
    """Beyond the bound of bytes the oldest finished output goes, and no more than needed."""
    spool = make(tmp_path, stream_bytes_max=1000, spool_bytes_max=2500)
    for number in range(1, 5):
        spool.append(attempt(number), OUT, b"x" * 1000)
        spool.finish(attempt(number))
    assert spool.expire(0.0, lambda _: False) == [attempt(1), attempt(2)]
    assert spool.expire(0.0, lambda _: False) == []


def test_retention_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small they are, only so many finished attempts are kept."""
    monkeypatch.setattr(spool_module, "FINISHED_MAX", 2)
    spool = make(tmp_path)
    for number in range(1, 4):
        spool.append(attempt(number), OUT, b"x")
        spool.finish(attempt(number))
    assert spool.expire(0.0, lambda _: False) == [attempt(1)]


def test_finished_output_in_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When finished streams fill their memory, the oldest move to files and read the same."""
    monkeypatch.setattr(spool_module, "MEMORY_FINISHED_BYTES", 100)
    spool = make(tmp_path)
    for number in range(1, 4):
        spool.append(attempt(number), OUT, b"o" * 40)
        spool.append(attempt(number), ERR, b"e" * 10)
        spool.finish(attempt(number))
    assert files(tmp_path) == [f"{attempt(1).task}.1.{name}" for name in ("stderr", "stdout")]
    assert spool.read(attempt(1), ERR, 0, 100) == b"e" * 10
    assert spool.expire(0.0, lambda _: False) == []
    for number in range(1, 4):
        spool.drop(attempt(number))
    assert files(tmp_path) == []


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", write)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_truncates_and_never_raises(tmp_path: Path) -> None:
    """What is in memory stays; what does not fit is counted as truncated; no empty file is left."""
    spool = make(tmp_path)
    spool.append(attempt(1), OUT, b"x" * MEMORY_STREAM_BYTES)
    assert spool.append(attempt(1), OUT, b"y") == MEMORY_STREAM_BYTES
    assert spool.append(attempt(1), OUT, b"z") == MEMORY_STREAM_BYTES
    assert spool.truncated(attempt(1), OUT)
    assert spool.tail(attempt(1), OUT, 2) == b"xx"
    assert files(tmp_path) == []


def test_a_disk_that_fills_up_keeps_what_it_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a write that the disk takes in part, that part is kept and readable."""
    spool = make(tmp_path)
    spool.append(attempt(1), OUT, b"x" * (MEMORY_STREAM_BYTES + 1))
    real, calls = os.write, list[int]()

    def write(descriptor: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data[:3])

    monkeypatch.setattr(os, "write", write)
    assert spool.append(attempt(1), OUT, b"abcdef") == MEMORY_STREAM_BYTES + 4
    monkeypatch.undo()
    assert spool.truncated(attempt(1), OUT)
    assert spool.tail(attempt(1), OUT, 4) == b"xabc"
    spool.close()


@pytest.mark.usefixtures("full_disk")
def test_readers_are_told_what_a_full_disk_has_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished output that must leave memory and finds no disk is dropped, and expire reports it."""
    monkeypatch.setattr(spool_module, "MEMORY_FINISHED_BYTES", 100)
    spool = make(tmp_path)
    for number in (1, 2):
        spool.append(attempt(number), OUT, b"x" * 60)
        spool.finish(attempt(number))
    assert spool.expire(0.0, lambda _: False) == [attempt(1)]
    assert spool.expire(0.0, lambda _: False) == []
    assert spool.length(attempt(2), OUT) == 60


def test_a_file_that_vanished_reads_as_empty(tmp_path: Path) -> None:
    """A spool file that somebody removed costs its bytes, not the worker."""
    spool = make(tmp_path)
    spool.append(attempt(1), OUT, b"x" * (MEMORY_STREAM_BYTES + 1))
    (tmp_path / "spool" / files(tmp_path)[0]).unlink()
    assert spool.read(attempt(1), OUT, 0, 10) == b""
    spool.close()


LONG = MEMORY_STREAM_BYTES + 1


def test_finished_output_outlives_a_kill(tmp_path: Path) -> None:
    """A new life has what had a file when its command ended, with the stream beside it; nothing else."""
    killed = make(tmp_path)
    killed.append(attempt(1), OUT, b"x" * LONG)
    killed.append(attempt(1), ERR, b"why")
    killed.finish(attempt(1))
    killed.append(attempt(2), OUT, b"runs" * LONG)
    killed.append(attempt(3), OUT, b"in memory only")
    killed.finish(attempt(3))
    (tmp_path / "spool" / "old").mkdir()
    (tmp_path / "spool" / f"{attempt(4).task}.1.stdout").symlink_to(tmp_path / "elsewhere")
    spool = make(tmp_path)
    assert spool.kept() == [Kept(attempt=attempt(1), sizes=(LONG, 3), truncated=(False, False))]
    assert files(tmp_path) == [f"{attempt(1).task}.1.{name}" for name in ("stderr", "stdout")]
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
    assert spool.read(attempt(1), OUT, LONG - 2, 10) == b"xx"
    assert spool.read(attempt(1), ERR, 0, 10) == b"why"
    spool.drop(attempt(1))
    assert files(tmp_path) == []


def test_who_stops_writes_down_what_results_do_not_hold(tmp_path: Path) -> None:
    """Output in memory is there after a restart; what rides in the result, and what still ran, is not."""
    stopped = make(tmp_path)
    inline = INLINE_OUTPUT_BYTES
    for number, size in ((1, inline), (2, inline + 1), (3, 10 * inline)):
        stopped.append(attempt(number), OUT, b"x" * size)
    stopped.finish(attempt(1))
    stopped.finish(attempt(2))
    stopped.close()
    assert [kept.attempt for kept in make(tmp_path).kept()] == [attempt(2)]


def test_a_stream_that_was_cut_says_so_in_a_later_life(tmp_path: Path) -> None:
    """Whether a file holds all that its command wrote is in its name."""
    killed = make(tmp_path, stream_bytes_max=LONG)
    killed.append(attempt(1), OUT, b"x" * (LONG + 1))
    killed.append(attempt(1), ERR, b"x" * LONG)
    killed.finish(attempt(1))
    spool = make(tmp_path)
    assert spool.kept() == [Kept(attempt=attempt(1), sizes=(LONG, LONG), truncated=(True, False))]
    spool.close()
    assert make(tmp_path).truncated(attempt(1), OUT)


def test_a_later_life_counts_the_time_and_the_bytes_of_the_one_before(tmp_path: Path) -> None:
    """Retention goes on where it was, in the order of the ends; a clock that was set back ends nothing."""
    killed = make(tmp_path)
    for number in (1, 2, 3):
        killed.append(attempt(number), OUT, b"x" * LONG)
        killed.finish(attempt(number))
    for number, ended in ((1, 70.0), (2, 60.0), (3, 500.0)):
        os.utime(tmp_path / "spool" / f"{attempt(number).task}.1.stdout", (ended, ended))
    clock = Clock()
    bounds = {"spool_kept_s": 50.0, "spool_bytes_max": 2 * LONG, "stream_bytes_max": LONG}
    config = WorkerConfig(zk="localhost", name="w1", **bounds)  # type: ignore[arg-type]
    spool = Spool(str(tmp_path), config, clock, lambda: 100.0)
    assert [kept.attempt for kept in spool.kept()] == [attempt(2), attempt(1), attempt(3)]
    assert spool.expire(0.0, lambda _: False) == [attempt(2)]  # one more than there is room for
    assert spool.expire(19.0, lambda _: False) == []
    assert spool.expire(20.0, lambda _: False) == [attempt(1)]
    assert spool.expire(50.0, lambda _: False) == [attempt(3)]
    assert files(tmp_path) == []


def test_a_disk_that_is_full_at_the_end_costs_only_what_has_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody takes over half of an attempt: where one stream finds no room, neither outlives the process."""
    stopped = make(tmp_path)
    stopped.append(attempt(1), OUT, b"x" * LONG)
    stopped.append(attempt(1), ERR, b"why")

    def write(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", write)
    stopped.finish(attempt(1))
    assert stopped.read(attempt(1), ERR, 0, 10) == b"why"
    assert not stopped.truncated(attempt(1), ERR)
    stopped.close()
    assert make(tmp_path).kept() == []
    assert files(tmp_path) == []


def test_no_file_name_leaves_the_spool(tmp_path: Path) -> None:
    """Even a task id that should never get here stays inside the directory."""
    spool = make(tmp_path)
    evil = AttemptId("../../evil", 1)
    spool.append(evil, OUT, b"x" * (MEMORY_STREAM_BYTES + 1))
    assert files(tmp_path) == [".._.._evil.1.stdout.part"]
    assert make(tmp_path).kept() == []
    assert files(tmp_path) == []


def test_what_the_store_must_have_stays(tmp_path: Path) -> None:
    """Neither age nor number nor size drop it; what is not owed goes in its place, the oldest first."""
    clock = Clock()
    spool = make(tmp_path, clock, spool_kept_s=10, spool_bytes_max=25)
    for number in (1, 2, 3, 4):
        spool.append(attempt(number), OUT, b"x" * 10)
        spool.finish(attempt(number))
    assert spool.expire(0.0, {attempt(1), attempt(3)}.__contains__) == [attempt(2), attempt(4)]
    clock.now = 100.0
    assert spool.expire(100.0, {attempt(1), attempt(3)}.__contains__) == []
    assert spool.length(attempt(1), OUT) == spool.length(attempt(3), OUT) == 10
    assert spool.expire(100.0, {attempt(3)}.__contains__) == [attempt(1)]
    assert spool.expire(100.0, lambda _: False) == [attempt(3)]
    spool.close()


def test_no_more_is_dropped_than_must_be(tmp_path: Path) -> None:
    """Once the others fit, they stay, though something older is owed."""
    spool = make(tmp_path, spool_bytes_max=20)
    for number in (1, 2, 3):
        spool.append(attempt(number), OUT, b"x" * 10)
        spool.finish(attempt(number))
    assert spool.expire(0.0, {attempt(1)}.__contains__) == [attempt(2)]
    assert spool.expire(0.0, {attempt(1)}.__contains__) == []
    assert spool.length(attempt(3), OUT) == 10
    spool.close()
