"""Records that can be decoded, and cannot be true: somebody wrote them by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests import array_parts
from tests.broker_parts import make_attempt, record, task_id
from tests.broker_stage import start

from alb_broker.core.doubts import doubt, doubt_array
from alb_core import zk, znodes
from alb_core.arrays import Counts, Stride
from alb_core.resources import Count, Request
from alb_core.spec import After, Dependency, Start, TaskSpec
from alb_core.tasks import AttemptState, Result, TaskRecord, TaskState

OVER, LOST = AttemptState.OVER, AttemptState.LOST
WAITS = TaskSpec(command="x", start=Start(dependencies=(Dependency(After.ENDED, task_id(2)),)))


def asking(**fields: Any) -> TaskRecord:
    """Return a task that asks for this."""
    return record(1, spec=TaskSpec(command="x", request=Request(**fields)))


@pytest.mark.parametrize(
    "kept",
    [
        record(1),
        record(1, make_attempt()),
        record(1, make_attempt(state=LOST)),
        record(1, make_attempt(3, state=OVER), make_attempt(7)),
        record(1, state=TaskState.HELD),
        record(1, spec=WAITS, state=TaskState.HELD, met=(0,)),
        asking(cpus=0.5, counts=(Count("gpus", 1),)),
    ],
)
def test_what_can_be_is_not_doubted(kept: TaskRecord) -> None:
    """Whatever a leader writes, the next one takes."""
    assert doubt(kept) == ""


@pytest.mark.parametrize(
    ("kept", "why"),
    [
        (record(1, make_attempt(), state=TaskState.HELD), "HELD without"),
        (record(1, state=TaskState.RUNNING), "RUNNING without"),
        (record(1, make_attempt(state=OVER), state=TaskState.RUNNING), "RUNNING without"),
        (record(1, make_attempt(), state=TaskState.QUEUED), "QUEUED without"),
        (record(1, state=TaskState.SUCCEEDED), "SUCCEEDED without"),
        (record(1, result=Result(state=TaskState.FAILED)), "QUEUED without"),
        (record(1, make_attempt(0)), "numbers of its attempts"),
        (record(1, make_attempt(2, state=OVER), make_attempt(2)), "numbers of its attempts"),
        (record(1, spec=WAITS, state=TaskState.HELD, met=(0, 1)), "dependencies"),
        (record(1, met=(-1,)), "dependencies"),
        (record(1, memory_bytes=-1), "less than nothing"),
        (asking(cpus=-2.0), "less than nothing"),
        (asking(memory_bytes=-1), "less than nothing"),
        (asking(net_bps=-1), "less than nothing"),
        (asking(counts=(Count("gpus", -1),)), "less than nothing"),
    ],
)
def test_a_live_task_must_make_sense(kept: TaskRecord, why: str) -> None:
    """Else one leader after the other breaks over it, or a worker has more room with it than without."""
    assert why in doubt(kept)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"total": 4}, "of 4 tasks 0 were made, and it can have 3"),
        ({"cursor": -1}, "were made"),
        ({"cursor": 4}, "were made"),
        ({"counts": Counts(succeeded=2, failed=2)}, "4 of 3 tasks ended"),
        ({"counts": Counts(failed=-1)}, "ended"),
        ({"met": (0,)}, "dependencies"),
        ({"skips": (Stride(1, 2, 0),)}, "range 1-2:0"),
        ({"skips": (Stride(2, 1),)}, "range 2-1"),
    ],
)
def test_an_array_must_make_sense(fields: dict[str, Any], why: str) -> None:
    """As a task; what is left of it is counted by these numbers."""
    spec = array_parts.array_spec(Stride(1, 3))
    assert doubt_array(array_parts.record(spec, total=3)) == ""
    assert why in doubt_array(array_parts.record(spec, **{"total": 3, **fields}))


def test_ranges_of_an_array_must_be_some() -> None:
    """A step of nothing never ends."""
    good = array_parts.record(array_parts.array_spec(Stride(1, 5)))
    for stride in (Stride(1, 5, 0), Stride(1, 5, -1), Stride(5, 1), Stride(1, 10**12)):
        spec = array_parts.array_spec(stride)
        assert "range" in doubt_array(msgspec.structs.replace(good, spec=spec))


@pytest.mark.parametrize(
    "kept", [record(1, spec=WAITS, state=TaskState.HELD, met=(5,)), asking(cpus=-2.0)], ids=["met", "cpus"]
)
def test_no_leader_breaks_over_what_people_wrote(kept: TaskRecord) -> None:
    """It is set aside and listed, and everybody else's task is placed."""
    stage = start()
    stage.operate(zk.Create(znodes.task_path(kept.id), znodes.encode(kept)))
    stage.operate(zk.Create(znodes.task_path(task_id(3)), znodes.encode(record(3))))
    stage.leader.kill()
    stage.add_broker("b2")
    stage.advance(10.0)
    reign = stage.leader.core.reign
    assert reign is not None
    assert list(reign.state.table.set_aside) == [znodes.task_path(kept.id)]
    assert [attempt.task for attempt in stage.workers["w1"].running] == [task_id(3)]
