"""Groups of waiting tasks: what fits nowhere is shut for all of its shape, but for who is told apart."""

from __future__ import annotations

from tests.broker_parts import CLAIMED_S, make_task, request

from alb_broker.core.groups import (
    AGE_PER_LEVEL_S,
    AGED_S,
    LEVEL_AGED,
    NEVER,
    Doors,
    Line,
    Offered,
    Row,
    Shape,
    WaitingGroup,
    key_of,
    level_after,
)
from alb_core.spec import TaskSpec


def groups(shape: Shape, users: str) -> list[WaitingGroup]:
    """Return groups of one shape with a task each, one of each user."""
    found = []
    for number, user in enumerate(users, start=len(shape.groups)):
        task = make_task(number, spec=TaskSpec(command="x", request=request(1.0)), user=user)
        group = WaitingGroup(key_of(task), number, Line(), shape)
        group.tasks.append(task)
        found.append(group)
    return found


def a_shape(memory_bytes: int = 0, row: Row | None = None) -> Shape:
    """Return a shape of a row."""
    return Shape(request(1.0, memory_bytes), row or Row(Doors()))


def test_a_row_that_is_shut_blocks_all_its_groups_but_those_put_off() -> None:
    """Of who was put off in this pass nobody knows whether it would have found room."""
    shape = a_shape()
    ann, bob, cleo = groups(shape, "abc")
    bob.wait(Offered.DECLINED)
    assert bob.declined
    shape.row.shut_from(0, CLAIMED_S)
    bob.come_back()
    assert [each.blocked for each in (ann, bob, cleo)] == [True, False, True]
    assert [each.refused for each in (ann, bob, cleo)] == [CLAIMED_S, NEVER, CLAIMED_S]
    shape.row.shut_from(0, CLAIMED_S + 1)
    assert (bob.blocked, bob.declined, bob.refused) == (True, False, CLAIMED_S + 1)
    assert ann.refused == CLAIMED_S


def test_a_row_is_shut_from_some_memory_on() -> None:
    """Who asks for less is not refused; and opened up to what room there is."""
    row = Row(Doors())
    small, large, huge = (groups(a_shape(memory, row), "a")[0] for memory in (10, 20, 30))
    row.shut_from(20, CLAIMED_S)
    assert [each.blocked for each in (small, large, huge)] == [False, True, True]
    assert [each.refused for each in (small, large, huge)] == [NEVER, CLAIMED_S, CLAIMED_S]
    row.shut_from(25, CLAIMED_S + 1)
    assert large.blocked
    row.open_to(15)
    assert large.blocked
    row.open_to(29)
    assert [each.blocked for each in (small, large, huge)] == [False, False, True]


def test_a_new_group_of_a_shut_shape_is_offered_once() -> None:
    """Others were refused, perhaps long ago."""
    shape = a_shape()
    groups(shape, "a")
    shape.row.shut_from(0, CLAIMED_S)
    (new,) = groups(shape, "b")
    assert not new.blocked
    new.block(CLAIMED_S)
    assert new.blocked
    assert not shape.row.apart


def test_one_group_may_be_blocked_or_let_in_alone() -> None:
    """Whatever holds of its likes; all are open again where room grew that any of them may have."""
    doors = Doors()
    shape = a_shape(row=Row(doors))
    ann, bob = groups(shape, "ab")
    ann.block(CLAIMED_S)
    assert [each.blocked for each in (ann, bob)] == [True, False]
    shape.row.let_in(lambda _: False)
    assert ann.blocked
    shape.row.let_in(lambda asked: asked == shape.request)
    assert not ann.blocked
    shape.row.shut_from(0, CLAIMED_S)
    assert not doors.ajar
    ann.open_up()
    assert [each.blocked for each in (ann, bob)] == [False, True]
    assert doors.ajar == {shape.row}
    shape.row.open_to(0)
    shape.row.let_in(lambda _: True)
    assert [each.blocked for each in (ann, bob)] == [False, False]
    assert not shape.row.apart
    ann.end()
    assert list(shape.groups.values()) == [bob]


def test_who_is_served_begins_to_wait_anew() -> None:
    """Its line counts from then on, and no refusal from before."""
    (group,) = groups(a_shape(), "a")
    head = group.head()
    assert head is not None
    group.block(CLAIMED_S)
    group.overtaken = True
    group.serve(CLAIMED_S + 5)
    assert (group.refused, group.overtaken, group.head()) == (NEVER, False, None)
    assert group.waits_since(head) == CLAIMED_S + 5


def test_a_level_is_gained_for_each_span_and_all_of_them_in_a_day() -> None:
    """Until then the next priority has its turn before, but for once."""
    assert [level_after(3, spans * AGE_PER_LEVEL_S) for spans in (-1, 0, 0.9, 1, 2.5)] == [3, 3, 3, 4, 5]
    assert level_after(-7, AGED_S) == LEVEL_AGED
