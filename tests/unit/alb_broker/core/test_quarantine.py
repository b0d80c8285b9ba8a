"""Who is a black hole, and who is not."""

from __future__ import annotations

import pytest

from alb_broker.core.likeness import Failing
from alb_broker.core.quarantine import (
    FAILED_KEPT,
    KINS_MAX,
    QUARANTINE_S,
    QUARANTINE_S_MAX,
    WINDOW_S,
    Ward,
)
from alb_core.quarantines import Quarantine

KIN = ("ann", "sim")


def fail(
    ward: Ward, worker: str, *tasks: str, at: float = 1.0, kin: Failing = KIN
) -> dict[str, Quarantine | None]:
    """Let tasks fail on one of four workers; returns what the last one changed."""
    changed: dict[str, Quarantine | None] = {}
    for task in tasks:
        changed = ward.on_failure(worker, kin, task, at, 4)
    return changed


def until(changed: dict[str, Quarantine | None], worker: str = "w1") -> float:
    """Return when a worker's new quarantine ends."""
    quarantine = changed[worker]
    assert quarantine is not None
    return quarantine.until


def test_a_worker_that_fails_what_succeeds_elsewhere_is_shut() -> None:
    """Three different tasks; the success may come before the failures, or after."""
    before, after = Ward(), Ward()
    before.on_success("w2", KIN, 0.0, 4)
    assert fail(before, "w1", "a", "b") == {}
    assert until(fail(before, "w1", "c")) == 1.0 + QUARANTINE_S
    assert fail(after, "w1", "a", "b", "c") == {}
    assert until(after.on_success("w2", KIN, 2.0, 4)) == 2.0 + QUARANTINE_S


def test_tasks_that_fail_everywhere_are_to_blame_themselves() -> None:
    """Nobody succeeds with them, so no worker is shut, however many fail."""
    ward = Ward()
    for worker in ("w1", "w2", "w3"):
        assert fail(ward, worker, *"abcdefgh") == {}


@pytest.mark.parametrize(
    "suspicious",
    [
        lambda ward: fail(ward, "w1", "a", "a", "a", "b"),
        lambda ward: fail(ward, "w1", "a", "b", "c", kin=("ann", "other")),
        lambda ward: fail(ward, "w1", "a", "b", "c", at=WINDOW_S + 1.0),
        lambda ward: fail(ward, "w1", "a", "b", at=-WINDOW_S) | fail(ward, "w1", "c"),
        lambda ward: fail(ward, "w2", "a", "b", "c"),
    ],
)
def test_what_proves_nothing(suspicious: object) -> None:
    """One task again and again, another program, long ago, or where its like succeeds, too."""
    ward = Ward()
    ward.on_success("w2", KIN, 0.0, 4)
    assert suspicious(ward) == {}  # type: ignore[operator]


def test_a_success_on_it_clears_a_worker() -> None:
    """Its failures before that do not count any more."""
    ward = Ward()
    ward.on_success("w2", KIN, 0.0, 4)
    fail(ward, "w1", "a", "b")
    ward.on_success("w1", KIN, 1.0, 4)
    assert fail(ward, "w1", "c", "d") == {}


def test_each_time_is_twice_as_long_until_a_success() -> None:
    """A worker that is let out and fails again waits longer, up to a bound; whoever succeeds begins anew."""
    ward, at, times = Ward(), 0.0, []
    for _ in range(6):
        ward.on_success("w2", KIN, at, 4)
        end = until(fail(ward, "w1", "a", "b", "c", at=at))
        assert fail(ward, "w1", "d", "e", "f", at=at) == {}
        times.append(end - at)
        assert (ward.over(end - 0.1), ward.over(end), ward.over(end)) == ([], ["w1"], [])
        at = end
    assert times == [60.0, 120.0, 240.0, 480.0, 960.0, QUARANTINE_S_MAX]
    assert ward.on_success("w1", KIN, at, 4) == {"w1": None}
    ward.on_success("w2", KIN, at, 4)
    assert until(fail(ward, "w1", "a", "b", "c", at=at)) == at + QUARANTINE_S


def test_never_more_than_half_of_the_workers() -> None:
    """The third of four stays in service, and so does the only one of one."""
    ward = Ward()
    ward.on_success("w4", KIN, 0.0, 4)
    assert fail(ward, "w1", "a", "b", "c")
    assert fail(ward, "w2", "a", "b", "c")
    assert fail(ward, "w3", "a", "b", "c") == {}
    lone = Ward()
    lone.on_success("gone", KIN, 0.0, 1)
    assert all(lone.on_failure("w1", KIN, task, 1.0, 1) == {} for task in "abc")


def test_what_is_remembered_is_bounded() -> None:
    """Programs, tasks and workers that are no more take no room for good."""
    ward = Ward()
    for number in range(KINS_MAX + 10):
        ward.on_success("w2", ("ann", str(number)), 0.0, 4)
    assert len(ward._kins) == KINS_MAX
    fail(ward, "w1", *map(str, range(FAILED_KEPT + 10)))
    assert len(ward._kins[KIN].failed["w1"]) == FAILED_KEPT
    ward.on_success("w2", KIN, 1.0, 4)
    ward.forget({"w3"})
    assert not ward._blamed
    assert not ward._kins[KIN].succeeded
