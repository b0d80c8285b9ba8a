"""The places of an array's indexes: which index is at which position, found without looking at all ranges.

An array may be written with a thousand ranges, and each of its tasks asks.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, pairwise

from alb_core.arrays import Stride, index_at, position_of


class Places:
    """Finds indexes by position, and positions by index.

    Args:
        strides: As in `ArraySpec.strides`; empty: positions are counted from 1.
    """

    def __init__(self, strides: tuple[Stride, ...]) -> None:
        self._strides = strides
        self._begins = list(accumulate((len(stride) for stride in strides), initial=0))
        self._order = sorted(range(len(strides)), key=lambda at: strides[at].first)
        self._firsts = [strides[at].first for at in self._order]
        self._apart = all(strides[one].last < strides[other].first for one, other in pairwise(self._order))
        #: Whether a binary search in this order finds an index.
        self._rows: dict[tuple[int, int], list[int]] = {}
        #: Of ranges that mix, those of one step and remainder: they do not mix, for an index is in one range.
        for at in self._order:
            self._rows.setdefault((strides[at].step, strides[at].first % strides[at].step), []).append(at)
        self._steps = sorted({step for step, _ in self._rows})

    def index_at(self, position: int) -> int:
        """Return the index at a position; raises IndexError where the array has none."""
        if not self._strides or not 0 <= position < self._begins[-1]:
            return index_at(self._strides, position)
        at = bisect_right(self._begins, position) - 1
        stride = self._strides[at]
        return stride.first + (position - self._begins[at]) * stride.step

    def position_of(self, index: int) -> int | None:
        """Return the position of an index; None: the array has no such index."""
        if not self._strides:
            return position_of(self._strides, index)
        if self._apart:
            before = bisect_right(self._firsts, index) - 1
            return self._within(self._order[before], index) if before >= 0 else None
        for step in self._steps:
            row = self._rows.get((step, index % step), [])
            before = bisect_right(row, index, key=lambda at: self._strides[at].first) - 1
            if before >= 0 and (position := self._within(row[before], index)) is not None:
                return position
        return None

    def _within(self, at: int, index: int) -> int | None:
        within = position_of((self._strides[at],), index)
        return None if within is None else self._begins[at] + within

    def strides_of(self, first: int, count: int) -> list[Stride]:
        """Return the indexes of some neighbouring positions as ranges."""
        if not self._strides:
            return [Stride(first + 1, first + count)]
        found = []
        at = bisect_right(self._begins, first) - 1
        while count > 0 and at < len(self._strides):
            stride = self._strides[at]
            taken = min(count, self._begins[at + 1] - first)
            begin = stride.first + (first - self._begins[at]) * stride.step
            end = begin + (taken - 1) * stride.step
            found.append(Stride(begin, end, stride.step if taken > 1 else 1))
            first, count, at = first + taken, count - taken, at + 1
        return found
