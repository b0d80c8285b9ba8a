"""Peers and people that mean no good, or are broken: nobody brings a broker down or takes another's room."""

from __future__ import annotations

import msgspec
import pytest
from tests.broker_parts import C1, C2, W1, Desks, attempt, outcome, submit, task_id, to_client, to_worker

from alb_core import codec, limits, znodes
from alb_core.errors import RemoteProtocolError
from alb_core.messages import Accepted, Ack, AttemptEnded, Busy, Error, Finished, Register, TaskMoved
from alb_core.resources import Capacity, Request
from alb_core.spec import TaskSpec
from alb_core.tasks import Stream

DEPTH = 100_000


@pytest.mark.parametrize(
    "decode",
    [codec.decode_from_client, codec.decode_from_worker, codec.decode_output, codec.decode_spec],
    ids=lambda decode: decode.__name__,
)
def test_nesting_without_end_is_refused(decode: object) -> None:
    """A frame of nested arrays is malformed like any other, in a known place or in an unknown field."""
    nested = b"\x91" * DEPTH + b"\x90"
    in_field = b"\x91\x82\xa4type\xa7Goodbye\xa1x" + nested
    for frame in (nested, in_field, b"\x82\xa7command\xa1a\xa1x" + nested):
        with pytest.raises(RemoteProtocolError):
            decode(frame)  # type: ignore[operator]


def test_a_deeply_nested_node_is_unreadable() -> None:
    """A takeover sets such a node aside like any other that cannot be decoded."""
    path = znodes.task_path(task_id(1))
    with pytest.raises(znodes.UnreadableNode):
        znodes.decode_task(path, b'{"x":' + b"[" * DEPTH + b"]" * DEPTH + b"}")


def test_a_boundless_report_is_cut_to_what_a_result_may_hold() -> None:
    """Whatever a worker reports, the record stays far below what ZooKeeper takes, and can be sent on."""
    each = Desks()
    each.greet()
    each.join()
    each.run(1)
    huge = outcome(
        exit_code=2**40,
        why="w" * 3_000_000,
        signal=2**63,
        stdout=Stream(size_bytes=3_000_000, text="o" * 3_000_000),
        stderr=Stream(size_bytes=3_000_000, base64="QUJD" * 500_000),
    )
    each.worker(AttemptEnded(attempt=attempt(1), outcome=huge))
    (told,) = [message for message in to_client(C1, each.commit()) if isinstance(message, Finished)]
    assert len(codec.encode_frames([told])[0]) < 20_000
    assert len(told.result.stdout.tail()) == limits.INLINE_OUTPUT_BYTES
    assert (told.result.exit_code, told.result.signal) == (None, None)


@pytest.mark.parametrize(
    ("name", "labels", "code"),
    [("a/b", (), "name"), ("", (), "name"), ("w1", ("x",) * (limits.LABELS_MAX + 1), "protocol")],
)
def test_a_worker_with_an_impossible_name_or_too_many_labels_is_refused(
    name: str, labels: tuple[str, ...], code: str
) -> None:
    """A name becomes a path, and labels go into every list of workers."""
    each = Desks()
    capacity = Capacity(cpus=1, memory_bytes=1, labels=labels)
    each.worker(Register(worker=name, incarnation="x", capacity=capacity))
    (told,) = to_worker(W1, each.commit())
    assert isinstance(told, Error)
    assert told.code == code


def test_one_user_cannot_take_all_bytes() -> None:
    """Large specifications of one user leave room for another's."""
    each = Desks(pending_bytes_max=400_000)
    each.greet("ann", "bob")
    large = TaskSpec(command="x" * 50_000)
    each.client(*(submit(number, large) for number in range(20)))
    answers = [type(message) for message in to_client(C1, each.commit())]
    assert answers.count(Busy) > 10
    each.client(submit(99, large), peer=C2)
    assert Accepted in [type(message) for message in to_client(C2, each.commit())]


def test_results_that_nobody_fetches_take_the_room_of_new_tasks() -> None:
    """Detached tasks cannot fill ``/done`` without bound: beyond what is kept, they count as pending."""
    each = Desks(pending_max=20, done_kept_max=2)
    each.greet()
    each.join(cpus=100.0)
    accepted = 0
    for number in range(60):
        each.client(submit(number))
        each.place()
        accepted += Accepted in [type(message) for message in to_client(C1, each.commit())]
        each.worker(AttemptEnded(attempt=attempt(number), outcome=outcome()))
        each.commit()
    assert accepted == 22


def test_only_the_one_submitter_can_let_a_task_go() -> None:
    """Another client that submitted the same id may still wait for an answer, and would run it again."""
    each = Desks(done_kept_max=0)
    each.greet("ann", "ann")
    each.join()
    each.run(1)
    each.client(submit(1), peer=C2)
    each.worker(AttemptEnded(attempt=attempt(1), outcome=outcome()))
    each.commit()
    each.client(Ack(id=task_id(1)), peer=C1)
    each.tick(10.0)
    assert task_id(1) in each.state.table.done


def test_a_request_that_no_worker_could_ever_serve_is_told_so() -> None:
    """It waits, as accepted tasks do, but the person learns why."""
    each = Desks()
    each.greet()
    each.join()
    each.client(submit(1, TaskSpec(command="true", request=Request(cpus=64)), moves=True))
    moved = [message for message in to_client(C1, each.turn()) if isinstance(message, TaskMoved)]
    assert "asks 64 cpus" in moved[0].why
    assert "the largest has 1 cpus" in moved[0].why


def test_an_answer_too_large_for_a_message_becomes_an_error() -> None:
    """The asker is told, and what else goes to it in the same turn arrives."""
    assert not codec.fits_frame(Error(code="x", why="w" * limits.MESSAGE_BYTES_MAX))
    assert codec.fits_frame(Error(code="x", why="w"))
    assert msgspec.msgpack.decode(codec.encode_frames([Error(code="x", why="w")])[0])
