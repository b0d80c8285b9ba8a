"""`alb explain`: what a person reads at night, and what a program gets."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import pytest
from tests.broker_parts import make_attempt, record
from tests.unit.alb.fake_broker import FakeBroker

from alb.cli.main import run
from alb_core import codec
from alb_core.arrays import ArrayLine, ArraySpec, Stretch, Stride
from alb_core.explanations import Considered, Explanation, Placement, Reason
from alb_core.messages import ArrayPage, Error, Message, QueryArray, QueryTask, TaskPage
from alb_core.resources import Request
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskState
from alb_core.vectors import Vector

ZK = ("--zk", "zk:2181", "--user", "u")
ID = record(1).id
TURN = "its priority is 0; ann has 10.0% of the cluster, with what waits ahead or is demoted; it is the next"
WAITING = TaskPage(
    seq=0,
    task=record(1),
    explanation=Explanation(
        user="ann",
        level=1,
        waits_s=754.0,
        reasons=(
            Reason("turn", TURN),
            Reason("room", "of 1 workers: 1 busy (w1: 0 of 4 cpus and 100 of 900 MiB free)"),
        ),
    ),
)
PLACED = TaskPage(
    seq=0,
    task=record(1, make_attempt(2)),
    explanation=Explanation(
        user="ann",
        placements=(
            Placement(
                n=1, worker="w2", placed=1.7e9, ahead=True, candidates=1, ended_as="lost", forgotten="gone"
            ),
            Placement(
                n=2,
                worker="w1",
                placed=1.7e9,
                policy="least-loaded",
                candidates=2,
                part="backfilled",
                considered=(
                    Considered(worker="w1", cpus=2.0, memory_bytes=1 << 30, cpu_load=0.25),
                    Considered(worker="w2", cpus=1.0, net_bps=10**9),
                ),
                waited_s=12.0,
                share=0.125,
            ),
        ),
    ),
)

TURN = "its priority is 0; ann has 10.0% of the cluster, with what waits ahead or is demoted; it is the next"


def answers(broker: FakeBroker, page: TaskPage | None) -> None:
    """Let the leader answer with this page; None: it knows no such task."""

    def answer(message: Message) -> Sequence[Message]:
        match message:
            case QueryTask(seq=seq) if page is not None:
                return (TaskPage(seq=seq, task=page.task, explanation=page.explanation),)
            case QueryTask(seq=seq) | QueryArray(seq=seq):
                return (Error(seq=seq, code="gone", why="the table does not hold it"),)
        return ()

    broker.answer = answer


def test_why_a_task_waits_stands_in_order(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """What must change first, first."""
    answers(broker, WAITING)
    assert run(["explain", ID, *ZK]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines == [
        f"task      {ID}, QUEUED, of ann",
        "waits     for a worker, since 12m34s",
        f"because   {TURN}",
        "and       of 1 workers: 1 busy (w1: 0 of 4 cpus and 100 of 900 MiB free)",
    ]


def test_who_gave_way_is_told(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """To whom it did, or that this is forgotten; and who did for it, a few by their ids."""
    placements = (
        Placement(n=1, worker="w1", demoted=5.0, lent_to="abc"),
        Placement(n=2, worker="w1", demoted=6.0, room_by=tuple(f"t{number}" for number in range(7))),
        Placement(n=3, worker="w1", ended_as="preempted", ended_for="def", memory_by=("t8", "t9")),
    )
    answers(
        broker, msgspec.structs.replace(WAITING, explanation=Explanation(user="ann", placements=placements))
    )
    assert run(["explain", ID, *ZK]) == 0
    text = capfd.readouterr().out
    assert "its processors went to task abc" in text
    assert "its processors went to a task that is not known any more" in text
    assert "where t0, t1, t2, t3, t4 and 2 more gave way to it" in text
    assert "where its memory came from t8, t9" in text
    assert "ended for task def" in text


def test_why_an_attempt_went_there(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """Policy, candidates as they were, and the part of reservations; or that nobody knows any more."""
    answers(broker, PLACED)
    assert run(["explain", ID, *ZK]) == 0
    text = capfd.readouterr().out
    assert "attempt   1 went to w2 at" in text
    assert "(lost)" in text
    assert "ahead of its room" in text
    assert "not known any more: gone" in text
    assert "chosen by policy least-loaded of 2 with room" in text
    assert "set aside for another task that this one does not delay" in text
    assert "after 12 s in the queue; its user's share was 12.5%" in text
    assert "-> w1: 2 cpus, 1.0 GiB free; load cpu 25% mem 0% net 0%" in text
    assert "   w2: 1 cpus, 0 B, 1000 Mbit/s free" in text
    assert text.rstrip().endswith("runs      on w1")


@pytest.mark.parametrize(
    ("vector", "words"), [(Vector(time=0.7, resources=0.3), "time=0.7,resources=0.3"), (None, None)]
)
@pytest.mark.parametrize("verb", ["explain", "status"])
def test_what_counts_for_a_task_is_shown(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str], verb: str, vector: Vector | None, words: str | None
) -> None:
    """Its own vector, as it is written; where it has none the policy decides, and nothing is said."""
    spec = TaskSpec(command="x", request=Request(optimize=vector))
    answers(broker, TaskPage(seq=0, task=record(1, spec=spec), explanation=WAITING.explanation))
    assert run([verb, ID, *ZK]) == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("optimizes ")]
    assert [line.split()[1] for line in lines] == ([words] if words else [])


def test_programs_get_codes(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """The same as JSON."""
    answers(broker, WAITING)
    assert run(["explain", ID, "--json", *ZK]) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["id"], told["state"], [each["code"] for each in told["reasons"]]) == (
        ID,
        "QUEUED",
        ["turn", "room"],
    )


def test_what_nobody_knows_is_said(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """No such task, and a leader of before that explains nothing."""
    answers(broker, None)
    assert run(["explain", ID, *ZK]) == 125
    assert "does not hold it; if it was an array" in capfd.readouterr().err
    answers(broker, TaskPage(seq=0, task=record(1)))
    assert run(["explain", ID, *ZK]) == 125
    assert "of an earlier version" in capfd.readouterr().err


@pytest.mark.parametrize("verb", ["explain", "status"])
@pytest.mark.parametrize(
    ("index", "told"),
    [
        (3, "it ended CANCELLED, and no more than that is kept"),
        (9, "it is not made yet: 5 of 10 are"),
        (11, "the array has no index 11"),
        (2, "the table does not"),
    ],
)
def test_what_an_array_knows_of_a_task_is_said(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str], verb: str, index: int, told: str
) -> None:
    """Where nobody holds the task itself: it has ended, will be made, or never can be."""
    spec = ArraySpec(task=TaskSpec(command="x"), strides=(Stride(1, 10),))
    page = ArrayPage(
        seq=0,
        array=ArrayLine(id=ID, user="u", state=TaskState.RUNNING, total=10, cursor=5),
        spec=msgspec.Raw(codec.encode_array(spec)),
        stretches=(Stretch(2, 1, TaskState.CANCELLED, 125),),
        until=10,
    )

    def answer(message: Message) -> Sequence[Message]:
        match message:
            case QueryArray(seq=seq):
                return (msgspec.structs.replace(page, seq=seq),)
            case QueryTask(seq=seq):
                return (Error(seq=seq, code="gone", why="the table does not hold it"),)
        return ()

    broker.answer = answer
    assert run([verb, f"{ID}.{index}", *ZK]) == 125
    assert told in capfd.readouterr().err
