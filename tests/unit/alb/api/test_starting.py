"""What the keywords for retries and starts become."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from alb.api.future import TaskFuture
from alb.api.options import make_spec
from alb_core.errors import InvalidTask
from alb_core.spec import After, Dependency, Retry, Start

ONE, TWO, THREE = (f"{number:032x}" for number in (1, 2, 3))


def test_what_a_task_waits_for_is_said_in_many_ways() -> None:
    """A future, an id, a text with its kind; one alone or a list."""
    future = TaskFuture(ONE, lambda _: None, 0, lambda *_: [])
    spec = make_spec("x", {"after": [future, TWO, f"afternotok:{ONE},{THREE}"]})
    assert spec.start.dependencies == (
        Dependency(After.SUCCEEDED, ONE),
        Dependency(After.SUCCEEDED, TWO),
        Dependency(After.FAILED, ONE),
        Dependency(After.FAILED, THREE),
    )
    assert make_spec("x", {"after": future}).start == Start(dependencies=(Dependency(After.SUCCEEDED, ONE),))


@pytest.mark.parametrize(
    ("begin", "start"),
    [
        (None, Start()),
        (5, Start(begin=5.0)),
        (dt.datetime(1970, 1, 1, 0, 0, 7, tzinfo=dt.UTC), Start(begin=7.0)),
        (dt.timedelta(minutes=1), Start(delay_s=60.0)),
    ],
)
def test_a_beginning_is_a_moment_or_a_while(begin: Any, start: Start) -> None:
    """Absolute, or from its acceptance on."""
    assert make_spec("x", {"begin": begin}).start == start


@pytest.mark.parametrize(
    ("options", "retry"),
    [
        ({}, Retry()),
        ({"retries": 2, "retry_delay": 600}, Retry(times=2, delay_s=600, delay_s_max=600)),
        ({"retries": 2, "retry_delay": (1, 2)}, Retry(times=2, delay_s=1, delay_s_max=2)),
        (
            {"retries": 1, "retry_on": [75], "retry_memory": 1.5},
            Retry(times=1, exit_codes=(75,), memory_factor=1.5),
        ),
        ({"crash_limit": 0}, Retry(crash_limit=0)),
    ],
)
def test_retries_have_their_defaults(options: dict[str, Any], retry: Retry) -> None:
    """What is not said is as the specification has it; a long first delay lengthens the longest."""
    assert make_spec("x", options).retry == retry


@pytest.mark.parametrize("options", [{"retry_on": [1]}, {"after": ["soon:x"]}, {"after": [7]}])
def test_what_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    """With the error of a wrong option."""
    with pytest.raises(InvalidTask):
        make_spec("x", options)
