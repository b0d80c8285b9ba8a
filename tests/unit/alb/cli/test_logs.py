"""``alb logs``, run in this process against a leader that answers from a script."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence

import pytest
from tests.unit.alb.fake_broker import FakeBroker, finish_with, record_with, succeed

from alb.api.client import Client
from alb.cli import logs
from alb.cli.attendance import Pump
from alb.cli.main import run
from alb.core import output
from alb.core.actions import DeliverOutput
from alb_core.messages import (
    Attach,
    Error,
    Message,
    OutputPage,
    QueryOutput,
    QueryTask,
    StreamName,
    TaskMoved,
    TaskPage,
)
from alb_core.tasks import Result, Stream, TaskState

ZK = ("--zk", "zk:2181", "--user", "u")
TASK = "a" * 32


def test_logs_show_one_stream_from_an_offset(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """Only the stream asked for, only from the byte asked for, and how the task ended on stderr."""
    both = {"stdout": Stream.of(b"0123456789", 10), "stderr": Stream.of(b"trouble", 7)}
    broker.answer = finish_with(
        Result(state=TaskState.SUCCEEDED, exit_code=0, attempt=1, worker="w1", **both)
    )
    assert run(["logs", *ZK, TASK, "--stdout", "--offset", "4"]) == 0
    captured = capfd.readouterr()
    assert captured.out == "456789"
    assert "SUCCEEDED" in captured.err
    assert "trouble" not in captured.err


def test_logs_say_what_is_lost_and_show_the_end(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """``output lost from byte N``, then what the table kept."""
    size = 10_000
    over = Result(
        state=TaskState.SUCCEEDED, exit_code=0, attempt=1, worker="w1", stdout=Stream.of(b"z" * 4096, size)
    )
    broker.answer = finish_with(over)
    broker.lost = "the worker is gone"
    assert run(["logs", *ZK, TASK]) == 0
    captured = capfd.readouterr()
    assert "output lost from byte 0 (the worker is gone)" in captured.err
    assert captured.out == "z" * 4096


STORED = {
    (1, StreamName.STDOUT): b"one\ntwo\nthree\nfour\n",
    (1, StreamName.STDERR): b"oops\n",
    (2, StreamName.STDOUT): b"again\n",
    (2, StreamName.STDERR): b"",
}


def with_store(result: Result, piece: int = 7) -> Callable[[Message], Sequence[Message]]:
    """Answer as a leader whose results store has two attempts of a task, read in small pieces."""

    def answer(message: Message) -> Sequence[Message]:
        if isinstance(message, QueryTask):
            return (TaskPage(seq=message.seq, task=record_with(message.id, result, attempts=2)),)
        if not isinstance(message, QueryOutput):
            return ()
        n = message.attempt or 2
        data = STORED[n, message.stream]
        begin = message.offset if message.offset >= 0 else max(0, len(data) + message.offset)
        found = data[begin : begin + piece]
        end = begin + len(found) >= len(data)
        return (OutputPage(seq=message.seq, attempt=n, offset=begin, data=found, end=end),)

    return answer


@pytest.mark.parametrize(
    ("arguments", "out", "err"),
    [
        (["--attempt", "1"], b"one\ntwo\nthree\nfour\n", b"oops\n"),
        ([], b"again\n", b""),
        (["--attempt", "1", "-n", "2", "--stdout"], b"three\nfour\n", b""),
        (["--attempt", "1", "-n", "0"], b"", b""),
        (["--attempt", "1", "-n", "99", "--stdout"], b"one\ntwo\nthree\nfour\n", b""),
        (["--attempt", "1", "--since", "8", "--stdout"], b"three\nfour\n", b""),
        (["--attempt", "1", "--stderr"], b"", b"oops\n"),
    ],
)
def test_logs_of_what_is_over_come_from_the_store(
    broker: FakeBroker,
    capfdbinary: pytest.CaptureFixture[bytes],
    arguments: list[str],
    out: bytes,
    err: bytes,
) -> None:
    """Of the last attempt or another, from a byte or a line on."""
    broker.answer = with_store(succeed())
    assert run(["logs", *ZK, TASK, *arguments]) == 0
    captured = capfdbinary.readouterr()
    assert captured.out == out
    assert captured.err.startswith(err + b"alb: task")


def test_logs_know_how_many_attempts_there_were(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """A later one is an error that says so; so is an earlier one without a store."""
    broker.answer = with_store(succeed())
    assert run(["logs", *ZK, TASK, "--attempt", "3"]) == 125
    assert "there is no attempt 3: the task had 2 so far" in capfd.readouterr().err
    assert run(["logs", *ZK, TASK, "-n", "1", "--since", "1"]) == 125


@pytest.mark.parametrize(
    "options", [["--stdout"], ["--stderr"], ["-n", "1"], ["--attempt", "1"], ["--stdout", "--since", "1"]]
)
def test_logs_json_is_of_the_whole_result(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str], options: list[str]
) -> None:
    """What chooses a part of the output is refused in place of ignored."""
    assert run(["logs", *ZK, TASK, "--json", *options]) == 125
    assert "--json shows the whole result" in capfd.readouterr().err
    assert broker.received == []


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("logs", ["--stdout", "--since", str(2**63)]),
        ("logs", ["-n", str(2**63)]),
        ("logs", ["--attempt", str(2**63)]),
        ("increments", ["--after", str(2**63)]),
        ("increments", ["-n", "1", "--after", "1"]),
    ],
)
def test_numbers_that_cannot_be_are_wrong_usage(broker: FakeBroker, verb: str, options: list[str]) -> None:
    """Nothing is asked."""
    assert run([verb, *ZK, TASK, *options]) == 125
    assert broker.received == []


class Running:
    """A task that runs, with a results store; for what ``alb logs`` copies.

    Args:
        broker: Whose clients are answered.
        stored: What the store has of standard output; None: there is no store.
        output: What the worker sends of it.
    """

    def __init__(self, broker: FakeBroker, stored: bytes | None, output: bytes) -> None:
        self.stored = stored
        self.moved: list[Message] = []
        #: Said to who attaches, after where the task is.
        broker.output = output
        broker.answer = self.answer

    def answer(self, message: Message) -> Sequence[Message]:
        """Answer as a leader."""
        if isinstance(message, QueryTask):
            return (TaskPage(seq=message.seq, task=record_with(message.id, None)),)
        if isinstance(message, Attach):
            return (TaskMoved(id=message.id, state=TaskState.RUNNING, attempt=1, worker="w1"), *self.moved)
        if isinstance(message, QueryOutput) and self.stored is None:
            return (Error(code="invalid", why="there is no store", seq=message.seq),)
        if isinstance(message, QueryOutput):
            whole = self.stored if message.stream is StreamName.STDOUT and self.stored else b""
            begin = message.offset if message.offset >= 0 else max(0, len(whole) + message.offset)
            page = OutputPage(seq=message.seq, attempt=1, offset=begin, data=whole[begin:], end=True)
            return (page,)
        return ()


def test_logs_of_a_running_task_show_what_is_stored_at_least(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is quiet at first has not sent all: it is waited for, within a bound that is said."""
    monkeypatch.setattr(logs, "QUIET_S", 0.1)
    monkeypatch.setattr(logs, "STORED_QUIET_S", 5.0)
    Running(broker, b"0123456789", b"")

    def send_later() -> None:
        deadline = time.monotonic() + 60
        while not any(isinstance(message, Attach) for message in broker.received):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.5)
        broker.output = b"0123456789"

    late = threading.Thread(target=send_later)
    late.start()
    assert run(["logs", *ZK, TASK, "--stdout"]) == 0
    late.join()
    told = capfd.readouterr()
    assert told.out == "0123456789"
    assert "-f goes on until its end" in told.err
    assert "did not come" not in told.err


@pytest.mark.parametrize(
    ("stored", "words"), [(b"0123456789", "6 bytes that are stored did not come"), (b"0123", ""), (None, "")]
)
def test_logs_of_a_running_task_end_when_it_is_quiet(
    broker: FakeBroker,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    stored: bytes | None,
    words: str,
) -> None:
    """What is stored and did not come is said; without a store quiet alone tells."""
    monkeypatch.setattr(output, "ASK_AGAIN_S", 0.05)
    monkeypatch.setattr(logs, "QUIET_S", 1.0)
    monkeypatch.setattr(logs, "STORED_QUIET_S", 1.5)
    Running(broker, stored, b"0123")
    assert run(["logs", *ZK, TASK, "--stdout"]) == 0
    told = capfd.readouterr()
    assert told.out == "0123"
    assert words in told.err
    assert ("did not come" in told.err) == bool(words)
    assert f"task {TASK} is RUNNING; -f goes on until its end" in told.err


def test_logs_json_of_a_running_task_is_what_there_is(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program is not kept waiting for the end, which -f is for; that it is not the end is said."""
    monkeypatch.setattr(logs, "QUIET_S", 1.0)
    Running(broker, b"0123", b"0123")
    assert run(["logs", *ZK, TASK, "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["id"], told["state"], told["stdout"], told["stdout_bytes"]) == (TASK, "RUNNING", "0123", 4)
    assert "exit_status" not in told


def test_following_an_attempt_ends_with_it(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """When another one begins; the rest of it comes from the store, and nothing of the next one."""
    task = Running(broker, b"0123456789", b"")
    task.moved = [TaskMoved(id=TASK, state=TaskState.RUNNING, attempt=2, worker="w2")]
    assert run(["logs", *ZK, TASK, "-f", "--attempt", "1", "--stdout", "--since", "2"]) == 0
    told = capfd.readouterr()
    assert told.out == "23456789"
    assert f"attempt 1 of task {TASK} is over: another one was begun" in told.err
    assert "starts again" not in told.err


def test_a_pump_copies_one_attempt_if_it_is_told_to(name_leader: Callable[[FakeBroker | None], None]) -> None:
    """What came of it before the next one began is written and counted; nothing of the next one is."""
    name_leader(None)
    reader, writer = os.pipe()
    with Client("zk:2181") as client:
        stream = client.attach_stream(TASK)
        for attempt, data in ((1, b"first "), (1, b"one"), (2, b"second")):
            stream.receive(DeliverOutput(TASK, attempt, StreamName.STDOUT, 0, data))
        pump = Pump(stream, {StreamName.STDOUT: writer}, attempt=1)
        pump.start()
        client.detach(stream)  # ends the iteration behind what has arrived
        assert pump.join(60.0)
    os.close(writer)
    with open(reader, "rb") as copied:  # noqa: PTH123 (a descriptor)
        assert copied.read() == b"first one"
    assert (pump.copied[StreamName.STDOUT], stream.attempt) == (9, 2)
