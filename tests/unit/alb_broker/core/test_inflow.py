"""What attempts hand over to the store while they run: what is taken and refused, what workers are told."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from tests.broker_parts import (
    CLAIMED_S,
    W1,
    W2,
    Desks,
    attempt,
    ended,
    make_attempt,
    notes,
    of_type,
    task_id,
    to_worker,
)

from alb_broker.core import inflow as module
from alb_broker.core.actions import Action, IncrementsMarked, StoreRows
from alb_broker.store import events
from alb_core import limits, rows, znodes
from alb_core.files import FileRef
from alb_core.increments import KEY_LENGTH_MAX, LINES_MAX, VALUE_BYTES_MAX, Line, checkpoint_line
from alb_core.messages import AttemptEnded, AttemptId, Chunk, Goodbye, Increments, Stored, StreamName
from alb_core.tasks import AttemptState, Cause, TaskRecord, TaskState

URL = "sqlite:////somewhere"
OUT, ERR = StreamName.STDOUT, StreamName.STDERR
A1 = attempt(1)
ONE, TWO = Line("epoch", "1"), Line("", '"two"')


def desks(*, incremental: bool = True) -> Desks:
    """Return a leader with a store and a worker on which task 1 runs, marked as incremental or not."""
    each = Desks(store=URL)
    each.greet("ann")
    each.join("w1")
    each.run(1)
    each.task(1).incremental = incremental
    each.state.take_out()
    return each


def chunk(data: bytes = b"", offset: int = 0, *, of: AttemptId = A1, stored: int = 0) -> Chunk:
    """Return a piece of standard output."""
    return Chunk(task=of.task, attempt=of.n, stream=OUT, offset=offset, data=data, stored=stored)


def hand(each: Desks, *chunks: Chunk) -> list[StoreRows]:
    """Let a worker hand over output; return what goes to the store."""
    for piece in chunks:
        each.inflow.on_chunk(piece)
    return of_type(StoreRows, each.state.take_out())


def say(each: Desks, first: int, *lines: Line, of: AttemptId = A1, peer: bytes = W1) -> list[Action]:
    """Let a worker hand over increments; return what leaves."""
    return each.worker(Increments(attempt=of, first=first, lines=lines), peer=peer)


def pieces(handed: Iterable[StoreRows]) -> list[tuple[int, bytes]]:
    """Return offset and data of the pieces of output."""
    found = [row for action in handed for row in action.rows]
    return [(row.offset, row.data) for row in found if isinstance(row, rows.Output)]


def numbers(actions: list[Action]) -> list[list[int]]:
    """Return the numbers of the increments, by what is handed over together."""
    handed = of_type(StoreRows, actions)
    return [[row.seq for row in action.rows if isinstance(row, rows.Increment)] for action in handed]


def store(each: Desks, *handed: Action) -> list[Stored]:
    """Let the store have written this; return what the worker hears at the end of the turn."""
    tokens = tuple(action.token for action in of_type(StoreRows, list(handed)))
    each.state.store.on_event(events.StoreWritten(at=0.0, epoch=1, tokens=tokens))
    return heard(each)


def heard(each: Desks, peer: bytes = W1) -> list[Stored]:
    """End the turn; return what the worker hears of the store."""
    each.inflow.end_turn()
    told = to_worker(peer, each.state.take_out())
    assert all(isinstance(message, Stored) for message in told)
    return [message for message in told if isinstance(message, Stored)]


def dropped(actions: list[Action]) -> list[str]:
    """Return the triggers of what was dropped."""
    return [fields["trigger"] for fields in notes(actions, "message_dropped")]


# --- output -------------------------------------------------------------------------------------------------


def test_output_is_told_stored_once_it_is() -> None:
    """Each piece a row; the worker hears only what is durable, all of a turn in one message."""
    each = desks()
    first, second = hand(each, chunk(b"hello "), chunk(b"world", 6))
    assert first.rows == (rows.Output(task=A1.task, attempt=1, stream="stdout", offset=0, data=b"hello "),)
    assert pieces([second]) == [(6, b"world")]
    assert heard(each) == []
    assert store(each, first) == [Stored(attempt=A1, stdout=6)]
    assert store(each, second) == [Stored(attempt=A1, stdout=11)]
    assert heard(each) == []
    assert each.state.counters["output_bytes_stored"] == 11


def test_the_streams_are_taken_apart() -> None:
    """Each has its own offsets."""
    each = desks()
    handed = hand(each, chunk(b"out"), msgspec.structs.replace(chunk(b"error"), stream=ERR))
    assert [row.stream for action in handed for row in action.rows if isinstance(row, rows.Output)] == [
        "stdout",
        "stderr",
    ]
    assert store(each, *handed) == [Stored(attempt=A1, stdout=3, stderr=5)]


def test_what_comes_twice_is_taken_once() -> None:
    """While it is on its way nobody is told anything; afterwards the worker hears again what it missed."""
    each = desks()
    (action,) = hand(each, chunk(b"hello"), chunk(b"hello"), chunk(b"ell", 1))
    assert heard(each) == []
    store(each, action)
    assert hand(each, chunk(b"hello")) == []
    assert heard(each) == [Stored(attempt=A1, stdout=5)]


def test_of_what_overlaps_only_the_rest_is_taken() -> None:
    """A worker that sends again may cut its pieces otherwise."""
    each = desks()
    assert pieces(hand(each, chunk(b"hello"), chunk(b"hello world"))) == [(0, b"hello"), (5, b" world")]


def test_what_comes_after_a_gap_is_not_taken() -> None:
    """A reader would take it for the end of the stream; the worker sends all of it again."""
    each = desks()
    assert hand(each, chunk(b"world", 6)) == []
    assert pieces(hand(each, chunk(b"hello"), chunk(b"world", 6))) == [(0, b"hello")]
    assert pieces(hand(each, chunk(b" "), chunk(b" ", 5), chunk(b"world", 6))) == [(5, b" "), (6, b"world")]


def test_a_new_leader_goes_on_where_the_one_before_it_was() -> None:
    """The worker says with each piece what was stored; a piece behind a gap comes again."""
    each = desks()
    assert hand(each, chunk(b"lost before", 1010, stored=1000)) == []
    (action,) = hand(each, chunk(b"more", 1000, stored=1000))
    assert pieces([action]) == [(1000, b"more")]
    assert store(each, action) == [Stored(attempt=A1, stdout=1004)]


@pytest.mark.parametrize(
    "piece",
    [
        chunk(b"x", -1),
        chunk(b"xx", -1, stored=-5),
        chunk(b"x", 5, stored=-(2**63)),
        chunk(b""),
        chunk(b"x" * (limits.CHUNK_BYTES_MAX + 1)),
        chunk(b"x", of=attempt(2)),
        chunk(b"x", of=attempt(1, n=7)),
        chunk(b"x", of=attempt(1, n=-1)),
        chunk(b"x", of=AttemptId("", 1)),
    ],
)
def test_what_a_worker_cannot_mean_is_not_taken(piece: Chunk) -> None:
    """Nothing breaks, and what it does mean is taken afterwards."""
    each = desks()
    assert hand(each, piece) == []
    assert heard(each) == []
    assert pieces(hand(each, chunk(b"good"))) == [(0, b"good")]


def test_a_worker_cannot_claim_more_stored_than_it_sends_after() -> None:
    """Its first piece is taken whole."""
    each = desks()
    assert pieces(hand(each, chunk(b"x", 5, stored=2**62))) == [(5, b"x")]


def test_without_a_store_nothing_is_taken() -> None:
    """Neither output nor increments."""
    each = Desks()
    each.greet("ann")
    each.join("w1")
    each.run(1)
    assert hand(each, chunk(b"x")) == []
    assert dropped(say(each, 1, ONE)) == ["increments"]


def test_so_much_waits_for_the_store_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes beyond is dropped, and asked for again as soon as half of the room is free."""
    monkeypatch.setattr(limits, "STORE_WAITING_BYTES", 10)
    each = desks()
    first, second = hand(each, chunk(b"12345"), chunk(b"67890", 5), chunk(b"more", 10))
    assert store(each, first) == [Stored(attempt=A1, stdout=5)]  # half is not less than half
    assert store(each, second) == [Stored(attempt=A1, stdout=10, again=True)]
    assert heard(each) == []
    assert pieces(hand(each, chunk(b"more", 10))) == [(10, b"more")]


def test_what_is_on_its_way_again_is_no_reason_to_send_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that resends while there is no room has lost nothing that was taken."""
    monkeypatch.setattr(limits, "STORE_WAITING_BYTES", 10)
    each = desks()
    (action,) = hand(each, chunk(b"1234567890"), chunk(b"1234567890"))
    assert store(each, action) == [Stored(attempt=A1, stdout=10)]


def test_a_worker_that_is_gone_is_told_nothing() -> None:
    """Its successor says itself what was stored; one that is silent asks again when it is back."""
    each = desks()
    (action,) = hand(each, chunk(b"hello"))
    each.worker(Goodbye())
    assert store(each, action) == []
    (action,) = hand(each, chunk(b"more", 5))
    each.state.workers.remove("w1")
    assert store(each, action) == []


# --- increments ---------------------------------------------------------------------------------------------


def test_increments_become_rows_with_their_numbers() -> None:
    """And the time at which the leader had them; the worker hears the newest that is durable."""
    each = desks()
    each.at(2.0)
    actions = say(each, 4, ONE, TWO)
    (handed,) = of_type(StoreRows, actions)
    assert handed.rows == (
        rows.Increment(task=A1.task, seq=4, attempt=1, key="epoch", value="1", time=CLAIMED_S + 2.0),
        rows.Increment(task=A1.task, seq=5, attempt=1, key="", value='"two"', time=CLAIMED_S + 2.0),
    )
    assert heard(each) == []
    assert store(each, handed) == [Stored(attempt=A1, increments=5)]
    assert each.state.counters["increments_stored"] == 2


def test_increments_that_come_twice_are_taken_once() -> None:
    """Of what overlaps only the rest; the worker that missed the answer hears it again."""
    each = desks()
    first = say(each, 1, ONE, TWO)
    assert numbers(say(each, 1, ONE, TWO)) == []
    assert heard(each) == []
    second = say(each, 1, ONE, TWO, ONE)
    assert (numbers(first), numbers(second)) == ([[1, 2]], [[3]])
    store(each, *first, *second)
    assert numbers(say(each, 2, TWO)) == []
    assert heard(each) == [Stored(attempt=A1, increments=3)]


def test_increments_after_a_gap_are_not_taken() -> None:
    """The ones between would never be numbered."""
    each = desks()
    say(each, 1, ONE)
    assert numbers(say(each, 3, ONE)) == []
    assert numbers(say(each, 2, TWO, ONE)) == [[2, 3]]


def test_a_task_is_marked_before_its_first_increment_is_stored() -> None:
    """Else the next leader would run it again without what the store has."""
    each = desks(incremental=False)
    actions = say(each, 1, ONE)
    assert numbers(actions) == []
    released = each.commit()
    (marked,) = of_type(IncrementsMarked, released)
    written = [op.data for op in each.written if getattr(op, "path", "") == znodes.task_path(A1.task)]  # type: ignore[union-attr]
    assert znodes.decode(TaskRecord, "", written[-1]).incremental
    each.inflow.on_marked(marked)
    assert numbers(each.state.take_out()) == [[1]]
    assert numbers(say(each, 2, TWO)) == [[2]]


def test_while_the_mark_is_on_its_way_nothing_is_stored_and_nothing_marked_again() -> None:
    """What comes meanwhile comes again; a mark that was refused is tried again: it is not in the table."""
    each = desks(incremental=False)
    say(each, 1, ONE)
    (marked,) = of_type(IncrementsMarked, each.commit())
    assert numbers(say(each, 1, ONE)) == []
    assert of_type(IncrementsMarked, each.commit()) == []
    each.at(module.MARK_AGAIN_S + 0.1)
    assert numbers(say(each, 1, ONE)) == []
    (again,) = of_type(IncrementsMarked, each.commit())
    each.inflow.on_marked(again)
    each.inflow.on_marked(marked)
    assert numbers(each.state.take_out()) == [[1]]


def test_a_mark_of_a_worker_that_is_gone_stores_nothing() -> None:
    """Its attempt may be superseded by then; whoever runs the task reports anew."""
    each = desks(incremental=False)
    say(each, 1, ONE)
    (marked,) = of_type(IncrementsMarked, each.commit())
    each.state.workers.remove("w1")
    each.inflow.on_marked(marked)
    assert numbers(each.state.take_out()) == []


def test_a_mark_of_a_task_that_ended_stores_nothing() -> None:
    """It was cancelled, for example."""
    each = desks(incremental=False)
    say(each, 1, ONE)
    released = each.commit()
    each.worker(ended(1))
    each.commit()
    each.inflow.on_marked(of_type(IncrementsMarked, released)[0])
    actions = each.state.take_out()
    assert (numbers(actions), dropped(actions)) == ([], ["increments"])


@pytest.mark.parametrize("state", [AttemptState.LOST, AttemptState.OVER])
def test_an_attempt_that_was_given_up_stores_no_increments(state: AttemptState) -> None:
    """Its successor may have been given what was stored before: it counts on from there."""
    each = desks()
    task = each.task(1)
    task.attempts = (make_attempt(state=state),)
    assert dropped(say(each, 1, ONE)) == ["increments"]
    assert pieces(hand(each, chunk(b"output of it may be read"))) != []


def test_only_the_worker_of_an_attempt_reports_its_increments() -> None:
    """Another one has no business there, nor has an earlier life of the same."""
    each = desks()
    each.join("w2", peer=W2)
    assert dropped(say(each, 1, ONE, peer=W2)) == ["increments"]
    each.task(1).attempts = (make_attempt(life=9),)
    assert dropped(say(each, 1, ONE)) == ["increments"]


@pytest.mark.parametrize(
    ("first", "lines"),
    [
        (0, (ONE,)),
        (-3, (ONE,)),
        (1, (ONE,) * (LINES_MAX + 1)),
        (1, (Line("k" * (KEY_LENGTH_MAX + 1), "1"),)),
        (1, (ONE, Line("k", "v" * (VALUE_BYTES_MAX + 1)))),
    ],
)
def test_increments_beyond_the_bounds_are_refused(first: int, lines: tuple[Line, ...]) -> None:
    """All of the message, with a word in the log; the task is not even marked for it."""
    each = desks(incremental=False)
    actions = say(each, first, *lines)
    assert (dropped(actions), numbers(actions)) == (["garbled_increments"], [])
    assert not each.task(1).incremental


def test_the_greatest_increments_are_taken() -> None:
    """So many, and so long."""
    each = desks()
    line = Line("k" * KEY_LENGTH_MAX, "v" * VALUE_BYTES_MAX)
    assert numbers(say(each, 1, *[line] * LINES_MAX)) == [list(range(1, LINES_MAX + 1))]


def test_no_increments_are_no_news() -> None:
    """A message without any changes nothing."""
    each = desks()
    assert numbers(say(each, 1)) == []
    assert numbers(say(each, 1, ONE)) == [[1]]


# --- the end ------------------------------------------------------------------------------------------------


def test_what_ended_is_forgotten_once_the_store_has_answered() -> None:
    """Until then the sums need it; what comes of it afterwards is nobody's."""
    each = desks()
    handed = hand(each, chunk(b"hello"))
    each.worker(AttemptEnded(attempt=A1, outcome=ended(1).outcome))
    each.commit()
    each.inflow.tick()
    assert set(each.inflow._handed) == {A1}
    assert store(each, *handed) == [Stored(attempt=A1, stdout=5)]
    each.inflow.tick()
    assert each.inflow._handed == {}
    assert hand(each, chunk(b"more", 5)) == []
    assert each.inflow._bytes == 0


def test_what_was_starved_and_ended_is_asked_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nobody to ask."""
    monkeypatch.setattr(limits, "STORE_WAITING_BYTES", 5)
    each = desks()
    handed = hand(each, chunk(b"hello"), chunk(b"more", 5))
    each.worker(ended(1, cause=Cause.EXITED))
    each.commit()
    assert task_id(1) in each.state.table.done
    store(each, *handed)
    each.inflow.tick()
    assert (each.inflow._handed, heard(each)) == ({}, [])


def test_what_runs_is_not_forgotten() -> None:
    """A second of silence, and the sums would begin anew."""
    each = desks()
    store(each, *hand(each, chunk(b"hello")))
    each.inflow.tick()
    assert each.task(1).state is TaskState.RUNNING
    assert pieces(hand(each, chunk(b"hello more"))) == [(5, b" more")]


def test_the_depots_hear_of_a_checkpoint_when_it_is_stored() -> None:
    """Until then the one before counts: that is what an attempt would be given."""
    each = desks()
    old, new = (FileRef(name="state", sha256=digit * 64, size_bytes=7) for digit in "12")
    each.state.table.files.save(task_id(1), (old,))
    (handed,) = of_type(StoreRows, say(each, 1, checkpoint_line((old,)), checkpoint_line((new,)), ONE))
    assert each.state.table.files.used(()) == {old.sha256: 7}
    each.state.store.on_event(events.StoreWritten(at=0.0, epoch=1, tokens=(handed.token,)))
    assert each.state.table.files.used(()) == {new.sha256: 7}
