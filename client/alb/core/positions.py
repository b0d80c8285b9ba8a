"""The positions of an array: which index is where, and which of them are known already.

An array may have ten million tasks, and hardly ever has more than a few ranges of indexes: a bit for each
position, and a binary search for each index.
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
        self._firsts = [stride.first for stride in strides]
        self._ordered = all(one.last < other.first for one, other in pairwise(strides))
        #: Whether a binary search finds an index; ranges that mix are searched one by one.

    def index_at(self, position: int) -> int:
        """Return the index at a position; raises IndexError where the array has none."""
        if not self._strides or not 0 <= position < self._begins[-1]:
            return index_at(self._strides, position)
        at = bisect_right(self._begins, position) - 1
        stride = self._strides[at]
        return stride.first + (position - self._begins[at]) * stride.step

    def position_of(self, index: int) -> int | None:
        """Return the position of an index; None: the array has no such index."""
        if not self._strides or not self._ordered:
            return position_of(self._strides, index)
        at = bisect_right(self._firsts, index) - 1
        if at < 0:
            return None
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


class Known:
    """A set of positions, a bit for each."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self._low = 0
        #: All positions below are in the set.
        self.count = 0

    def __contains__(self, position: int) -> bool:
        byte = position >> 3
        return byte < len(self._bits) and bool(self._bits[byte] >> (position & 7) & 1)

    def add(self, position: int) -> None:
        """Put a position in."""
        byte = position >> 3
        if byte >= len(self._bits):
            self._bits.extend(bytes(max(byte + 1 - len(self._bits), len(self._bits))))
        bit = 1 << (position & 7)
        if not self._bits[byte] & bit:
            self._bits[byte] |= bit
            self.count += 1

    def discard(self, position: int) -> None:
        """Take a position out."""
        if position in self:
            self._bits[position >> 3] &= ~(1 << (position & 7))
            self.count -= 1
            self._low = min(self._low, position)

    def first_missing(self) -> int:
        """Return the first position that is not in the set."""
        while self._low in self:
            whole = not self._low & 7 and self._bits[self._low >> 3] == 0xFF
            self._low += 8 if whole else 1
        return self._low
