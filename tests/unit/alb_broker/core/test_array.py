"""One array: what is written of it says exactly what the transactions did."""

from __future__ import annotations

import pytest
from tests.array_parts import ECHO, ID, array_spec, make_array, stretch

from alb_broker.core.array import window_of
from alb_broker.core.array_progress import Change, Ended, Expanded, Stopped
from alb_core import codec, limits, zk, znodes
from alb_core.arrays import Counts, Stride
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskState

SPEC = array_spec(Stride(1, 2500))
GOOD = TaskState.SUCCEEDED
PATH = znodes.array_path(ID)


def folded(writes: list[zk.Operation], path: str = PATH) -> bytes:
    """Return what is written to a node."""
    (data,) = [each.data for each in writes if isinstance(each, zk.Create | zk.SetData) and each.path == path]
    return data


def test_a_new_array_is_created_then_set() -> None:
    """Its chunks as well, each with its first end."""
    array = make_array(SPEC, written=False)
    (made,) = array.fold([])
    assert isinstance(made, zk.Create)
    array.settle()
    first = array.fold([Expanded(3), Ended(1, GOOD, 0)])
    assert [type(each) for each in first] == [zk.SetData, zk.Create]
    array.settle()
    second = array.fold([Ended(0, GOOD, 0)])
    assert [type(each) for each in second] == [zk.SetData, zk.SetData]
    assert znodes.decode_ends("", folded(second, znodes.ends_path(ID, 0))) == [stretch(0, 2)]
    assert znodes.decode_array(PATH, folded(second)).counts == Counts(succeeded=2)


def test_only_the_changes_of_the_batch_are_written() -> None:
    """What memory knows already comes with its own batch."""
    array = make_array(SPEC, cursor=9)
    changes: list[Change] = [Ended(0, GOOD, 0), Ended(1, GOOD, 0)]
    for change in changes:
        array.now.apply(change)
    assert znodes.decode_array(PATH, folded(array.fold(changes[:1]))).counts == Counts(succeeded=1)
    array.settle()
    assert znodes.decode_array(PATH, folded(array.fold(changes[1:]))).counts == Counts(succeeded=2)


def test_a_batch_that_was_refused_leaves_nothing_behind() -> None:
    """The next one begins where ZooKeeper is."""
    array = make_array(SPEC, cursor=9)
    array.fold([Ended(0, GOOD, 0), Stopped("no")])
    again = array.fold([Ended(0, GOOD, 0)])
    written = znodes.decode_array(PATH, folded(again))
    assert (written.counts, written.cancel) == (Counts(succeeded=1), False)


def test_a_whole_chunk_leaves_memory_once_it_is_written() -> None:
    """A million tasks are not to be remembered."""
    array = make_array(SPEC, cursor=1000)
    changes = [Ended(position, GOOD, 0) for position in range(1000)]
    for change in changes:
        array.now.apply(change)
    array.fold(changes)
    assert array.now.state(5) is GOOD
    array.settle()
    assert (array.now.state(5), array.whole_chunks, array.nodes()) == (None, {0}, [PATH])
    assert array.nodes_below() == [znodes.ends_path(ID, 0)]


def test_tasks_share_what_they_have_in_common() -> None:
    """One specification, encoded once; but for what an index makes of it."""
    plain = make_array(SPEC)
    one, two = plain.child(0, 1.0), plain.child(1, 1.0)
    assert one is not None
    assert two is not None
    assert one.spec is two.spec is SPEC.task
    assert bytes(one.spec_wire()) == codec.encode_spec(SPEC.task)
    numbered = make_array(array_spec(Stride(5, 9, 2), task=TaskSpec(command="echo {#}")))
    child = numbered.child(1, 2.0)
    assert child is not None
    assert (child.id, child.spec.command, child.submitted) == (f"{ID}.7", "echo 7", 2.0)
    assert codec.decode_spec(child.spec_wire()) == child.spec


def test_a_task_waits_for_its_input() -> None:
    """None is made without it."""
    array = make_array(array_spec(task=ECHO), total=3, whole=False)
    assert array.child(0, 1.0) is None


@pytest.mark.parametrize(("index", "position"), [(5, 0), (9, 2), (6, None), (11, None), (0, None)])
def test_a_task_is_found_by_its_index(index: int, position: int | None) -> None:
    """Where the array has it."""
    assert make_array(array_spec(Stride(5, 9, 2))).position(f"{ID}.{index}") == position


@pytest.mark.parametrize(
    ("arrays", "at_once", "tasks"),
    [(1, 0, limits.ARRAY_WINDOW), (1000, 0, 100), (10**9, 0, 1), (1, 7, 7), (1000, 5000, 100)],
)
def test_the_window_of_an_array_is_bounded(arrays: int, at_once: int, tasks: int) -> None:
    """By itself, by its user, and by how many arrays there are; it is never nothing."""
    found, size = window_of(make_array(array_spec(Stride(1, 9), at_once=at_once)), arrays)
    assert found == tasks
    assert 0 <= size <= limits.ARRAY_WINDOW_BYTES
