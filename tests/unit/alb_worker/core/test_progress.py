"""How far attempts have come, as heartbeats tell it."""

from __future__ import annotations

from alb_core.increments import Line
from alb_core.messages import AttemptId, AttemptProgress
from alb_worker.core.progress import PROGRESS_A_BEAT, Progress

A = AttemptId("a", 1)


def test_the_newest_is_told_once() -> None:
    """Increments add up, the newest step counts, and what was told is told again only when it has grown."""
    progress = Progress()
    progress.note(A, [Line("step", "1"), Line("loss", "0.5")])
    progress.note(A, [Line("step", "2")])
    assert progress.take() == (AttemptProgress(attempt=A, increments=3, step=2),)
    assert progress.take() == ()
    progress.note(A, [Line("", "x")])
    assert progress.take() == (AttemptProgress(attempt=A, increments=4, step=2),)


def test_a_heartbeat_carries_a_few() -> None:
    """The others' turn comes with the next ones."""
    progress = Progress()
    attempts = [AttemptId(f"{n:02d}", 1) for n in range(PROGRESS_A_BEAT + 1)]
    for attempt in attempts:
        progress.note(attempt, [Line("", "x")])
    first = [each.attempt for each in progress.take()]
    progress.note(attempts[0], [Line("", "y")])
    assert first == attempts[:-1]
    assert [each.attempt for each in progress.take()] == [attempts[-1], attempts[0]]


def test_another_leader_is_told_again() -> None:
    """Also what has not moved since: a straggler that stands still is one."""
    progress = Progress()
    progress.note(A, [Line("step", "1")])
    first = progress.take()
    progress.tell_again()
    assert progress.take() == first
    assert progress.take() == ()


def test_what_is_over_is_forgotten() -> None:
    """Nothing of it is told or kept."""
    progress = Progress()
    progress.note(A, [Line("", "x")])
    progress.forget(A)
    assert progress.take() == ()
