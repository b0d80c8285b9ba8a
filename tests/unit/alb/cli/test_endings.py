"""How `alb status` tells of a task's end: times, usage, limits."""

from __future__ import annotations

from typing import Any

import pytest
from tests.broker_parts import make_attempt, record

from alb.cli.endings import show_ending
from alb_core.tasks import AttemptState, Result, Stream, TaskState


def told(capfd: pytest.CaptureFixture[str], **fields: Any) -> dict[str, str]:
    """Return the lines about a task that was submitted at 1000 and placed at 1002.5, by their first word."""
    over = make_attempt(2, state=AttemptState.OVER, placed=1002.5)
    result = Result(**{"state": TaskState.SUCCEEDED, "exit_code": 0, "attempt": 2, "worker": "w1", **fields})
    show_ending(record(1, over, submitted=1000.0, state=result.state, result=result))
    return {line.split()[0]: line for line in capfd.readouterr().out.splitlines()}


def test_times_and_usage_are_told(capfd: pytest.CaptureFixture[str]) -> None:
    """How long it was queued, waited on its worker, and ran; what it took of the machine."""
    lines = told(
        capfd,
        started=1003.0,
        wall_s=2.0,
        cpu_s=1.5,
        memory_bytes=5 << 20,
        read_bytes=4096,
        written_bytes=1 << 20,
    )
    assert "placed after 2.500 s, started 0.500 s later, at " in lines["times"]
    assert lines["usage"].endswith("2.000 s wall, 1.500 s cpu, 5.0 MiB peak, 4.0 KiB read, 1.0 MiB written")
    assert lines.keys() == {"result", "times", "usage", "output"}


def test_a_broken_limit_is_named_as_its_option(capfd: pytest.CaptureFixture[str]) -> None:
    """With what held the task to it; a limit of a later version by its own name."""
    lines = told(capfd, state=TaskState.LIMIT, limit="processes", mechanism="cgroup2")
    assert (lines["limit"], lines["held"]) == (
        "limit     it broke that of its processes (--processes)",
        "held by   cgroup2",
    )
    assert "of its moons" in told(capfd, state=TaskState.LIMIT, limit="moons")["limit"]


def test_what_never_started_has_no_times(capfd: pytest.CaptureFixture[str]) -> None:
    """Cancelled in the queue, or never started at its worker."""
    assert "times" not in told(capfd, state=TaskState.CANCELLED, attempt=0, worker="")


def test_output_that_nobody_delivered_is_not_said_to_be_empty(capfd: pytest.CaptureFixture[str]) -> None:
    """What a lost attempt wrote is gone, and how much that was is not known."""
    lines = told(capfd, state=TaskState.LOST, attempt=0, worker="")
    assert lines["output"].startswith("output    attempt 2 on w1 delivered none; what is kept")
    assert "usage" not in lines


def test_an_attempt_that_is_not_remembered_leaves_the_start(capfd: pytest.CaptureFixture[str]) -> None:
    """A record keeps the newest attempts only."""
    assert "started 1970-01-01" in told(capfd, attempt=1, started=86_400.0 / 2)["times"]


def test_output_that_is_not_whole_is_called_so(capfd: pytest.CaptureFixture[str]) -> None:
    """What the disk of the worker had no room for is gone, and nothing else would tell."""
    lines = told(capfd, stdout=Stream.of(b"a", 1, truncated=True), stderr=Stream.of(b"bc", 2))
    assert lines["output"].startswith(
        "output    1 bytes (its worker had no room for more) stdout, 2 bytes stderr ("
    )
