"""What clients may ask of arrays, and what their followers are told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.array_parts import ECHO, ID, array_spec, children, finish, kept, leader, nodes, submit_array
from tests.broker_parts import C1, C2, Desks, submit, task_id, to_client

from alb_core import limits, znodes
from alb_core.arrays import Counts, Stride
from alb_core.messages import (
    Accepted,
    Ack,
    ArrayInputs,
    ArrayMoved,
    AttachArray,
    Busy,
    Cancel,
    CancelNoted,
    Finished,
    Goodbye,
    InputsKept,
    Message,
    Rejected,
)
from alb_core.tasks import TaskState

THREE = array_spec(Stride(1, 3))
LINES = array_spec(task=ECHO)


def hear(each: Desks, *messages: Message, peer: bytes = C1) -> list[Message]:
    """Let a client say something; returns what it is told once that is written."""
    return to_client(peer, each.client(*messages, peer=peer) + each.commit())


def lines_told(messages: list[Message]) -> list[Any]:
    """Return what was told of arrays."""
    return [message.array for message in messages if isinstance(message, ArrayMoved)]


def test_an_array_is_accepted_once_it_is_written() -> None:
    """Then its follower hears how it is."""
    each = leader()
    assert not to_client(C1, each.client(submit_array(THREE)))
    told = to_client(C1, each.commit())
    assert Accepted(id=ID) in told
    assert [line.total for line in lines_told(told)] == [3]
    assert (kept(each).user, kept(each).total, kept(each).spec) == ("ann", 3, THREE)


def test_the_same_submission_again_is_the_same_array() -> None:
    """Another specification, or another user, is a conflict."""
    each = leader(submit_array(THREE))
    assert any(isinstance(message, Accepted) for message in hear(each, submit_array(THREE)))
    (conflict,) = hear(each, submit_array(array_spec(Stride(1, 4))))
    (foreign,) = hear(each, submit_array(THREE), peer=C2)
    assert [conflict.code, foreign.code] == ["conflict"] * 2  # type: ignore[attr-defined]
    assert len(each.state.arrays) == 1


@pytest.mark.parametrize(
    ("message", "word"),
    [
        (submit_array(array_spec(Stride(3, 1))), "empty"),
        (submit_array(THREE, "a"), "1 inputs for 3 indexes"),
        (submit_array(THREE, "a", "b", "c", "d"), "4 inputs for 3 indexes"),
        (submit_array(LINES, "a\0"), "NUL"),
        (submit_array(LINES, "x" * 20_000), "longer"),
        (msgspec.structs.replace(submit_array(THREE), id=f"{ID}.4"), "32 lower-case"),
        (msgspec.structs.replace(submit_array(THREE), spec=msgspec.Raw(b"\xc0")), "not the specification"),
    ],
)
def test_what_cannot_be_an_array_is_refused(message: Message, word: str) -> None:
    """With a sentence, and nothing is written."""
    each = leader()
    (refused,) = hear(each, message)
    assert isinstance(refused, Rejected)
    assert refused.code == "invalid"
    assert word in refused.why
    assert not each.written


def test_ids_of_tasks_and_arrays_do_not_mix() -> None:
    """Nor can a task of an array be submitted by itself."""
    each = leader(submit_array(THREE), submit(7))
    dotted = msgspec.structs.replace(submit(1), id=f"{task_id(9)}.1")
    told = hear(each, submit(1), dotted, submit_array(THREE, number=7))
    whys = [message.why for message in told if isinstance(message, Rejected)]
    assert ["belongs to an array" in whys[0], "task of an array" in whys[1]] == [True, True]
    assert "belongs to a task" in whys[2]


def test_a_full_table_takes_no_more_arrays_of_one_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may have more than the room that is left for the others."""
    monkeypatch.setattr(limits, "ARRAYS_MAX", 3)
    each = leader(submit_array(THREE), submit_array(THREE, number=2))
    (busy,) = hear(each, submit_array(THREE, number=3))
    assert isinstance(busy, Busy)
    told = hear(each, submit_array(THREE, number=3), peer=C2)
    assert any(isinstance(message, Accepted) for message in told)


def test_inputs_come_in_pieces_and_twice() -> None:
    """They are kept by their positions; the array ends when the last ones were there and have run."""
    each = leader(submit_array(LINES, "a", "b", whole=False), cpus=9.0)
    finish(each, 1, 2)
    assert not kept(each).finished
    more = ArrayInputs(id=ID, first=2, lines=("c",))
    assert InputsKept(id=ID, count=3) in hear(each, more)
    assert InputsKept(id=ID, count=3) in hear(each, more)
    hear(each, ArrayInputs(id=ID, first=2, lines=("c", "d"), whole=True))
    each.turn()
    assert [task.spec.command for task in each.state.table.live.values()] == [
        ("echo", "3", "c"),
        ("echo", "4", "d"),
    ]
    finish(each, 3, 4)
    assert kept(each).finished
    assert nodes(each)[znodes.inputs_path(ID, 0)] == b'["a","b","c","d"]'


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (ArrayInputs(id=ID, first=5, lines=("x",)), "invalid"),
        (ArrayInputs(id=ID, first=1, lines=("a\0b",)), "invalid"),
        (ArrayInputs(id=task_id(8), first=0, lines=()), "gone"),
    ],
)
def test_inputs_that_cannot_be_are_refused(message: Message, code: str) -> None:
    """Gaps, nonsense, and inputs of arrays that nobody knows."""
    each = leader(submit_array(LINES, "a", whole=False))
    (refused,) = hear(each, message)
    assert isinstance(refused, Rejected)
    assert refused.code == code


def test_no_inputs_are_taken_after_the_last() -> None:
    """But what is there already may be sent again."""
    each = leader(submit_array(LINES, "a"))
    assert hear(each, ArrayInputs(id=ID, first=0, lines=("a",), whole=True)) == [InputsKept(id=ID, count=1)]
    (refused,) = hear(each, ArrayInputs(id=ID, first=1, lines=("b",)))
    assert isinstance(refused, Rejected)


def test_inputs_wait_while_there_is_no_room_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told anything: they are sent again."""
    each = leader(submit_array(LINES, "a", whole=False))
    monkeypatch.setattr(limits, "ARRAYS_INPUTS_BYTES_MAX", 10)
    assert hear(each, ArrayInputs(id=ID, first=1, lines=("b" * 20,))) == []
    assert kept(each).total == 1


def test_an_array_of_nothing_has_succeeded() -> None:
    """A file may be empty."""
    each = leader(submit_array(LINES, whole=False))
    hear(each, ArrayInputs(id=ID, first=0, lines=(), whole=True))
    each.turn()
    assert kept(each).finished
    assert each.state.arrays.by_id[ID].state is TaskState.SUCCEEDED


def test_an_array_whose_client_left_is_closed_after_the_holding_time() -> None:
    """What was given runs; the reason is told."""
    each = leader(submit_array(LINES, "a", whole=False), cpus=1.0, holding_s=60.0)
    each.client(Goodbye())
    each.tick(30.0)
    each.tick(61.0)
    each.commit()
    assert kept(each).whole
    assert "did not come back" in kept(each).why
    finish(each, 1)
    assert each.state.arrays.by_id[ID].state is TaskState.FAILED


def test_followers_hear_of_changes_from_time_to_time() -> None:
    """Not of each, and of none where nothing changes."""
    each = leader(submit_array(array_spec(Stride(1, 9))), cpus=9.0)
    finish(each, 1, 2)
    assert not lines_told(to_client(C1, each.tick(0.2) + each.commit()))
    (line,) = lines_told(to_client(C1, each.tick(0.7) + each.commit()))
    assert (line.counts, line.running, line.state) == (Counts(succeeded=2), 7, TaskState.RUNNING)
    assert not lines_told(to_client(C1, each.tick(2.0) + each.commit()))


def test_the_end_is_told_until_it_is_acknowledged() -> None:
    """At once, and behind the last result."""
    each = leader(submit_array(THREE, results=True), cpus=3.0)
    told = to_client(C1, finish(each, 1, 2, 3) + each.commit())
    kinds = [type(message) for message in told if isinstance(message, (Finished, ArrayMoved))]
    assert kinds == [Finished] * 3 + [ArrayMoved]
    (line,) = lines_told(told)
    assert (line.state, line.counts) == (TaskState.SUCCEEDED, Counts(succeeded=3))
    assert lines_told(to_client(C1, each.tick(2.5) + each.commit())) == [line]
    hear(each, Ack(id=ID))
    assert not lines_told(to_client(C1, each.tick(9.0) + each.commit()))


def test_results_go_to_those_who_want_them_until_they_acknowledge() -> None:
    """A result that a follower owes an acknowledgement for stays in the table; the others may go."""
    each = leader(submit_array(THREE, results=True), cpus=3.0, done_kept_max=0)
    told = to_client(C2, each.client(AttachArray(id=ID), peer=C2) + finish(each, 1, 2))
    assert not any(isinstance(message, Finished) for message in told)
    each.client(Ack(id=f"{ID}.1"))
    each.tick(0.2)
    assert list(each.state.table.done) == [f"{ID}.2"]
    each.client(Goodbye())
    each.tick(0.4)
    assert not each.state.table.done


def test_an_unknown_array_is_gone() -> None:
    """It is not run again."""
    each = leader()
    (refused,) = hear(each, AttachArray(id=ID))
    assert isinstance(refused, Rejected)
    assert refused.code == "gone"


def test_a_cancelled_array_is_over_when_its_last_task_is() -> None:
    """What was never made counts at once; the cancellation is noted when it is written."""
    each = leader(submit_array(array_spec(Stride(1, 9), at_once=1)), cpus=1.0)
    told = hear(each, Cancel(id=ID))
    assert CancelNoted(id=ID) in told
    assert (kept(each).cancel, kept(each).counts, kept(each).finished) == (True, Counts(cancelled=8), 0.0)
    each.turn()
    finish(each, 1)
    assert kept(each).finished
    again = hear(each, Cancel(id=ID))
    assert CancelNoted(id=ID) in again
    assert lines_told(again)[-1].finished


def test_parts_of_an_array_are_cancelled() -> None:
    """What is made ends now, what is not made later ends when its turn comes."""
    each = leader(submit_array(array_spec(Stride(1, 6), at_once=2)), cpus=1.0)
    assert CancelNoted(id=ID) in hear(each, Cancel(id=ID, strides=(Stride(2, 3),)))
    assert kept(each).skips == (Stride(2, 3),)
    each.client(Cancel(id=ID, strides=(Stride(2, 3),)))
    assert not each.state.ledger.holds(f"/arrays/{ID}"), "what was cancelled already is written again"
    assert CancelNoted(id=ID) in to_client(C1, each.commit())
    each.turn()
    assert children(each) == [1, 4]


def test_a_task_that_is_not_made_can_be_cancelled() -> None:
    """One that runs as well; one that the array does not have is gone."""
    each = leader(submit_array(array_spec(Stride(1, 6), at_once=1)), cpus=1.0)
    told = hear(each, Cancel(id=f"{ID}.4"), Cancel(id=f"{ID}.5"), Cancel(id=f"{ID}.1"), Cancel(id=f"{ID}.9"))
    assert [type(message) for message in told if not isinstance(message, ArrayMoved)] == [
        CancelNoted,
        CancelNoted,
        CancelNoted,
        Rejected,
    ]
    assert kept(each).skips == (Stride(4, 5),)


def test_too_many_parts_cannot_be_cancelled_ahead() -> None:
    """Each position is held against all of them."""
    each = leader(submit_array(array_spec(Stride(1, 5000), at_once=1)))
    (refused,) = hear(each, Cancel(id=ID, strides=tuple(Stride(n, n + 8, 4) for n in range(1, 103))))
    assert isinstance(refused, Rejected)
    (refused,) = hear(each, Cancel(id=ID, strides=(Stride(5, 1),)))
    assert isinstance(refused, Rejected)
    assert kept(each).skips == ()


def test_more_failures_than_may_be_end_the_array() -> None:
    """What is left is cancelled, and the reason is told."""
    each = leader(submit_array(array_spec(Stride(1, 9), at_once=2, max_fails=1)), cpus=2.0)
    finish(each, 1, exit_code=1)
    assert not kept(each).cancel
    finish(each, 2, exit_code=1)
    each.turn()
    assert kept(each).cancel
    assert kept(each).why == "2 of its tasks failed, more than 1"
