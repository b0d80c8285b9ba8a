"""The files to which commands append increments: what is read of them, whatever a command makes of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.worker_parts import attempt

from alb_core.increments import DROPPED_KEY, Line, Resume
from alb_worker.shell import increments as module
from alb_worker.shell.increments import FILE_BYTES_MAX, IncrementFiles

A1, A2, LATER = attempt(1), attempt(2), attempt(1, n=2)
RESUME = Resume(seq=9, lines=(Line("loss", "0.5"), Line("", '"a\\nb"'), Line('é"', '"x y"')))


@pytest.fixture
def files(tmp_path: Path) -> Iterator[IncrementFiles]:
    """The files of a worker."""
    made = IncrementFiles(str(tmp_path))
    yield made
    made.close()


def channel(files: IncrementFiles) -> Path:
    """Expect increments of an attempt; return where its command reports."""
    return Path(files.open(A1, None)["ALB_INCREMENTS"])


def values(lines: tuple[Line, ...]) -> list[str]:
    """Return what was reported."""
    return [line.value for line in lines]


def polled(files: IncrementFiles) -> list[str]:
    """Return what the one running command has reported since the last time."""
    found = files.poll()
    assert [each for each, _ in found] in ([], [A1])
    return [value for _, lines in found for value in values(lines)]


def left(home: Path) -> list[str]:
    """Return what lies in the directory."""
    return sorted(path.name for path in (home / "increments").iterdir())


def append(path: Path, data: bytes) -> None:
    """Write as commands do."""
    with path.open("ab") as file:
        file.write(data)


# --- reading ------------------------------------------------------------------------------------------------


def test_lines_are_read_as_they_are_written(files: IncrementFiles) -> None:
    """Each once; a line counts when its end is there."""
    path = channel(files)
    assert polled(files) == []
    append(path, b"1\n2\n3")
    assert polled(files) == ["1", "2"]
    assert polled(files) == []
    append(path, b"4\n\n\n")
    assert polled(files) == ["34"]


def test_the_last_line_needs_no_end(files: IncrementFiles) -> None:
    """When the command came to its own end it is whole, whether or not it was looked at before."""
    path = channel(files)
    append(path, b"1\n2")
    assert values(files.finish(A1, whole=True)) == ["1", "2"]
    path = channel(files)
    append(path, b"3")
    assert polled(files) == []
    assert values(files.finish(A1, whole=True)) == ["3"]
    assert files.finish(A1) == ()


def test_half_a_line_of_a_killed_command_is_none(files: IncrementFiles) -> None:
    """What was to be 1000 must not become 10: the next attempt would go on from there."""
    append(channel(files), b"999\n10")
    assert values(files.finish(A1)) == ["999"]
    append(channel(files), b"10")
    assert polled(files) == []
    assert files.finish(A1) == ()


def test_commands_do_not_mix(files: IncrementFiles) -> None:
    """Each has a file of its own, and so has each attempt of a task."""
    paths = [Path(files.open(each, None)["ALB_INCREMENTS"]) for each in (A1, A2, LATER)]
    for number, path in enumerate(paths):
        append(path, b"%d\n" % number)
    assert [(each, values(lines)) for each, lines in files.poll()] == [
        (A1, ["0"]),
        (A2, ["1"]),
        (LATER, ["2"]),
    ]


def test_what_nobody_expects_is_not_read(files: IncrementFiles) -> None:
    """An attempt that never started has reported nothing."""
    assert files.finish(A2) == ()


def test_a_poll_reads_a_bounded_amount(files: IncrementFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop has others to serve; the rest comes with the next ones."""
    monkeypatch.setattr(module, "READ_BYTES", 4)
    append(channel(files), b"11\n22\n33\n")
    assert [polled(files) for _ in range(4)] == [["11"], ["22"], ["33"], []]


@pytest.mark.parametrize("others", [0, 200])
def test_attempts_that_end_together_are_looked_at_together(
    files: IncrementFiles, tmp_path: Path, others: int
) -> None:
    """Each has what it reported, whatever else lies in the directory, and its file goes with it."""
    ended = [attempt(number) for number in range(1, 11)]
    paths = [Path(files.open(each, None)["ALB_INCREMENTS"]) for each in ended]
    append(paths[2], b"1\n2")
    append(paths[5], b"3\n4")
    append(paths[7], b"")
    for number in range(others):
        (tmp_path / "increments" / f"other-{number}").touch()
    found = files.finish_all({each: each != ended[5] for each in ended})
    assert {each: values(lines) for each, lines in found.items()} == {ended[2]: ["1", "2"], ended[5]: ["3"]}
    assert len(left(tmp_path)) == others
    assert files.finish_all(dict.fromkeys(ended, True)) == {}


def test_many_that_run_are_looked_at_together(files: IncrementFiles) -> None:
    """A file is found whenever its command makes it, and read on from there."""
    running = [attempt(number) for number in range(1, 11)]
    paths = [Path(files.open(each, None)["ALB_INCREMENTS"]) for each in running]
    assert files.poll() == []
    append(paths[3], b"1\n")
    assert [(each, values(lines)) for each, lines in files.poll()] == [(running[3], ["1"])]
    append(paths[3], b"2\n")
    append(paths[9], b"3\n")
    found = [(each, values(lines)) for each, lines in files.poll()]
    assert found == [(running[3], ["2"]), (running[9], ["3"])]


# --- bounds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces", [(b"11\n22\n33\n44",), (b"11\n22\n", b"33\n44"), (b"1", b"1\n22\n3", b"3\n44")]
)
def test_a_file_is_read_up_to_a_bound(
    files: IncrementFiles, monkeypatch: pytest.MonkeyPatch, pieces: tuple[bytes, ...]
) -> None:
    """What comes beyond is dropped, whether it comes at once or bit by bit."""
    monkeypatch.setattr(module, "FILE_BYTES_MAX", 8)
    path = channel(files)
    found = []
    for piece in pieces:
        append(path, piece)
        found += polled(files)
    *rest, full = files.finish(A1)
    assert found + values(tuple(rest)) == ["11", "22"]  # the bound may cut a line in two
    assert full.key == DROPPED_KEY


@pytest.mark.parametrize(
    "pieces", [(b"1\n2\n3\n4\n5",), (b"1\n2\n", b"3\n4\n5\n"), (b"1\n2\n3\n", b"4\n", b"5")]
)
def test_a_file_has_a_bounded_number_of_lines(
    files: IncrementFiles, monkeypatch: pytest.MonkeyPatch, pieces: tuple[bytes, ...]
) -> None:
    """Else a command that floods it would keep the agent busy until its leader thinks it lost."""
    monkeypatch.setattr(module, "FILE_LINES_MAX", 3)
    path = channel(files)
    found = []
    for piece in pieces:
        append(path, piece)
        found += polled(files)
    *rest, full = files.finish(A1)
    assert found + values(tuple(rest)) == ["1", "2", "3"]
    assert full.key == DROPPED_KEY
    path = channel(files)
    append(path, b"".join(pieces))
    assert values(files.finish(A1)[:-1]) == ["1", "2", "3"]


def test_a_flood_is_over_soon(files: IncrementFiles) -> None:
    """The shortest lines, as many as the file may hold: a few seconds even on a busy machine."""
    append(channel(files), b"y\n" * (FILE_BYTES_MAX // 2))
    begin = time.monotonic()
    assert len(files.finish(A1)) == module.FILE_LINES_MAX + 1
    assert time.monotonic() - begin < 30.0


# --- what is no file ----------------------------------------------------------------------------------------


def _link(path: Path) -> None:
    target = path.parent.parent / "secret"
    target.write_text("secret\n")
    path.symlink_to(target)


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, _link, lambda path: path.symlink_to(path), lambda path: path.touch(0)]
)
def test_what_is_no_file_reports_nothing(
    files: IncrementFiles, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """The agent neither waits for it nor follows it, and is rid of it in the end."""
    path = channel(files)
    make(path)
    assert polled(files) == []
    assert files.finish(A1) == ()
    assert left(tmp_path) == ([path.name] if path.is_dir() else [])
    files.close()
    assert not path.parent.exists()


def test_a_file_that_is_exchanged_is_read_on_from_where_the_first_ended(files: IncrementFiles) -> None:
    """Nothing is read twice, and nothing breaks: a file that became shorter says nothing new."""
    path = channel(files)
    append(path, b"1\n2\n")
    assert polled(files) == ["1", "2"]
    path.write_bytes(b"9\n")
    assert polled(files) == []
    path.unlink()
    assert polled(files) == []
    assert files.finish(A1) == ()


# --- going on -----------------------------------------------------------------------------------------------


def test_a_first_attempt_is_told_where_to_report_and_nothing_more(files: IncrementFiles) -> None:
    """There is nothing to go on from; its file is its own to make."""
    (name, path) = next(iter(files.open(A1, None).items()))
    assert (name, Path(path).exists()) == ("ALB_INCREMENTS", False)
    assert list(files.open(A2, Resume(seq=3))) == ["ALB_INCREMENTS"]


def test_a_later_attempt_is_told_where_to_go_on(files: IncrementFiles) -> None:
    """The newest value as a word, and all in a file that reads like the one that commands write."""
    marks = files.open(LATER, RESUME)
    assert marks["ALB_RESUME"] == "x y"
    path = Path(marks["ALB_RESUME_FILE"])
    again = channel(files)
    append(again, path.read_bytes())
    assert files.finish(A1) == RESUME.lines


@pytest.mark.parametrize("make", [os.mkfifo, _link, lambda path: path.write_text("old\n" * 99)])
def test_what_lies_where_the_resume_file_goes_makes_way(
    files: IncrementFiles, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """An earlier command may have put it there: it is neither waited for nor followed."""
    make(tmp_path / "increments" / f"{LATER.task}.2.resume")
    path = Path(files.open(LATER, RESUME)["ALB_RESUME_FILE"])
    assert path.read_bytes().splitlines()[0] == b'{"key":"loss","value":0.5}'
    assert not path.is_symlink()
    assert not (tmp_path / "secret").exists() or (tmp_path / "secret").read_text() == "secret\n"


def test_a_resume_file_that_cannot_be_written_is_an_error(files: IncrementFiles, tmp_path: Path) -> None:
    """The command does not start without what it must know; nothing is expected of it."""
    (tmp_path / "increments" / f"{LATER.task}.2.resume").mkdir()
    with pytest.raises(OSError, match="resume"):
        files.open(LATER, RESUME)
    assert files.poll() == []


# --- the end ------------------------------------------------------------------------------------------------


def test_the_files_of_an_attempt_go_with_it(files: IncrementFiles, tmp_path: Path) -> None:
    """What it reported, and what it was given, though it reported nothing."""
    append(channel(files), b"1\n")
    files.finish(A1)
    files.open(LATER, RESUME)
    assert left(tmp_path) == [f"{LATER.task}.2.resume"]
    files.finish(LATER)
    assert left(tmp_path) == []


def test_what_the_runner_left_is_read_to_its_end(files: IncrementFiles, tmp_path: Path) -> None:
    """Of every attempt that has something; all are over."""
    append(channel(files), b"1\n2")
    files.open(A2, None)
    assert [(each, values(lines)) for each, lines in files.abandon()] == [(A1, ["1"])]
    assert (files.abandon(), files.poll(), left(tmp_path)) == ([], [], [])


def test_what_an_earlier_process_left_is_removed(tmp_path: Path) -> None:
    """Its attempts are nobody's; only the worker's user sees what commands report."""
    (tmp_path / "increments").mkdir()
    (tmp_path / "increments" / "old.1").write_text("1\n")
    files = IncrementFiles(str(tmp_path))
    assert left(tmp_path) == []
    assert (tmp_path / "increments").stat().st_mode & 0o777 == 0o700
    channel(files).touch()
    files.close()
    assert not (tmp_path / "increments").exists()
