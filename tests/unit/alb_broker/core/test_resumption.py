"""Attempts that go on where others stopped: what is asked when, and when their order to run leaves."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.broker_parts import W1, W2, Desks, attempt, make_attempt, of_type, task_id, to_worker

from alb_broker.core.actions import Action, ResumeWanted, ScanStore, StoreRows
from alb_broker.core.resumption import ROWS
from alb_broker.store import events
from alb_core import limits
from alb_core.files import FileRef
from alb_core.increments import Line, Resume, checkpoint_line
from alb_core.messages import AttemptStarted, Goodbye, Run
from alb_core.rows import Increment, Row, Span
from alb_core.tasks import AttemptState

URL = "sqlite:////somewhere"
A2 = attempt(1, 2)
LAST = 9


def desks(*, store: bool = True) -> Desks:
    """Return a leader whose worker runs task 1, which reports increments."""
    each = Desks(store=URL) if store else Desks()
    each.greet("ann")
    each.join("w1")
    each.run(1)
    each.worker(AttemptStarted(attempt=attempt(1)))
    each.task(1).incremental = True
    return each


def place_again(each: Desks) -> list[Action]:
    """Lose the worker of the newest attempt and place the task on another; return what that releases."""
    task = each.task(1)
    worker = each.state.workers.by_name["w1"]
    each.book.release(worker, attempt(1))
    each.book.lose(task, 1, worker, each.state.at)
    each.state.workers.remove("w1")
    each.join("w2", peer=W2)
    return each.turn()


def want(each: Desks) -> StoreRows:
    """Place the task again; return the question that its second attempt leads to."""
    (wanted,) = of_type(ResumeWanted, place_again(each))
    assert wanted.attempt == A2
    each.resumption.want(A2)
    (barrier,) = of_type(StoreRows, each.state.take_out())
    return barrier


def pass_barrier(each: Desks, barrier: StoreRows) -> ScanStore:
    """Let everything before be durable; return what is read then."""
    each.state.store.on_event(events.StoreWritten(at=0.0, epoch=1, tokens=(barrier.token,)))
    (scan,) = of_type(ScanStore, each.state.take_out())
    return scan


def answer(each: Desks, scan: ScanStore, found: Sequence[Row] = (), error: str | None = None) -> list[Action]:
    """Let the store answer; return what leaves after the next commit."""
    event = events.StoreScanned(at=0.0, epoch=1, token=scan.token, rows=tuple(found), error=error)
    each.state.store.on_event(event)
    each.workers.send_resumed()
    return each.commit()


def found() -> list[Increment]:
    """Return what the store has of the task, the newest first."""
    numbers = range(LAST, LAST - 3, -1)
    return [
        Increment(task=task_id(1), seq=seq, attempt=1, key="epoch", value=str(seq), time=0.0)
        for seq in numbers
    ]


def orders(actions: list[Action], peer: bytes = W2) -> list[Run]:
    """Return the orders to run."""
    return [message for message in to_worker(peer, actions) if isinstance(message, Run)]


def test_a_later_attempt_runs_with_what_the_store_has() -> None:
    """First all that was handed over must be durable; then it is read, the newest first; then it runs."""
    each = desks()
    barrier = want(each)
    assert barrier.rows == ()
    scan = pass_barrier(each, barrier)
    assert (scan.family, scan.span, scan.limit, scan.newest_first) == (
        Increment,
        Span(prefix=(task_id(1),)),
        ROWS,
        True,
    )
    (run,) = orders(answer(each, scan, found()))
    assert (run.attempt, run.resume) == (A2, Resume(seq=LAST, lines=(Line("epoch", str(LAST)),)))


def test_where_nothing_was_stored_it_begins_at_the_beginning() -> None:
    """It was marked, and its worker died before the first increment was stored."""
    each = desks()
    (run,) = orders(answer(each, pass_barrier(each, want(each))))
    assert (run.attempt, run.resume) == (A2, None)


def test_a_first_attempt_waits_for_nothing() -> None:
    """There is nothing that it could be given."""
    each = desks()
    assert not each.resumption.awaited(each.task(1))
    run = each.book.run_message(each.task(1), attempt(1))
    assert run is not None
    assert run.resume is None


def test_a_task_that_reports_nothing_waits_for_nothing() -> None:
    """Most are such; they run again at once."""
    each = desks()
    each.task(1).incremental = False
    assert len(orders(place_again(each))) == 1


def test_without_a_store_nothing_is_waited_for() -> None:
    """Not even by tasks that an earlier leader, which had one, has marked."""
    each = desks(store=False)
    (run,) = orders(place_again(each))
    assert run.resume is None


def test_it_is_asked_once_at_a_time() -> None:
    """Orders that are due again while the store is slow ask nothing; after an error the next one does."""
    each = desks()
    barrier = want(each)
    assert of_type(StoreRows, each.tick(1.5 * limits.RESEND_S)) == []
    scan = pass_barrier(each, barrier)
    assert orders(answer(each, scan, error="timeout")) == []
    (again,) = of_type(StoreRows, each.tick(2.9 * limits.RESEND_S))
    assert len(orders(answer(each, pass_barrier(each, again), found()))) == 1


def test_an_order_that_comes_again_says_the_same() -> None:
    """Without asking again: nothing is stored of the attempt before it any more."""
    each = desks()
    (first,) = orders(answer(each, pass_barrier(each, want(each)), found()))
    each.tick(2 * limits.RESEND_S)
    assert orders(each.commit()) == [first]


def test_an_attempt_that_was_lost_meanwhile_is_not_ordered() -> None:
    """Its worker has nothing to do with the task any more."""
    each = desks()
    scan = pass_barrier(each, want(each))
    worker = each.state.workers.by_name["w2"]
    each.book.release(worker, A2)
    each.book.lose(each.task(1), 2, worker, each.state.at)
    assert orders(answer(each, scan, found())) == []


def test_what_was_read_for_an_earlier_attempt_is_not_given_to_a_later_one() -> None:
    """The earlier one may have stored more since; and it does not undo what the later one was given."""
    each = desks()
    scan = pass_barrier(each, want(each))
    task = each.task(1)
    task.attempts = (*task.attempts[:-1], make_attempt(2, "w2", AttemptState.OVER), make_attempt(3, "w2"))
    answer(each, scan, found())
    assert task.resume is None
    task.resume = (2, Resume(seq=9))
    assert (each.resumption.awaited(task), each.book.run_message(task, attempt(1, 3))) == (True, None)
    task.resume = (3, Resume(seq=20))
    each.resumption.want(A2)
    (barrier,) = of_type(StoreRows, each.state.take_out())
    answer(each, pass_barrier(each, barrier), found())
    assert not each.resumption.awaited(task)
    assert each.resumption.given(task) == Resume(seq=20)


def test_a_task_that_is_over_when_the_answer_comes_is_let_be() -> None:
    """It was cancelled; nobody waits."""
    each = desks()
    scan = pass_barrier(each, want(each))
    each.state.table.remove(each.task(1))
    assert orders(answer(each, scan, found())) == []


@pytest.mark.parametrize("gone", [True, False])
def test_a_worker_that_is_away_when_the_answer_comes_is_ordered_nothing(gone: bool) -> None:  # noqa: FBT001 (a column)
    """One that is back is ordered by the clock, with what was read."""
    each = desks()
    scan = pass_barrier(each, want(each))
    if gone:
        each.state.workers.remove("w2")
    else:
        each.worker(Goodbye(), peer=W2)
    assert orders(answer(each, scan, found())) == []
    if not gone:
        each.state.workers.by_name["w2"].link = True
        each.tick(2 * limits.RESEND_S)
        (run,) = orders(each.commit())
        assert run.resume is not None


def test_an_attempt_that_its_worker_has_is_not_ordered_again() -> None:
    """After a takeover it said so before the store answered."""
    each = desks()
    scan = pass_barrier(each, want(each))
    each.worker(AttemptStarted(attempt=A2), peer=W2)
    assert orders(answer(each, scan, found())) == []


def test_nothing_is_ordered_twice_for_one_answer() -> None:
    """What was taken is forgotten."""
    each = desks()
    answer(each, pass_barrier(each, want(each)), found())
    assert each.resumption.take_read() == []
    each.workers.send_resumed()
    assert orders(each.commit(), W1) == []


SAVED = (FileRef(name="state", sha256="1" * 64, size_bytes=7),)


def checkpoint_row(seq: int = 1) -> Increment:
    """Return a checkpoint as it is stored."""
    line = checkpoint_line(SAVED)
    return Increment(task=task_id(1), seq=seq, attempt=1, key=line.key, value=line.value, time=0.0)


def scanned(each: Desks, scan: ScanStore, *rows: Row, error: str | None = None) -> None:
    """Let the store answer."""
    each.state.store.on_event(events.StoreScanned(at=0.0, epoch=1, token=scan.token, rows=rows, error=error))


def test_the_checkpoint_that_is_given_is_used() -> None:
    """The depots must not remove what the next attempt starts with."""
    each = desks()
    scanned(each, pass_barrier(each, want(each)), checkpoint_row())
    assert each.task(1).resume == (2, Resume(seq=1, files=SAVED))
    assert each.state.table.files.used(()) == {"1" * 64: 7}


def test_after_a_takeover_checkpoints_are_looked_up() -> None:
    """Of tasks that an earlier leader placed; again where the store does not answer; each once."""
    each = desks()
    files = each.state.table.files
    files.sought[task_id(1)] = None
    for error, rows in (("away", ()), (None, (checkpoint_row(),))):
        each.resumption.tick()
        (scan,) = of_type(ScanStore, each.state.take_out())
        assert scan.span == Span(prefix=(task_id(1),))
        scanned(each, scan, *rows, error=error)
        assert files.knows(task_id(1)) is (error is None)
    each.resumption.tick()
    assert of_type(ScanStore, each.state.take_out()) == []
    assert files.used(()) == {"1" * 64: 7}
