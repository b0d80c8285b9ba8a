"""``alb increment`` in a task; ``alb increments``, ``status`` and ``submit --increments`` outside of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from tests.store_rows import increment
from tests.unit.alb.fake_broker import FakeBroker, succeed

from alb.cli.main import run
from alb_core.increments import KEY_LENGTH_MAX, VALUE_BYTES_MAX, parse_line, shown
from alb_core.messages import (
    Accepted,
    Error,
    Finished,
    IncrementsPage,
    Message,
    QueryIncrements,
    QueryTask,
    Submit,
    TaskPage,
)
from alb_core.rows import Increment
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskRecord, TaskState

ZK = ("--zk", "zk:2181", "--user", "u")
TASK = "a" * 32
ROWS = [
    increment(TASK, 1, "epoch", "1"),
    increment(TASK, 2, "", '"a b"'),
    increment(TASK, 3, "epoch", '{"loss":0.5}'),
]


@pytest.fixture
def broker(name_leader: Callable[[FakeBroker | None], None]) -> Iterator[FakeBroker]:
    """A leader whose store has increments of the task, which runs."""
    with FakeBroker() as leader:
        name_leader(leader)
        leader.answer = with_increments(ROWS)
        yield leader


def with_increments(
    rows: Sequence[Increment], *, states: Sequence[TaskState] = (TaskState.RUNNING,), most: int = 2
) -> Callable[[Message], Sequence[Message]]:
    """Answer as a leader that knows the task; each time somebody asks for it, it is in the next state."""
    left = list(states)

    def answer(message: Message) -> Sequence[Message]:
        if isinstance(message, QueryTask):
            state = left.pop(0) if len(left) > 1 else left[0]
            return (TaskPage(seq=message.seq, task=record(state)),)
        if isinstance(message, Submit):
            return (Accepted(id=message.id), Finished(id=message.id, result=succeed()))
        if isinstance(message, QueryIncrements):
            found = [row for row in rows if row.seq > message.after]
            found = found[::-1] if message.newest else found
            page = tuple(found[: min(message.limit, most)])
            return (IncrementsPage(seq=message.seq, increments=page, more=len(page) < len(found)),)
        return ()

    return answer


def record(state: TaskState) -> TaskRecord:
    """Return the task as the table has it."""
    return TaskRecord(
        id=TASK,
        state=state,
        user="u",
        digest="d",
        spec=TaskSpec(command="train"),
        submitted=0.0,
        incremental=True,
        result=None if not state.terminal else succeed(),
    )


# --- within a task ------------------------------------------------------------------------------------------


@pytest.fixture
def channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file to which a command reports."""
    path = tmp_path / "reported"
    monkeypatch.setenv("ALB_INCREMENTS", str(path))
    return path


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("3", "3"),
        ("-3", "-3"),
        ("a b", "a b"),
        ('"x"', "x"),
        ('{"a": [1, null]}', '{"a":[1,null]}'),
        ("", ""),
        ("two\nlines", "two\nlines"),
        ("[", "["),
        ("[" * 5_000, "[" * 5_000),
        ("9" * 40, "9" * 40),
        ("é", "é"),
        ("\udcff", "\ufffd"),
    ],
)
def test_what_is_reported_is_understood(channel: Path, value: str, words: str) -> None:
    """A value that is JSON is taken as such, any other as a text, each in one line of its own."""
    assert run(["increment", "key", value]) == 0
    assert run(["increment", 'a "k"\\', "1"]) == 0
    first, second, rest = channel.read_bytes().split(b"\n")
    line, other = parse_line(first), parse_line(second)
    assert line is not None
    assert other is not None
    assert (line.key, shown(line.value), other.key, rest) == ("key", words, 'a "k"\\', b"")


def test_json_prints_what_was_written(channel: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The line itself."""
    assert run(["increment", "--json", "key", "3"]) == 0
    assert capfd.readouterr().out == channel.read_text() == '{"key":"key","value":3}\n'


@pytest.mark.parametrize(("key", "value"), [("k" * (KEY_LENGTH_MAX + 1), "1"), ("k", "v" * VALUE_BYTES_MAX)])
def test_what_is_too_long_is_refused(
    channel: Path, capfd: pytest.CaptureFixture[str], key: str, value: str
) -> None:
    """The error names the bounds; nothing is written that would be cut."""
    assert run(["increment", key, value]) == 125
    assert f"{KEY_LENGTH_MAX} characters and {VALUE_BYTES_MAX} bytes" in capfd.readouterr().err
    assert not channel.exists()


def test_outside_of_a_task_it_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It says what is missing."""
    monkeypatch.delenv("ALB_INCREMENTS", raising=False)
    assert run(["increment", "k", "1"]) == 125
    assert "ALB_INCREMENTS is not set" in capfd.readouterr().err


def test_a_channel_that_is_gone_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The command must not think that it was heard."""
    monkeypatch.setenv("ALB_INCREMENTS", str(tmp_path / "gone" / "file"))
    assert run(["increment", "k", "1"]) not in (0, None)
    assert str(tmp_path / "gone" / "file") in capfd.readouterr().err


# --- outside ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        ([], [1, 2, 3]),
        (["--after", "1"], [2, 3]),
        (["-n", "1"], [3]),
        (["-n", "2"], [2, 3]),
        (["--after", "3"], []),
    ],
)
def test_increments_are_listed(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str], arguments: list[str], numbers: list[int]
) -> None:
    """In their order, over as many pages as there are, from behind a number on or the last ones."""
    assert run(["increments", *ZK, *arguments, TASK]) == 0
    told = capfd.readouterr()
    assert [int(line.split("\t")[0]) for line in told.out.splitlines()] == numbers
    assert broker.received


def test_a_line_shows_number_key_and_value(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """For people and ``cut`` with tabs; for programs as JSON, where the value is no text in a text."""
    assert broker
    assert run(["increments", *ZK, TASK]) == 0
    assert capfd.readouterr().out == '1\tepoch\t1\n2\t\ta b\n3\tepoch\t{"loss":0.5}\n'
    assert run(["increments", *ZK, "--json", TASK]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert lines[2] == {"seq": 3, "key": "epoch", "value": {"loss": 0.5}, "attempt": 1, "time": 1.5}
    assert lines[1]["value"] == "a b"


@pytest.mark.parametrize("options", [[], ["-n", "1"]])
def test_following_ends_with_the_task(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """After its end it is looked once more: what was stored last is shown; nothing is shown twice."""
    monkeypatch.setattr("alb.api.stored.FOLLOW_S", 0.01)
    rows = list(ROWS[:2])
    inner = with_increments(rows, states=(TaskState.RUNNING, TaskState.SUCCEEDED))

    def answer(message: Message) -> Sequence[Message]:
        reply = inner(message)
        if isinstance(message, QueryTask) and reply[0].task.state.terminal:  # type: ignore[attr-defined]
            rows.append(ROWS[2])
        return reply

    broker.answer = answer
    assert run(["increments", *ZK, "-f", *options, TASK]) == 0
    numbers = [int(line.split("\t")[0]) for line in capfd.readouterr().out.splitlines()]
    assert numbers == ([2, 3] if options else [1, 2, 3])


def test_a_cluster_without_a_store_is_an_error(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """With the leader's reason; and so is what is no task id."""
    broker.answer = lambda message: (
        (Error(code="invalid", why="there is no store", seq=message.seq),)
        if isinstance(message, QueryIncrements)
        else ()
    )
    assert run(["increments", *ZK, TASK]) not in (0, None)
    assert "there is no store" in capfd.readouterr().err
    assert run(["increments", *ZK, "nonsense"]) == 125


def test_status_shows_what_was_reported_last(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """And how much; of a task that reports nothing there is no such line."""
    assert run(["status", *ZK, TASK]) == 0
    (line,) = [line for line in capfd.readouterr().out.splitlines() if line.startswith("reported")]
    assert "3 increments" in line
    assert line.endswith('epoch = {"loss":0.5}')
    broker.answer = with_increments([])
    assert run(["status", *ZK, TASK]) == 0
    assert "reported" not in capfd.readouterr().out


def test_status_shows_the_rest_where_the_store_does_not_answer(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """The table knows enough to be worth telling."""
    inner = broker.answer

    def answer(message: Message) -> Sequence[Message]:
        if isinstance(message, QueryIncrements):
            return (Error(code="invalid", why="it is away", seq=message.seq),)
        return inner(message)

    broker.answer = answer
    assert run(["status", *ZK, TASK]) == 0
    told = capfd.readouterr()
    assert ("RUNNING" in told.out, "what it reported cannot be read: it is away" in told.err) == (True, True)


def test_submit_tells_increments_while_it_waits(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """On standard error, to the last, once each: standard output is the command's."""
    assert broker
    assert run(["submit", *ZK, "--increments", "-q", "train"]) == 0
    told = capfd.readouterr()
    assert told.out == ""
    words = [line.split(" ", 2)[2] for line in told.err.splitlines()]
    assert words == ["epoch = 1", "a b", 'epoch = {"loss":0.5}']


def test_submit_says_which_increments_it_could_not_tell(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """The task's own result is not spoilt by it."""
    inner = broker.answer

    def answer(message: Message) -> Sequence[Message]:
        if isinstance(message, QueryIncrements):
            return (Error(code="invalid", why="it is away", seq=message.seq),)
        return inner(message)

    broker.answer = answer
    assert run(["submit", *ZK, "--increments", "-q", "train"]) == 0
    assert "increments after 0 are not shown: it is away" in capfd.readouterr().err


def test_the_rows_are_those_of_the_store() -> None:
    """What this file plays is what a leader sends."""
    page = IncrementsPage(seq=1, increments=tuple(ROWS))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(page), type=IncrementsPage) == page
