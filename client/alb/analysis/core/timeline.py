"""A timeline: sums over slices of time, which become wider as the time becomes longer."""

from __future__ import annotations

from typing import Final

SLICE_S: Final = 60.0
#: To begin with.
SLICES_MAX: Final = 3_000
#: Two days of minutes; beyond, two slices become one.


class Timeline:
    """Sums of some quantities by slice.

    Args:
        names: Of the quantities.
    """

    def __init__(self, *names: str) -> None:
        self._columns: Final = {name: column for column, name in enumerate(names)}
        self._slices: dict[int, list[float]] = {}
        self.slice_s = SLICE_S

    def add(self, time: float, **amounts: float) -> None:
        """Add to quantities at a time (in seconds)."""
        number = int(time // self.slice_s)
        sums = self._slices.get(number)
        if sums is None:
            sums = self._slices[number] = [0.0] * len(self._columns)
            if len(self._slices) > SLICES_MAX:
                self._widen()
                sums = self._slices[int(time // self.slice_s)]
        for name, amount in amounts.items():
            sums[self._columns[name]] += amount

    def _widen(self) -> None:
        """Make slices twice as wide until there are few enough."""
        while len(self._slices) > SLICES_MAX:
            self.slice_s *= 2
            old, self._slices = self._slices, {}
            for number, sums in old.items():
                there = self._slices.setdefault(number // 2, [0.0] * len(sums))
                for column, amount in enumerate(sums):
                    there[column] += amount

    def slices(self, slice_s: float, begin: float, end: float) -> dict[str, list[float]]:
        """Return the sums of slices of another width, one list a quantity.

        Args:
            slice_s: The width, no less than its own.
            begin: Where the first slice begins.
            end: The last slice holds this.
        """
        count = max(1, int((end - begin) // slice_s) + 1)
        made = {name: [0.0] * count for name in self._columns}
        for number, sums in self._slices.items():
            # What lies before or after counts with the first or the last slice: sums stay whole.
            index = min(max(int((number * self.slice_s - begin) // slice_s), 0), count - 1)
            for name, column in self._columns.items():
                made[name][index] += sums[column]
        return made
