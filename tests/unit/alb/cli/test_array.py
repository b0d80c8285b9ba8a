"""Arrays on the command line: submitted, watched, left, and come back to; against a leader of a script."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.unit.alb.array_broker import KEEPS, LACKS
from tests.unit.alb.remembering_broker import RememberingBroker

from alb.cli.main import run
from alb_core.arrays import Stride
from alb_core.messages import Attach, Cancel, Message, QueryTask, TaskPage
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskRecord, TaskState

ZK = ("--zk", "zk:2181", "--user", "u")


@pytest.fixture
def sleeping(rememberer: RememberingBroker, capfd: pytest.CaptureFixture[str]) -> str:
    """An array of five that sleep; its id."""
    assert run(["submit", *ZK, "--array", "1-5", "--detach", "sleep {#}"]) == 0
    (array,) = rememberer.arrays
    assert capfd.readouterr().out == f"{array}\n"
    return array


def test_an_array_runs_each_index(rememberer: RememberingBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """Outputs as they come, failures with their index, how to run those again, a summary, a status."""
    assert run(["submit", *ZK, "--array", "1-7:3", "--at-once", "2", "make {#}"]) == 0
    assert sorted(capfd.readouterr().out.splitlines()) == ["make 1", "make 4", "make 7"]
    (model,) = rememberer.arrays.values()
    assert (model.spec.strides, model.spec.at_once) == ((Stride(1, 7, 3),), 2)
    assert run(["submit", *ZK, "--array", "3-5%9", "false"]) == 3
    err = capfd.readouterr().err
    array = next(each for each in rememberer.arrays if each != model.id)
    assert rememberer.arrays[array].spec.at_once == 9
    assert f"index 4: FAILED with exit status 3 on w1 after 0.0 s; task {array}.4" in err
    assert err.endswith(
        f"run what failed again with: alb retry --failed {array}\nalb: 3 tasks: 3 ran, 3 failed\n"
    )


def test_what_does_not_come_back_is_said(
    rememberer: RememberingBroker, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Of each index whose files could not come, which is a failure; of those that left none, how many."""
    assert rememberer
    asked = ("submit", *ZK, "--return", "*.csv", "--return-dir", str(tmp_path))
    assert run([*asked, "--array", "1-2", "keeps"]) == 125
    told = capfd.readouterr().err
    assert f"alb: index 1: {KEEPS}\n" in told
    assert f"alb: index 2: {KEEPS}\n" in told
    assert "alb retry" not in told
    assert run([*asked, "--array", "1-3", "lacks"]) == 0
    assert capfd.readouterr().err == f"alb: 3 of those that ended well: {LACKS}\nalb: 3 tasks: 3 ran\n"
    assert run([*asked, "--array", "1-3", "-q", "lacks"]) == 0
    assert capfd.readouterr().err == ""
    assert list(tmp_path.iterdir()) == []


def test_words_after_colons_are_inputs(
    rememberer: RememberingBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """In place of {}; without a command each is a command line of its own."""
    assert run(["submit", *ZK, "--keep-order", "-q", "cp", "{}", "{}.bak", ":::", "a", "b c"]) == 0
    told = capfd.readouterr()
    assert (told.out, told.err) == ("cp a a.bak\ncp b c b c.bak\n", "")
    assert run(["submit", *ZK, "-q", ":::", "make a"]) == 0
    assert capfd.readouterr().out == "/bin/sh -c make a\n"
    assert [model.inputs for model in rememberer.arrays.values()] == [["a", "b c"], ["make a"]]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--array", "1-3", "make", ":::", "a"], "--array and ::: each say which tasks there are"),
        (["--array", "3-1", "make"], "the range '3-1' is empty"),
        (["--array", "1-3%2", "--at-once", "3", "make"], "--array says 2 at once, and --at-once 3"),
        (["--array", "1-3"], "which COMMAND?"),
        (["make", ":::"], "there are no words after :::"),
        (["make", ":::", "a", ":::", "b"], "one list of words"),
        (["--max-fails", "1", "make"], "--max-fails is for many tasks"),
        (["--keep-order", "make"], "--keep-order is for many tasks"),
        (["--incremental", "--array", "1-3", "make"], "--incremental works with --each-line"),
        (["--incremental", "--each-line", "/dev/null", "--max-fails", "1", "make"], "leave one out"),
        (["--increments", "--array", "1-3", "make"], "--increments shows what one task reports"),
    ],
)
def test_words_that_contradict_are_refused(
    arguments: list[str], why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Before anything is sent, with what to do."""
    assert run(["submit", *ZK, *arguments]) == 125
    assert why in " ".join(capfd.readouterr().err.split())


def test_json_has_a_line_for_each_index(
    rememberer: RememberingBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """With its state; also of those that were cancelled because too many failed."""
    assert run(["submit", *ZK, "--json", "--max-fails", "1", "--array", "1-4", "false"]) == 3
    lines = {each["index"]: each for each in map(json.loads, capfd.readouterr().out.splitlines())}
    states = [lines[index]["state"] for index in range(1, 5)]
    assert states == ["FAILED", "FAILED", "CANCELLED", "CANCELLED"]
    assert rememberer.arrays


def test_lines_beyond_what_an_array_takes_are_said_to_be_left(
    rememberer: RememberingBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """What was taken runs; the exit status says that not all did."""
    rememberer.refuse_after = 5000
    reader, writer = os.pipe()

    def feed() -> None:
        with open(writer, "wb", buffering=0) as lines:  # noqa: PTH123
            lines.write(b"".join(b"%d\n" % number for number in range(10_000)))

    feeding = threading.Thread(target=feed, daemon=True)
    feeding.start()
    assert run(["submit", *ZK, "--json", "--each-line", f"/dev/fd/{reader}", "make"]) == 125
    os.close(reader)
    told = capfd.readouterr()
    assert "no more lines are taken: the array has enough inputs" in told.err
    assert 1000 <= len(told.out.splitlines()) <= 5000
    feeding.join(60)


def test_lines_that_follow_too_many_failures_do_not_hide_the_status_of_what_failed(
    rememberer: RememberingBroker, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With --max-fails it is that of the first failure, whether the last lines were taken or not."""
    rememberer.refuse_after = 5000
    (tmp_path / "lines").write_text("false\n" * 10_000)
    arguments = ["--max-fails", "0", "--each-line", str(tmp_path / "lines"), "make"]
    assert run(["submit", *ZK, "-q", *arguments]) == 3
    assert "no more lines are taken" not in capfd.readouterr().err


def test_an_attached_array_is_left_alone(
    rememberer: RememberingBroker,
    sleeping: str,
    interrupt_when: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Two interrupts leave; nothing is cancelled."""
    interrupt_when(lambda: any("AttachArray" in type(each).__name__ for each in rememberer.received))
    assert run(["attach", *ZK, sleeping[-12:]]) == 130
    err = capfd.readouterr().err
    assert "Ctrl-C again within 2 s leaves it alone: it was under way before" in err
    assert not any(isinstance(message, Cancel) for message in rememberer.received)


def test_what_ended_before_is_shown_or_said_to_be_gone(
    rememberer: RememberingBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """By attach and by logs, in order."""
    assert run(["submit", *ZK, "-q", "--detach", "--array", "1-3", "make {#}"]) == 0
    (array,) = rememberer.arrays
    capfd.readouterr()
    assert run(["attach", *ZK, "--keep-order", array]) == 0
    assert capfd.readouterr().out == "make 1\nmake 2\nmake 3\n"
    for verb in (["logs"], ["logs", "-f"]):
        assert run([*verb, *ZK, array]) == 0
        assert capfd.readouterr().out == "make 1\nmake 2\nmake 3\n"
    rememberer.arrays[array].gone = True
    assert run(["attach", *ZK, array]) == 0
    assert "the output of 3 tasks is no longer kept" in capfd.readouterr().err
    assert run(["logs", *ZK, array]) == 0
    assert f"the output of 3 tasks is no longer kept; alb status {array}" in capfd.readouterr().err
    assert run(["logs", *ZK, "--json", array]) == 125
    assert sum(isinstance(message, Attach) for message in rememberer.received) >= 9


def test_the_views_of_an_array(
    rememberer: RememberingBroker, sleeping: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line in the list; its state with ranges of failed indexes; every index, for people and programs."""
    assert sleeping in rememberer.arrays
    assert run(["tasks", *ZK]) == 0
    assert "[0 of 5 ended, 5 running] sleep {#}" in capfd.readouterr().out
    assert run(["cancel", *ZK, f"{sleeping}.2-3,5"]) == 0
    assert capfd.readouterr().out == f"{sleeping}.2-3,5 cancellation noted\n"
    assert run(["status", *ZK, sleeping]) == 0
    told = capfd.readouterr().out
    assert "tasks     3 of 5 ended, 3 cancelled, 2 running" in told
    assert "CANCELLED: 2,3,5" in told
    assert run(["status", *ZK, "--json", sleeping[:10]]) == 0
    (form,) = json.loads(capfd.readouterr().out)
    assert [each["indexes"] for each in form["ended"]] == ["2", "3", "5"]
    assert run(["status", *ZK, "--indexes", sleeping]) == 0
    assert "5  CANCELLED" in capfd.readouterr().out
    assert run(["cancel", *ZK, sleeping]) == 0
    assert capfd.readouterr().out == f"{sleeping} CANCELLED\n"
    assert run(["wait", *ZK, sleeping]) == 125
    assert f"array {sleeping}: CANCELLED, 5 of 5 ended, 5 cancelled" in capfd.readouterr().err
    assert run(["status", *ZK, "f" * 32]) == 125


def test_waiting_for_an_array_has_the_status_of_its_first_failure(
    rememberer: RememberingBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its counts are told; --json gives its line."""
    assert run(["submit", *ZK, "-q", "make", ":::", "a", "false", "b"]) == 3
    (array,) = rememberer.arrays
    capfd.readouterr()
    assert run(["wait", *ZK, array]) == 3
    assert "FAILED, 3 of 3 ended, 1 failed" in capfd.readouterr().err
    assert run(["wait", *ZK, "--json", array]) == 3
    assert json.loads(capfd.readouterr().out)[0]["counts"] == {"succeeded": 2, "failed": 1}


def test_what_failed_of_an_array_runs_again(
    rememberer: RememberingBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """With its indexes and inputs, under a new id; what was cancelled only when asked for."""
    assert run(["submit", *ZK, "-q", "make", ":::", "a", "false", "lost", "b"]) == 3
    (array,) = rememberer.arrays
    capfd.readouterr()
    assert run(["retry", *ZK, "--failed", array]) == 0
    new = capfd.readouterr().out.strip()
    model = rememberer.arrays[new]
    assert (model.spec.strides, model.inputs) == ((Stride(2, 3),), ["false", "lost"])
    assert model.spec.task == rememberer.arrays[array].spec.task
    assert run(["retry", *ZK, "--cancelled", array]) == 0
    assert "nothing to run again" in capfd.readouterr().err
    assert run(["retry", *ZK, "--attach", array]) == 3
    assert "2 tasks: 2 ran, 2 failed" in capfd.readouterr().err


def test_a_task_runs_again_only_if_it_ended_as_asked(
    rememberer: RememberingBroker, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A task that ended well is not run by --failed; without it, any task is."""
    task = "0" * 31 + "7"
    record = TaskRecord(
        id=task, state=TaskState.SUCCEEDED, user="u", digest="d", spec=TaskSpec(command="make"), submitted=0.0
    )
    forgetful = rememberer.answer

    def answer(message: Message) -> Sequence[Message]:
        if isinstance(message, QueryTask):
            return (TaskPage(seq=message.seq, task=record),)
        return forgetful(message)

    monkeypatch.setattr(rememberer, "answer", answer)
    assert run(["retry", *ZK, "--failed", task]) == 0
    said = capfd.readouterr()
    assert ("nothing to run again" in said.err, said.out) == (True, "")
    assert run(["retry", *ZK, task]) == 0
    assert capfd.readouterr().out.strip() not in ("", task)


def test_a_reader_that_leaves_ends_the_array(
    rememberer: RememberingBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """As SIGPIPE would end commands that ran here."""
    saved = os.dup(1)
    read_end, write_end = os.pipe()
    os.close(read_end)
    os.dup2(write_end, 1)
    try:
        assert run(["submit", *ZK, "make", ":::", "a", "sleep"]) == 141
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(write_end)
    (array,) = rememberer.arrays
    assert f"nobody reads the output any more: cancelling array {array}" in capfd.readouterr().err
    assert rememberer.arrays[array].line().state is TaskState.CANCELLED
