"""Speeds by kind of work: their mean, their classes, and what is none."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.broker_parts import capacity

from alb_core.resources import check_capacity
from alb_core.speeds import Speeds, Strain, check_speeds, grade

SPEEDS = Speeds(integer=2.0, memory=0.5, floating=8.0)
POSITIVE = st.floats(1e-3, 1e3)


def test_each_kind_of_work_has_its_speed() -> None:
    """And the mean is that of factors: twice as fast here and half as fast there is as fast."""
    assert [SPEEDS.of(strain) for strain in Strain] == [2.0, 0.5, 8.0]
    assert SPEEDS.mean() == pytest.approx(2.0)


def test_a_worker_is_as_fast_as_measured_or_as_told() -> None:
    """In the task's kind of work where that is known; else what its operator says holds for all."""
    measured, told = capacity(speed=2.0, speeds=SPEEDS), capacity(speed=3.0)
    assert [measured.speed_in(strain) for strain in (None, Strain.FLOAT)] == [2.0, 8.0]
    assert [told.speed_in(strain) for strain in (None, Strain.FLOAT)] == [3.0, 3.0]


def test_the_node_names_them_as_people_do() -> None:
    """As `alb submit --work` calls them."""
    assert msgspec.json.encode(SPEEDS) == b'{"integer":2.0,"memory":0.5,"float":8.0}'


@given(POSITIVE, POSITIVE)
def test_classes_keep_the_order(one: float, other: float) -> None:
    """Who is faster is in no lower class, and who is a fifth faster in a higher one."""
    slower, faster = sorted((one, other))
    assert grade(slower) <= grade(faster)
    if faster > 1.2 * slower:
        assert grade(slower) < grade(faster)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf"), 1e6])
def test_what_is_no_speed_is_refused(speed: float) -> None:
    """Whoever says it: a calibration, a file, or a worker that registers."""
    wrong = msgspec.structs.replace(SPEEDS, memory=speed)
    assert "is not between 0 and 1000" in str(check_speeds(wrong))
    assert "is not between 0 and 1000" in str(check_capacity(capacity(speeds=wrong)))
    assert check_capacity(capacity(speeds=SPEEDS)) is None
