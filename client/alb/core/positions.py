"""Which positions of an array are known already: a bit for each, for there may be ten million."""

from __future__ import annotations


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
