"""Time and randomness from the machine."""

from __future__ import annotations

from datetime import UTC, datetime

from alb_core import ids
from alb_core.io import clock


def test_new_ids_are_task_ids_and_differ() -> None:
    """An id can name a task; no two are the same."""
    made = {clock.new_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(ids.is_task_id(each) for each in made)


def test_wall_text_is_now_in_utc() -> None:
    """The text can be read back, and means now."""
    told = datetime.fromisoformat(clock.wall_text())
    assert abs((datetime.now(UTC) - told).total_seconds()) < 5


def test_seeds_differ() -> None:
    """Two processes do not draw the same numbers."""
    assert clock.random_seed() != clock.random_seed()


def test_monotonic_rises() -> None:
    """Time of events never goes back."""
    assert clock.monotonic() <= clock.monotonic()


def test_host_name_is_there() -> None:
    """A machine has a name."""
    assert clock.host_name()
