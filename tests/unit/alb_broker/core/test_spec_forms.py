"""What is worked out once for all tasks that were submitted alike is what each would have worked out."""

from __future__ import annotations

import msgspec
import pytest
from tests.broker_parts import TRUE, make_task

from alb_broker.core.spec_forms import forms_of, read_submitted
from alb_broker.core.task import Task
from alb_core import codec, znodes
from alb_core.errors import RemoteProtocolError
from alb_core.resources import Request
from alb_core.spec import TaskSpec, digest

SPEC = TaskSpec(command=("sim", "é"), request=Request(cpus=2.0), env={"B": "1", "A": "2"}, payload=b"\xff")


def test_equal_bytes_are_read_once() -> None:
    """Tasks of the same bytes share the value, its digest and its forms."""
    wire = codec.encode_spec(SPEC)
    read = read_submitted(wire)
    assert read_submitted(bytes(bytearray(wire))) is read
    assert (read.spec, read.why, read.digest) == (SPEC, codec.read_spec(wire)[1], digest(wire))
    assert bytes(read.forms.wire) == wire


def test_what_is_wrong_is_told_as_ever() -> None:
    """A bad specification has its sentence, and what is none raises each time."""
    empty = codec.encode_spec(TaskSpec(command=()))
    assert "is empty" in (read_submitted(empty).why or "")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            read_submitted(b"\xc1")


@pytest.mark.parametrize("spec", [TRUE, SPEC])
def test_a_task_is_written_as_its_record_is(spec: TaskSpec) -> None:
    """With the form put in for the value, a znode holds the same bytes."""
    task = make_task(1, spec=spec)
    shared = Task(task.record(), 1, forms_of(spec))
    assert task.data() == shared.data() == znodes.encode(task.record())
    assert task.spec_wire() == shared.spec_wire() == msgspec.Raw(codec.encode_spec(spec))
