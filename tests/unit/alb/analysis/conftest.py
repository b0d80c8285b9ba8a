"""A day of history, small enough for every test."""

from __future__ import annotations

import time

import pytest
from tests.history_day import Day

from alb.analysis.core.advice import advise
from alb.analysis.core.figures import Advice, Figures
from alb.analysis.core.workload import Workload


@pytest.fixture(scope="session")
def figures() -> Figures:
    """What is found in a day of 20,000 tasks."""
    workload = Workload()
    for row in Day(tasks=20_000).rows():
        workload.add(row)
    return workload.figures("a test")


@pytest.fixture(scope="session")
def advice(figures: Figures) -> list[Advice]:
    """What follows from it."""
    return advise(figures, moment)


def moment(at: float) -> str:
    """Write a time in UTC."""
    return time.strftime("%H:%M", time.gmtime(at))
