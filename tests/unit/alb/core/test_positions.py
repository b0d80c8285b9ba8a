"""Indexes by position, positions by index, and the set of those that are known."""

from __future__ import annotations

import random

import pytest

from alb.core.positions import Known, Places
from alb_core.arrays import Stride, indexes

SHAPES = [
    (Stride(1, 10),),
    (Stride(0, 9, 3), Stride(20, 20), Stride(30, 40, 5)),
    (Stride(5, 9, 2), Stride(6, 10, 2)),
    (Stride(20, 29), Stride(1, 5)),
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


def test_a_set_of_positions_counts_and_finds_its_first_gap() -> None:
    """Against a plain set, over random puts and takes."""
    draws = random.Random(7)
    known, plain = Known(), set[int]()
    for _ in range(3000):
        position = draws.randrange(400)
        if draws.random() < 0.9:
            known.add(position)
            plain.add(position)
        else:
            known.discard(position)
            plain.discard(position)
        assert known.count == len(plain)
        assert known.first_missing() == next(n for n in range(401) if n not in plain)
        assert (position in known) == (position in plain)
