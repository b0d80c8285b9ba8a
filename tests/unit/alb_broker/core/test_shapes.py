"""The shapes of waiting tasks: what a failure shuts, and what room that grew opens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.broker_parts import CLAIMED_S, request

from alb_broker.core.shapes import ROWS_MAX, Shapes
from alb_core.resources import Request

AMOUNTS = st.tuples(st.integers(1, 4), st.integers(0, 4))
LABELS = ((), ("ssd",))


def wanted(amounts: tuple[int, int], labels: tuple[str, ...] = ()) -> Request:
    """Return a request."""
    return request(amounts[0], amounts[1], labels=labels)


@given(
    st.lists(
        st.tuples(st.sampled_from(["fails", "grows", "new", "gone"]), AMOUNTS, st.sampled_from(LABELS)),
        max_size=40,
    )
)
def test_a_failure_shuts_exactly_what_asks_for_as_much(
    steps: list[tuple[str, tuple[int, int], tuple[str, ...]]],
) -> None:
    """Of something that is told apart by more than amounts: itself alone. Room opens what it could hold."""
    shapes, is_shut = Shapes(), dict[Request, bool]()
    for verb, amounts, labels in steps:
        asked = wanted(amounts, labels)
        if verb == "new" and asked not in is_shut:
            is_shut[asked] = shapes.of(asked).shut
        elif verb == "gone" and asked in is_shut:
            shapes.remove(shapes.of(asked))
            del is_shut[asked]
        elif verb == "fails" and asked in is_shut:
            shapes.shut_down(shapes.of(asked), asked, CLAIMED_S)
            for other in is_shut:
                more = other.cpus >= asked.cpus and other.memory_bytes >= asked.memory_bytes
                is_shut[other] |= other == asked or (asked.plain and more)
        elif verb == "grows":
            shapes.open_up(lambda other: other.cpus <= amounts[0])  # noqa: B023 (asked at once)
            is_shut = {other: shut and other.cpus > amounts[0] for other, shut in is_shut.items()}
        assert {other: shapes.of(other).shut for other in is_shut} == is_shut


def test_where_there_are_too_many_kinds_each_is_shut_by_itself() -> None:
    """A failure must not cost a look at each of them."""
    shapes = Shapes()
    all_of_them = [shapes.of(request(1 + number / 100)) for number in range(ROWS_MAX + 1)]
    shapes.shut_down(all_of_them[0], all_of_them[0].request, CLAIMED_S)
    assert [each.shut for each in all_of_them[:2]] == [True, True]
    shapes = Shapes()
    all_of_them = [shapes.of(request(1 + number / 100)) for number in range(ROWS_MAX + 2)]
    shapes.shut_down(all_of_them[0], all_of_them[0].request, CLAIMED_S)
    assert [each.shut for each in all_of_them[:2]] == [True, False]
