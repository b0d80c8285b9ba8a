"""Leaving: each stage is over when its work is done or its time is up."""

from __future__ import annotations

import pytest

from alb_worker.core.departure import DELETE_S_MAX, KILL_S_MAX, REPORT_S_MAX, SAVE_S_MAX, Departure, Stage


@pytest.mark.parametrize(
    ("stage", "state", "following"),
    [
        (Stage.KILLING, {"live": 0}, Stage.REPORTING),
        (Stage.REPORTING, {"idle": True}, Stage.DELETING),
        (Stage.DELETING, {"deleting": False}, Stage.GONE),
        (Stage.REPLACED, {"live": 0}, Stage.GONE),
    ],
)
def test_a_stage_is_over_when_its_work_is_done(stage: Stage, state: dict[str, int], following: Stage) -> None:
    """Commands gone, reports acknowledged, node deleted: then the next stage, and not before."""
    busy = {"live": 1, "idle": False, "deleting": True}
    departure = Departure()
    departure.enter(0.0, stage)
    assert departure.due(0.1, **busy) is None  # type: ignore[arg-type]
    assert departure.due(0.1, **busy | state) is following  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stage", "bound", "following"),
    [
        (Stage.KILLING, KILL_S_MAX, Stage.REPORTING),
        (Stage.REPORTING, REPORT_S_MAX, Stage.DELETING),
        (Stage.DELETING, DELETE_S_MAX, Stage.GONE),
        (Stage.REPLACED, KILL_S_MAX, Stage.GONE),
    ],
)
def test_a_stage_is_over_when_its_time_is_up(stage: Stage, bound: float, following: Stage) -> None:
    """Nothing that does not answer can keep the worker from ending."""
    departure = Departure()
    departure.enter(5.0, stage)
    assert departure.due(5.0 + bound - 0.01, live=1, idle=False, deleting=True) is None
    assert departure.due(5.0 + bound, live=1, idle=False, deleting=True) is following


def test_a_worker_that_stays_has_nothing_due() -> None:
    """Without being asked, no stage follows; leaving stops new work, only the last stages are silent."""
    departure = Departure()
    assert departure.due(1e9, live=0, idle=True, deleting=False) is None
    assert not departure.stopping
    departure.enter(0.0, Stage.KILLING)
    assert departure.stopping
    assert not departure.silent
    departure.enter(0.0, Stage.REPLACED)
    assert departure.silent


def test_the_last_checkpoints_get_more_time() -> None:
    """Killing is over later where something is being saved."""
    departure = Departure()
    departure.enter(0.0, Stage.KILLING, saves=True)
    busy = {"live": 1, "idle": False, "deleting": False}
    assert departure.due(KILL_S_MAX, **busy) is None  # type: ignore[arg-type]
    assert departure.due(KILL_S_MAX + SAVE_S_MAX, **busy) is Stage.REPORTING  # type: ignore[arg-type]
