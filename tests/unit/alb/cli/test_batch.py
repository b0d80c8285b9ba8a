"""``alb submit --each-line`` and ``--incremental``, in this process, against a leader of a script."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.alb.array_broker import KEEPS, LACKS
from tests.unit.alb.remembering_broker import RememberingBroker

from alb.cli import batch
from alb.cli.batch import Line, command_of
from alb.cli.main import run
from alb_core.messages import Attach, Cancel

ZK = ("--zk", "zk:2181", "--user", "u")


@pytest.fixture
def each_line(tmp_path: Path) -> Callable[..., int]:
    """Return what runs the verb over some lines."""

    def submit(lines: str | bytes, *arguments: str) -> int:
        path = tmp_path / "lines"
        path.write_bytes(lines.encode() if isinstance(lines, str) else lines)
        return run(["submit", *ZK, "--each-line", str(path), *arguments])

    return submit


@pytest.mark.parametrize(
    ("template", "line", "expected"),
    [
        ((), "make a | tee b", "make a | tee b"),
        (("make",), "a b", "make 'a b'"),
        (("make {#} {}",), "a b", "make 7 'a b'"),
        (("cp {} {}.bak",), "a;b", "cp 'a;b' 'a;b'.bak"),
        (("make", "-s"), "a b", ("make", "-s", "a b")),
        (("cp", "{}", "{}.bak"), "a b", ("cp", "a b", "a b.bak")),
    ],
)
def test_a_line_becomes_a_command(template: tuple[str, ...], line: str, expected: Any) -> None:
    """In place of {} or as the last word; a shell gets it quoted; alone it is a command line."""
    assert command_of(template, Line(7, line)) == expected


def test_every_line_is_a_task(
    rememberer: RememberingBroker, each_line: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    """Blank lines are none; the summary counts; the exit status is that of the first line that failed."""
    assert each_line("a\n\nfalse\nb", "make") == 3
    told = capfd.readouterr()
    assert sorted(rememberer.submitted()) == ["make a", "make b", "make false"]
    assert sorted(told.out.splitlines()) == ["make a", "make b"]
    assert "line 3: FAILED with exit status 3 on w1" in told.err
    assert told.err.endswith("alb: 3 lines: 3 ran, 1 failed\n")


def test_what_does_not_come_back_is_said(
    rememberer: RememberingBroker, each_line: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    """As of an array."""
    assert rememberer
    assert each_line("keeps\nlacks\nother\n", "--incremental", "--return", "*.csv") == 125
    told = capfd.readouterr().err
    assert f"alb: line 1: {KEEPS}\n" in told
    assert f"alb: 1 of those that ended well: {LACKS}\n" in told
    assert "3 ran, 0 skipped (they have a good result), 1 failed" in told


def test_only_what_has_no_good_result_runs(
    rememberer: RememberingBroker, each_line: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    """Skipped lines write nothing, doubles run once, failures run again; the summary says how many."""
    lines = "a\nb\na\nfalse\n"
    assert each_line(lines, "--incremental", "make") == 3
    assert len(rememberer.submitted()) == 3
    capfd.readouterr()
    assert each_line(lines, "--incremental", "make") == 3
    told = capfd.readouterr()
    assert rememberer.submitted()[3:] == ["make false"]
    assert told.out == ""
    assert "alb: 4 lines: 1 ran, 3 skipped (they have a good result), 1 failed" in told.err
    assert each_line("a\nb\n", "--incremental", "-q", "make") == 0
    assert capfd.readouterr().err == ""


def test_json_has_a_line_for_each_line(
    rememberer: RememberingBroker, each_line: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    """With its number; also for what was skipped, for doubles, and for what cannot be a task."""
    assert each_line("a\n", "--json", "--incremental", "make") == 0
    (first,) = map(json.loads, capfd.readouterr().out.splitlines())
    assert (first["line"], first["state"], first["stdout"]) == (1, "SUCCEEDED", "make a\n")
    assert each_line(b"a\nc\nc\n\xff\nd\0d\n", "--json", "--incremental", "make") == 125
    lines = {each["line"]: each for each in map(json.loads, capfd.readouterr().out.splitlines())}
    assert (lines[1]["id"], lines[1]["skipped"]) == (first["id"], True)
    assert lines[2]["id"] == lines[3]["id"]
    assert "not valid text" in lines[4]["error"]
    assert "NUL" in lines[5]["error"]
    assert len(rememberer.submitted()) == 2


def test_detached_tasks_are_named_once_they_are_accepted(
    rememberer: RememberingBroker, each_line: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody waits for their ends."""
    assert each_line("1\n2\n", "--detach", "--incremental", "sleep") == 0
    told = capfd.readouterr()
    assert sorted(told.out.split()) == sorted(rememberer.commands)
    assert told.err == "alb: 2 lines: 2 submitted, 0 skipped (they have a good result)\n"


def test_what_is_under_way_elsewhere_is_waited_for(
    rememberer: RememberingBroker, each_line: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    """It is followed, not run twice."""
    assert run(["submit", *ZK, "--detach", "sleep 1"]) == 0
    (task,) = rememberer.commands
    rememberer.commands[task] = "make 1"  # it ends as soon as somebody looks
    assert each_line("1\n", "--incremental", "sleep") == 0
    assert len(rememberer.commands) == 1
    assert "1 were under way already" in capfd.readouterr().err


def test_a_window_bounds_what_is_under_way(
    rememberer: RememberingBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endless file is read as tasks end; what was read before the end of the pipe is run."""
    monkeypatch.setattr(batch, "WINDOW", 10)
    reader, writer = os.pipe()

    def feed() -> None:
        with open(writer, "wb", buffering=0) as lines:  # noqa: PTH123
            lines.writelines(b"%d\n" % number for number in range(50))

    threading.Thread(target=feed, daemon=True).start()
    assert run(["submit", *ZK, "--each-line", f"/dev/fd/{reader}", "-q", "make"]) == 0
    os.close(reader)
    assert len(rememberer.submitted()) == 50


def test_large_output_is_cut_and_said_to_be(
    rememberer: RememberingBroker, each_line: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    """Many tasks at once must not fill the memory."""
    rememberer.lost = "it was too much"
    assert each_line("long\n", "make") == 0
    told = capfd.readouterr()
    assert len(told.out) == 4096
    assert "line 1: these are the last 4096 of 10000000 bytes of stdout; all: alb logs" in told.err


def test_a_store_that_comes_back_is_asked_again(
    rememberer: RememberingBroker,
    each_line: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until patience is over: then it is an error, and what was not asked does not run."""
    rememberer.trouble = ["the store is locked"]
    assert each_line("a\n", "--incremental", "make") == 0
    assert "the store is locked; asking again" in capfd.readouterr().err
    monkeypatch.setattr(batch, "ASKING_S", 0.0)
    rememberer.trouble = ["the store is locked"] * 5
    assert each_line("b\n", "--incremental", "make") == 125
    assert rememberer.submitted() == ["make a"]


def test_without_a_store_it_is_said_what_counts(
    rememberer: RememberingBroker, each_line: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    """Of one command and of many."""
    rememberer.store = ""
    assert each_line("a\n", "--incremental", "make") == 0
    assert "no results store" in capfd.readouterr().err
    assert run(["submit", *ZK, "--incremental", "make b"]) == 0
    assert "no results store" in capfd.readouterr().err


def test_one_command_that_was_done_gives_its_output_again(
    rememberer: RememberingBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """As if it had run; what was skipped is said. With --json and --detach too."""
    assert run(["submit", *ZK, "--incremental", "make a"]) == 0
    (task,) = rememberer.commands
    capfd.readouterr()
    assert run(["submit", *ZK, "--incremental", "make a"]) == 0
    told = capfd.readouterr()
    assert (told.out, f"skipped: task {task} did this well" in told.err) == ("make a\n", True)
    assert run(["submit", *ZK, "--incremental", "--json", "-q", "make a"]) == 0
    form = json.loads(capfd.readouterr().out)
    assert (form["id"], form["skipped"], form["stdout"]) == (task, True, "make a\n")
    assert run(["submit", *ZK, "--incremental", "--detach", "-q", "make a"]) == 0
    assert capfd.readouterr().out == f"{task}\n"
    assert len(rememberer.commands) == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--each-line", "/does/not/exist", "make"], "No such file"),
        (["--each-line", "/dev/null", "--id", "0" * 32, "make"], "--id names one task"),
        ([], "which COMMAND"),
    ],
)
def test_wrong_usage_is_explained(arguments: list[str], why: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Before anything is sent."""
    assert run(["submit", *ZK, *arguments]) == 125
    assert why in capfd.readouterr().err


def test_no_line_is_no_task(
    rememberer: RememberingBroker, each_line: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    """And no error."""
    assert each_line("", "make") == 0
    assert capfd.readouterr().err == "alb: 0 lines: 0 ran\n"
    assert rememberer.commands == {}


def test_lines_that_cannot_be_read_on_are_an_error(
    rememberer: RememberingBroker, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What was read is run."""

    class Torn(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, _buffer: Any) -> int:
            raise OSError(5, "Input/output error")

    made = batch.Batch(("make",), {}, detach=False, as_json=False, return_dir=".", say=lambda _: None)
    from alb.cli.options import Place  # noqa: PLC0415

    with Place("zk:2181", "u", 5.0).client(made.hear) as client:
        from alb.cli.attendance import Patience  # noqa: PLC0415
        from alb.cli.story import Story  # noqa: PLC0415

        patience = Patience(client, Story(lambda _: None, time.monotonic), 5.0)
        assert made.run(client, patience, io.BufferedReader(Torn())) == 125
    assert "the lines cannot be read on: Input/output error" in capfd.readouterr().err
    assert rememberer.commands == {}
    assert tmp_path.exists()


def test_ctrl_c_twice_cancels_everything(
    rememberer: RememberingBroker,
    each_line: Callable[..., int],
    interrupt_when: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The first one says what goes on."""
    interrupt_when(lambda: len(rememberer.submitted()) == 3)
    assert each_line("1\n2\n3\n", "sleep") == 130
    told = capfd.readouterr()
    (array,) = rememberer.arrays
    assert f"0 of 3 tasks have ended; array {array} goes on; attach again with: alb attach" in told.err
    assert f"Ctrl-C again within 2 s cancels it\nalb: cancelling array {array}" in told.err
    assert told.err.endswith("alb: 3 lines: 0 ran, 3 cancelled\n")


def test_a_full_disk_leaves_the_tasks_alone(
    rememberer: RememberingBroker, each_line: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    """What is under way goes on, and that is said with the reason."""
    saved = os.dup(1)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, 1)
    try:
        assert each_line("sleep 1\ntrue\n") == 125
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(full)
    err = capfd.readouterr().err
    assert "leaving: No space left on device: standard output; 1 of 2 tasks have ended; array" in err
    assert "goes on; attach again with: alb attach" in err
    assert cancelled(rememberer) == []


# --- what was joined ----------------------------------------------------------------------------------------


@pytest.fixture
def joinable(rememberer: RememberingBroker) -> str:
    """A task of before, that sleeps; its id."""
    assert run(["submit", *ZK, "--detach", "sleep 1"]) == 0
    (task,) = rememberer.commands
    return task


def attached(rememberer: RememberingBroker) -> bool:
    """Tell whether somebody follows a task of before."""
    return any(isinstance(message, Attach) for message in rememberer.received)


def cancelled(rememberer: RememberingBroker) -> list[str]:
    """Return the commands that somebody cancelled."""
    return [rememberer.commands[message.id] for message in rememberer.received if isinstance(message, Cancel)]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_ctrl_c_twice_leaves_a_joined_task_alone(
    rememberer: RememberingBroker,
    joinable: str,
    interrupt_when: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
    options: list[str],
) -> None:
    """Somebody else submitted it: it is left, and said to go on."""
    interrupt_when(lambda: attached(rememberer))
    assert run(["submit", *ZK, "--incremental", *options, "sleep 1"]) == 130
    err = capfd.readouterr().err
    assert "Ctrl-C again within 2 s leaves it alone" in err
    assert f"leaving; task {joinable}" in err
    assert f"goes on; attach again with: alb logs -f {joinable}" in err
    assert cancelled(rememberer) == []


def test_a_reader_that_leaves_leaves_a_joined_task_alone(
    rememberer: RememberingBroker, joinable: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """As before: status 141, and nothing is cancelled."""
    rememberer.output = b"y\n" * 1000
    saved = os.dup(1)
    read_end, write_end = os.pipe()
    os.close(read_end)
    os.dup2(write_end, 1)
    try:
        assert run(["submit", *ZK, "--incremental", "sleep 1"]) == 141
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(write_end)
    assert f"nobody reads the output any more: leaving; task {joinable}" in capfd.readouterr().err
    assert cancelled(rememberer) == []


def test_of_many_lines_only_our_tasks_are_cancelled(
    rememberer: RememberingBroker,
    joinable: str,
    each_line: Callable[..., int],
    interrupt_when: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The joined one goes on, and the command does not wait for it."""
    interrupt_when(lambda: attached(rememberer) and len(rememberer.commands) == 3)
    assert each_line("sleep 1\nsleep 2\nsleep 3\n", "--incremental") == 130
    err = capfd.readouterr().err
    assert "cancelling 2 tasks; 1 that were under way before go on in any case" in err
    assert "1 left alone (their tasks go on)" in err
    assert sorted(cancelled(rememberer)) == ["sleep 2", "sleep 3"]
    assert joinable in rememberer.commands
