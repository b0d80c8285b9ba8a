"""Random draws for pure code: a generator whose seed came in with an event."""

from __future__ import annotations

_MASK = (1 << 64) - 1


class Draws:
    """SplitMix64 (Steele, Lea, Flood 2014): small, fast, good enough to spread load, not for secrets."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def below(self, bound: int) -> int:
        """Return a number in ``range(bound)``; the bias is below bound / 2**64."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return (mixed ^ (mixed >> 31)) % bound
