"""Spreads: quantiles to 1 %, whatever the scale, in bounded memory."""

from __future__ import annotations

import random

import pytest

from alb.analysis.core.spread import Quantiles, Spread


def spread(*values: float) -> Spread:
    """Return a spread of values."""
    made = Spread()
    for value in values:
        made.add(value)
    return made


def test_nothing_says_nothing() -> None:
    """Zeros, and no division by zero."""
    assert Spread().quantiles() == Quantiles()


def test_one_value_is_every_quantile() -> None:
    """To 1 %, and never above the greatest."""
    found = spread(42.0).quantiles()
    assert (found.count, found.mean, found.max) == (1, 42.0, 42.0)
    assert found.p50 == found.p99 == pytest.approx(42.0, rel=0.011)
    assert found.p99 <= found.max


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e5, 1e12])
def test_quantiles_are_right_to_one_percent(scale: float) -> None:
    """Of a wide distribution at every scale, against sorting."""
    draws = random.Random(3)
    values = [scale * draws.lognormvariate(0.0, 2.0) for _ in range(5000)]
    found, ordered = spread(*values).quantiles(), sorted(values)
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        assert getattr(found, name) == pytest.approx(ordered[int(share * 5000) - 1], rel=0.011)
    assert found.mean == pytest.approx(sum(values) / 5000)
    assert found.max == ordered[-1]


def test_zeros_and_negative_values_count_as_zero() -> None:
    """Clocks may differ; a share of zeros is a share."""
    found = spread(0.0, 0.0, -5.0, 10.0).quantiles()
    assert (found.p50, found.max, found.count) == (0.0, 10.0, 4)
    assert found.p99 == pytest.approx(10.0, rel=0.011)


def test_memory_is_bounded() -> None:
    """A million times the range makes no million classes."""
    made = spread(*(1.0000001**number for number in range(0, 2**31, 50_000)))
    assert made.count > 40_000
    assert len(made._classes) < 12_000
