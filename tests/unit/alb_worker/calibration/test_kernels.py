"""The loops of a calibration: what their rates are made of."""

from __future__ import annotations

import pytest

from alb_worker.calibration.kernels import (
    SLICE_S,
    SLICES,
    floating_round,
    integer_round,
    memory_round,
    rate,
)


class Processor:
    """A processor whose rounds take as long as a test says."""

    def __init__(self, *rounds_s: float) -> None:
        self.at = 0.0
        self.rounds = 0
        self._rounds_s = rounds_s

    def clock(self) -> float:
        """Return the time that was spent on it."""
        return self.at

    def run(self) -> None:
        """Spend a round; the last length holds from then on."""
        self.at += self._rounds_s[min(self.rounds, len(self._rounds_s) - 1)]
        self.rounds += 1


def test_the_best_slice_counts() -> None:
    """The first round is not measured, and what disturbs for a while does not count."""
    processor = Processor(9.0, *[0.02] * 12, *[0.01] * 30, 0.02)
    assert rate(processor.run, processor.clock, slice_s=0.1) == pytest.approx(100)
    steady = Processor(0.01)
    assert rate(steady.run, steady.clock, slice_s=0.1) == pytest.approx(100)


def test_a_slow_round_ends_its_slice() -> None:
    """However slow the machine is, each slice is one round: its cost is bounded."""
    slow = Processor(1.0)
    assert rate(slow.run, slow.clock, slice_s=0.1) == pytest.approx(1.0)
    assert slow.rounds == SLICES + 1


def test_all_slices_together_stay_below_a_second() -> None:
    """Three kinds of work, with room for what prepares them."""
    assert 3 * SLICES * SLICE_S <= 0.75


@pytest.mark.parametrize("make", [integer_round, memory_round, floating_round])
def test_a_round_does_its_work(make: object) -> None:
    """Each can be run again and again, and takes some time."""
    assert callable(make)
    assert rate(make(), slice_s=1e-9) > 0
