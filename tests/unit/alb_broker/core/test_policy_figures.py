"""What tasks felt of a choice: means of two tallies."""

from __future__ import annotations

from alb_broker.core.policy_figures import SHORT_S, PolicyFigures


def test_waits_and_slowdowns_are_means() -> None:
    """A short task counts as if it ran longer, and nothing is quicker than itself."""
    figures = PolicyFigures()
    figures.on_placed(2.0)
    figures.on_placed(4.0)
    figures.on_ended(placed=20.0, waiting_since=0.0, finished=40.0)
    figures.on_ended(placed=1.0, waiting_since=0.0, finished=1.0 + SHORT_S / 10)
    now, before = figures.lines()
    assert (now.placed, now.waited_s, now.ended, now.slowdown) == (2, 3.0, 2, 1.5)
    assert (before.placed, before.ended) == (0, 0)


def test_a_task_counts_for_the_choice_that_placed_it() -> None:
    """Though it ends under another one."""
    figures = PolicyFigures()
    figures.on_placed(1.0)
    figures.begin(100.0)
    figures.on_placed(5.0)
    figures.on_ended(placed=90.0, waiting_since=50.0, finished=110.0)
    figures.on_ended(placed=100.0, waiting_since=100.0, finished=120.0)
    now, before = figures.lines()
    assert (now.placed, now.waited_s, now.ended, now.slowdown) == (1, 5.0, 1, 1.0)
    assert (before.placed, before.waited_s, before.ended, before.slowdown) == (1, 1.0, 1, 3.0)
