"""Indexes by position, and positions by index."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from alb_core.arrays import Stride, indexes
from alb_core.places import Places


class Closing(tuple[Stride, ...]):  # noqa: SLOT001 (it is closed later)
    """Ranges that cannot be gone through once they are closed."""

    closed = False

    def __iter__(self) -> Iterator[Stride]:
        assert not self.closed, "all ranges are gone through again"
        return super().__iter__()


SHAPES = [
    (Stride(1, 10),),
    (Stride(0, 9, 3), Stride(20, 20), Stride(30, 40, 5)),
    (Stride(5, 9, 2), Stride(6, 10, 2)),
    (Stride(20, 29), Stride(1, 5)),
    (Stride(3, 30, 3), Stride(1, 28, 3), Stride(2, 2), Stride(5, 29, 6), Stride(31, 33)),
]


@pytest.mark.parametrize("strides", SHAPES)
def test_places_and_indexes_are_each_other_s_inverse(strides: tuple[Stride, ...]) -> None:
    """Ordered ranges, ranges that mix, and ranges that go back; what is in none has no position."""
    places, all_of_them = Places(strides), list(indexes(strides))
    assert [places.index_at(position) for position in range(len(all_of_them))] == all_of_them
    assert [places.position_of(index) for index in all_of_them] == list(range(len(all_of_them)))
    assert places.position_of(999) is None
    with pytest.raises(IndexError):
        places.index_at(len(all_of_them))


@pytest.mark.parametrize("strides", SHAPES)
def test_some_positions_are_ranges_of_indexes(strides: tuple[Stride, ...]) -> None:
    """Whatever part is asked for."""
    places, all_of_them = Places(strides), list(indexes(strides))
    for first in range(len(all_of_them)):
        for count in range(1, len(all_of_them) - first + 1):
            assert list(indexes(places.strides_of(first, count))) == all_of_them[first : first + count]


def test_without_ranges_positions_are_counted_from_one() -> None:
    """As the lines of a file are."""
    places = Places(())
    assert (places.index_at(0), places.position_of(1), places.position_of(0)) == (1, 0, None)
    assert places.strides_of(4, 3) == [Stride(5, 7)]


@pytest.mark.parametrize("turn", [1, -1])
def test_many_ranges_are_not_gone_through_for_each_index(turn: int) -> None:
    """A thousand of them cost each task of the array a search, in whatever order they are written."""
    ranges = Closing([Stride(10 * n, 10 * n + 4) for n in range(1000)][::turn])
    places = Places(ranges)
    ranges.closed = True
    for position in range(0, 5000, 7):
        assert places.position_of(places.index_at(position)) == position
    assert places.position_of(7) is None


def test_ranges_that_mix_are_not_gone_through_either() -> None:
    """They are told apart by step and remainder."""
    ranges = Closing([Stride(n, 9_000 + n, 1000) for n in range(1000)])
    places = Places(ranges)
    ranges.closed = True
    for position in range(0, 10_000, 7):
        assert places.position_of(places.index_at(position)) == position
    assert places.position_of(10_000) is None
