"""A whole day, whose features are known: the analysis finds them, and nothing that is not there."""

from __future__ import annotations

from tests.history_day import BEGIN, DEAD, FEATURES, HOUR_S, OVERLOAD, Day

from alb.analysis.core.figures import Advice, Figures


def test_a_seed_makes_one_day() -> None:
    """The same rows for a seed, others for another."""
    first, second, other = (list(Day(seed, 300).rows()) for seed in (1, 1, 2))
    assert first == second != other


def test_the_overload_is_found(figures: Figures, advice: list[Advice]) -> None:
    """Its time, and that processors were reserved by somebody who did not use them."""
    (overload,) = figures.overloads
    assert abs(overload.begin - BEGIN - OVERLOAD[0]) <= 2 * figures.slice_s
    assert 0 <= overload.end - BEGIN - OVERLOAD[1] <= 1.5 * HOUR_S
    assert overload.reserved > 0.85 > overload.cpu
    assert advice[0].topic == "overload"
    assert "reserved, but not all used" in advice[0].text


def test_each_feature_has_its_advice(advice: list[Advice]) -> None:
    """Over-asking, failing, under-asking, a bad machine: by name, and nobody else by that name."""
    said = "\n".join(each.text for each in advice)
    for sentence in (
        "User bob reserves more processors than it uses: ask for about 1.1 a task instead of 4.0",
        "User bob reserves more memory than it uses",
        "Command import --batch N *.xml fails often",
        "Tasks fail by exit 1 on worker w7",
    ):
        assert sentence in said, FEATURES
    for innocent in ("ann", "cid", "w1", "gzip", "unevenly", "no choice"):
        assert f" {innocent} " not in said


def test_the_dead_worker_is_seen(figures: Figures) -> None:
    """It has no samples while it was away, and what ran there ran again."""
    (dead,) = [worker for worker in figures.workers if worker.worker == DEAD[0]]
    middle = int((BEGIN + (DEAD[1] + DEAD[2]) / 2 - figures.begin) // figures.slice_s)
    assert dead.cpu_series[middle] == -1.0
    assert dead.cpu_series[0] >= 0
    assert dead.broken == figures.crashes == figures.attempt_causes["lost"] > 0


def test_sums_are_whole(figures: Figures) -> None:
    """Every task is counted once, by state, by user, by command, by worker and by time."""
    assert figures.all.tasks == sum(figures.states.values()) == 20_000
    for groups in (figures.users, figures.commands):
        assert len(groups) == 5
        assert sum(group.tasks for group in groups) == 20_000
        assert sum(group.failed for group in groups) == figures.all.failed
    assert sum(worker.tasks for worker in figures.workers) == 20_000
    assert sum(figures.submitted_series) == sum(figures.finished_series) == 20_000
    assert sum(figures.failed_series) == sum(figures.causes.values()) == figures.all.failed
    assert figures.waiting_series[-1] == 0
