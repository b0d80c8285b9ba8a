"""The result that an outcome makes."""

from __future__ import annotations

from tests.broker_parts import make_attempt, outcome

from alb_broker.core.outcomes import result_of
from alb_core.files import FileRef
from alb_core.tasks import Cause, Outcome, Result, Stream, TaskState


def test_a_result_says_when_and_where() -> None:
    """The attempt, its worker and its times; what never ran has no beginning."""
    ran = result_of(make_attempt(2, "w7", placed=10.0), outcome(0, wall_s=3.0, waited_s=1.0), 15.0)
    assert (ran.state, ran.attempt, ran.worker) == (TaskState.SUCCEEDED, 2, "w7")
    assert (ran.started, ran.wall_s, ran.finished) == (11.0, 3.0, 15.0)
    assert result_of(make_attempt(), outcome(None, Cause.NOT_FOUND), 15.0).started == 0


def test_nothing_of_an_outcome_is_lost() -> None:
    """Whatever a worker tells of an attempt is in the result under the same name."""
    told = Outcome(
        cause=Cause.OVER_LIMIT,
        exit_code=3,
        signal=9,
        why="why",
        wall_s=4.0,
        cpu_s=5.0,
        memory_bytes=6,
        stdout=Stream.of(b"out", 3),
        stderr=Stream.of(b"err", 3),
        output_open=True,
        returned=(FileRef(name="f", sha256="0" * 64, size_bytes=7),),
        unreturned="unreturned",
        limit="limit",
        mechanism="mechanism",
        waited_s=8.0,
        read_bytes=9,
        written_bytes=10,
        value=b"value",
    )
    result = result_of(make_attempt(2, "w7", placed=10.0), told, 15.0)
    names = [name for name in Outcome.__struct_fields__ if name not in {"cause", "waited_s"}]
    assert {name: getattr(result, name) for name in names} == {name: getattr(told, name) for name in names}
    own = (result.state, result.attempt, result.worker, result.finished, result.started)
    assert own == (TaskState.LIMIT, 2, "w7", 15.0, 18.0)
    assert len(names) + len(own) == len(Result.__struct_fields__)
