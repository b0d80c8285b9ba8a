"""The shapes of waiting tasks: what a failure shuts, and what room that grew opens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.broker_parts import CLAIMED_S, request

from alb_broker.core.groups import Line, WaitingGroup
from alb_broker.core.shapes import ROWS_MAX, Shapes
from alb_core.resources import Request

AMOUNTS = st.tuples(st.integers(1, 4), st.integers(0, 4))
LABELS = ((), ("ssd",))


def wanted(amounts: tuple[int, int], labels: tuple[str, ...] = ()) -> Request:
    """Return a request."""
    return request(amounts[0], amounts[1], labels=labels)


def lone_group(shapes: Shapes, asked: Request, number: int = 0) -> WaitingGroup:
    """Return a group of a shape that it alone has."""
    return WaitingGroup(("ann", 0, asked, True), number, Line(), shapes.of(asked))


@given(
    st.lists(
        st.tuples(st.sampled_from(["fails", "grows", "new", "gone"]), AMOUNTS, st.sampled_from(LABELS)),
        max_size=40,
    )
)
def test_a_failure_shuts_exactly_what_asks_for_as_much(
    steps: list[tuple[str, tuple[int, int], tuple[str, ...]]],
) -> None:
    """Of something that is told apart by more than amounts: itself alone. Room opens what it could hold.

    Who is new is offered once, whatever was shut before.
    """
    shapes, is_shut, groups = Shapes(), dict[Request, bool](), dict[Request, WaitingGroup]()
    for verb, amounts, labels in steps:
        asked = wanted(amounts, labels)
        if verb == "new" and asked not in is_shut:
            groups[asked], is_shut[asked] = lone_group(shapes, asked), False
        elif verb == "gone" and asked in is_shut:
            groups.pop(asked).end()
            shapes.remove(shapes.of(asked))
            del is_shut[asked]
        elif verb == "fails" and asked in is_shut:
            shapes.shut_down(shapes.of(asked).row, asked, CLAIMED_S)
            for other in is_shut:
                more = other.cpus >= asked.cpus and other.memory_bytes >= asked.memory_bytes
                is_shut[other] |= other == asked or (asked.plain and other.plain and more)
        elif verb == "grows":
            cpus, memory_bytes = amounts
            shapes.open_up(
                lambda other: memory_bytes if other <= cpus else -1,  # noqa: B023 (asked at once)
                lambda other: other.cpus <= cpus and other.memory_bytes <= memory_bytes,  # noqa: B023
            )
            for other in is_shut:
                is_shut[other] &= not (other.cpus <= cpus and other.memory_bytes <= memory_bytes)
        assert {other: group.blocked for other, group in groups.items()} == is_shut
        assert shapes.doors.ajar == {shapes.of(other).row for other, shut in is_shut.items() if not shut}


def test_who_asks_for_more_than_its_likes_shuts_what_asks_for_as_much_and_not_them() -> None:
    """Its attempt ran out of memory while it waited; what its likes ask for may fit."""
    shapes = Shapes()
    small, large = (lone_group(shapes, wanted((1, memory)), memory) for memory in (1, 3))
    shapes.shut_down(small.shape.row, wanted((1, 2)), CLAIMED_S)
    assert large.blocked
    assert not small.shape.shut
    apart = lone_group(shapes, wanted((1, 1), ("gpu",)), 4)
    shapes.shut_down(apart.shape.row, wanted((1, 2), ("gpu",)), CLAIMED_S)
    assert not apart.shape.shut


def test_where_there_are_too_many_kinds_each_is_shut_by_itself() -> None:
    """A failure must not cost a look at each of them."""
    for more, shut in ((0, True), (1, False)):
        shapes = Shapes()
        all_of_them = [
            lone_group(shapes, request(1 + number / 100), number) for number in range(ROWS_MAX + more)
        ]
        shapes.shut_down(all_of_them[0].shape.row, request(1), CLAIMED_S)
        assert [each.blocked for each in all_of_them[:2]] == [True, True]
        assert all_of_them[-1].blocked is shut
        shapes.open_up(lambda _: -1, lambda _: True)
        assert all_of_them[0].blocked
