"""Reading many records: each is what `znodes.decode_task` makes of it, and equal specifications are one."""

from __future__ import annotations

import pytest
from tests.broker_parts import make_attempt, record, task_id

from alb_broker.core import task_reader
from alb_broker.core.task_reader import TaskReader
from alb_core import znodes
from alb_core.spec import Retry, TaskSpec
from alb_core.tasks import TaskRecord


def read(reader: TaskReader, written: TaskRecord) -> TaskRecord:
    """Read what the table holds of a task."""
    return reader.read(znodes.task_path(written.id), znodes.encode(written))


def test_a_record_is_read_as_it_was_written() -> None:
    """Nothing of it is lost or changed on the way, and it is written again in the same form."""
    spec = TaskSpec(command=("a", "b"), env={"K": "é"}, retry=Retry(times=2), payload=b"\0\xff")
    written = record(7, make_attempt(), spec=spec)
    found = read(TaskReader(), written)
    assert (found.id, found.spec, found.attempts) == (written.id, spec, written.attempts)
    assert znodes.encode(found) == znodes.encode(written)


def test_equal_specifications_become_one_object() -> None:
    """It is decoded once and kept once; another one is another."""
    reader = TaskReader()
    specs = [read(reader, record(n, spec=TaskSpec(command=c))).spec for n, c in enumerate(("x", "x", "y"))]
    assert specs[0] is specs[1]
    assert specs[2] == TaskSpec(command="y")


def test_too_many_different_ones_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then each record is read by itself, as right as before."""
    monkeypatch.setattr(task_reader, "SPECS_MAX", 2)
    reader = TaskReader()
    for number in (1, 2, 3, 3):
        spec = TaskSpec(command=str(number))
        assert read(reader, record(number, spec=spec)).spec == spec
    assert len(reader._specs) == 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        znodes.encode(record(1)).replace(b'"command":', b'"comma":'),
        znodes.encode(record(1)).replace(b'"command":', b'"env":7,"command":'),
        znodes.encode(record(1)).replace(b'"spec":{', b'"spec":null,"x":{'),
        znodes.encode(record(2)),
        b'{"spec":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    ],
    ids=["empty", "array", "binary", "no command", "wrong type", "no spec", "of another", "deep"],
)
def test_what_is_no_record_of_this_task_is_refused_in_the_same_words(data: bytes) -> None:
    """Whoever looks at what was set aside reads what is wrong, and where."""
    path = znodes.task_path(task_id(1))
    with pytest.raises(znodes.UnreadableNode) as expected:
        znodes.decode_task(path, data)
    reader = TaskReader()
    read(reader, record(1))
    with pytest.raises(znodes.UnreadableNode) as told:
        reader.read(path, data)
    assert str(told.value) == str(expected.value)
