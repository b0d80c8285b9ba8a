"""What tasks felt of a choice: means of two tallies."""

from __future__ import annotations

from alb_broker.core.policy_figures import SHORT_S, PolicyFigures


def test_waits_and_slowdowns_are_means() -> None:
    """A short task counts as if it ran longer, and nothing is quicker than itself."""
    figures = PolicyFigures("mine", 0.0)
    figures.on_placed("mine", 2.0)
    figures.on_placed("mine", 4.0)
    figures.on_ended("mine", placed=20.0, waiting_since=0.0, finished=40.0)
    figures.on_ended("mine", placed=1.0, waiting_since=0.0, finished=1.0 + SHORT_S / 10)
    now, before = figures.lines()
    assert (now.placed, now.waited_s, now.ended, now.slowdown) == (2, 3.0, 2, 1.5)
    assert (before.placed, before.ended) == (0, 0)


def test_a_task_counts_for_the_choice_that_placed_it() -> None:
    """Though it ends under another one."""
    figures = PolicyFigures("first", 0.0)
    figures.on_placed("first", 1.0)
    figures.begin("second", 100.0)
    figures.on_placed("second", 5.0)
    figures.on_ended("first", placed=90.0, waiting_since=50.0, finished=110.0)
    figures.on_ended("second", placed=100.0, waiting_since=100.0, finished=120.0)
    now, before = figures.lines()
    assert (now.placed, now.waited_s, now.ended, now.slowdown) == (1, 5.0, 1, 1.0)
    assert (before.placed, before.waited_s, before.ended, before.slowdown) == (1, 1.0, 1, 3.0)


def test_what_others_placed_counts_for_no_choice() -> None:
    """The one before the last, the default in a failing one's stead, a task's own vector, another leader."""
    figures = PolicyFigures("first", 10.0)
    figures.begin("second", 100.0)
    figures.begin("third", 200.0)
    figures.on_placed("first", 1.0)
    for policy, placed in (
        ("first", 50.0),
        ("second", 50.0),
        ("first", 150.0),
        ("second", 250.0),
        ("third", 5.0),
    ):
        figures.on_ended(policy, placed=placed, waiting_since=placed, finished=300.0)
    assert [(line.placed, line.ended) for line in figures.lines()] == [(0, 0), (0, 0)]
    figures.on_ended("second", placed=150.0, waiting_since=150.0, finished=300.0)
    figures.on_ended("third", placed=250.0, waiting_since=250.0, finished=300.0)
    assert [line.ended for line in figures.lines()] == [1, 1]
