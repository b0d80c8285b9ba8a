"""Output on its way: a grant reaches the worker that has the bytes, or its reader learns of the loss."""

from __future__ import annotations

import pytest
from tests.broker_parts import C1, W1, Desks, attach, attempt, ended, task_id
from tests.store_rows import output

from alb_broker.core.actions import Action, ScanStore, SendChunk, SendGrant
from alb_broker.store.events import StoreScanned
from alb_core.messages import Chunk, Goodbye, Grant, StreamName
from alb_core.rows import Output

OUT, ERR = StreamName.STDOUT, StreamName.STDERR


def desks(*numbers: int) -> Desks:
    """Return a leader with a client and one worker, on which the first of these tasks runs."""
    each = Desks()
    each.greet("ann")
    each.join()
    each.run(*numbers)
    return each


def grant(number: int = 1, offset: int = 5) -> Grant:
    """Return the wish for more of a task's output."""
    return Grant(task=task_id(number), stream=OUT, offset=offset, window=100)


def passed(each: Desks, wanted: Grant) -> list[Action]:
    """Return what a grant leads to; output waits for no commit."""
    each.relay.grant(C1, wanted)
    return each.state.take_out()


def lost(why: str, number: int = 1, n: int = 0) -> list[Action]:
    """Return the answer that the rest of a stream is lost."""
    return [SendChunk(C1, Chunk(task=task_id(number), attempt=n, stream=OUT, offset=5, end=True, lost=why))]


def test_a_grant_goes_to_the_worker_of_a_running_task() -> None:
    """With the reader's address and the attempt, which the reader does not know."""
    assert passed(desks(1), grant()) == [
        SendGrant(W1, Grant(task=task_id(1), stream=OUT, offset=5, window=100, attempt=1, reader=C1))
    ]


def test_a_grant_for_a_waiting_task_waits_with_its_reader() -> None:
    """There is no output; the reader asks again."""
    assert passed(desks(1, 2), grant(2)) == []


def test_the_output_of_a_finished_task_is_where_it_ran() -> None:
    """The attempt whose result was recorded is read, also after the end."""
    each = desks(1)
    each.worker(ended(1))
    each.commit()
    (action,) = passed(each, grant())
    assert isinstance(action, SendGrant)
    assert (action.peer, action.grant.attempt) == (W1, 1)


def test_the_output_of_a_worker_that_is_gone_is_lost() -> None:
    """The reader learns from which byte on."""
    each = desks(1)
    each.worker(ended(1))
    each.commit()
    each.state.workers.remove("w1")
    assert passed(each, grant()) == lost("worker w1, which kept it, is gone", n=1)


def test_a_later_life_of_the_worker_has_the_output() -> None:
    """A worker that was started again took over what its earlier life kept: it is asked."""
    each = desks(1)
    each.worker(ended(1))
    each.commit()
    each.join(life=2, peer=b"w1-again")
    (action,) = passed(each, grant())
    assert isinstance(action, SendGrant)
    assert (action.peer, action.grant.attempt) == (b"w1-again", 1)


def test_a_worker_that_is_silent_may_come_back() -> None:
    """Nothing is said to be lost; the reader asks again."""
    each = desks(1)
    each.worker(Goodbye())
    assert passed(each, grant()) == []


def test_a_task_that_never_ran_has_no_output() -> None:
    """It was cancelled in the queue, for example."""
    each = desks(1, 2)
    each.book.cancel(each.task(2), C1, 0.0)
    each.commit()
    assert passed(each, grant(2)) == lost("no worker ran this task", number=2)


def test_an_unknown_task_has_no_output() -> None:
    """It is no longer in the table."""
    assert passed(desks(), grant()) == lost("the table no longer holds this task")


def test_the_output_of_a_task_that_left_the_table_is_in_the_store() -> None:
    """Whoever has its result knows the attempt; without one, nobody can say which is meant."""
    each = Desks(store="sqlite:////somewhere")
    wanted = Grant(task=task_id(1), stream=OUT, offset=5, window=100, attempt=2)
    (scan,) = passed(each, wanted)
    assert isinstance(scan, ScanStore)
    assert (scan.family, scan.span.prefix) == (Output, (task_id(1), 2, "stdout"))
    piece = output(task_id(1), 0, b"0123456789", attempt=2)
    event = StoreScanned(at=0.0, epoch=1, token=scan.token, rows=(piece,))
    assert each.state.store.on_event(event)
    chunk = Chunk(task=task_id(1), attempt=2, stream=OUT, offset=5, data=b"56789")
    assert each.state.take_out()[0] == SendChunk(C1, chunk)
    assert passed(each, grant()) == lost("the table no longer holds this task")


def test_who_attaches_with_a_window_reads_both_streams() -> None:
    """From the offsets that it names, without asking again."""
    each = desks(1)
    actions = each.client(attach(1, window=10, stdout=3, stderr=4))
    grants = [action.grant for action in actions if isinstance(action, SendGrant)]
    assert [(each_grant.stream, each_grant.offset) for each_grant in grants] == [(OUT, 3), (ERR, 4)]


@pytest.mark.parametrize("reader", [C1, b""])
def test_a_chunk_goes_to_its_reader(reader: bytes) -> None:
    """Without the address, which is the leader's matter; a chunk for nobody is dropped."""
    each = desks()
    chunk = Chunk(task=attempt(1).task, attempt=1, stream=OUT, offset=0, data=b"x", reader=reader)
    each.relay.chunk(chunk)
    sent = Chunk(task=attempt(1).task, attempt=1, stream=OUT, offset=0, data=b"x")
    assert each.state.take_out() == ([SendChunk(C1, sent)] if reader else [])
