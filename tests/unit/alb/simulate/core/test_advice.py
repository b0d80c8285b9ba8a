"""Which policy is advised, and when none is."""

from __future__ import annotations

from alb.simulate.core.advice import RIVALS_MAX, advise, rivals
from alb.simulate.core.figures import Failure, Figures, Summary


def found(policy: str, slowdown: float, makespan_s: float = 100.0, failures: int = 0) -> Figures:
    """Return what a policy made of a workload."""
    summary = Summary(mean=slowdown, median=1.0, p95=1.0, max=slowdown)
    return Figures(
        policy=policy,
        default=policy == "least-loaded",
        jobs=200,
        wait_s=summary,
        slowdown=summary,
        utilisation=0.5,
        fairness=1.0,
        makespan_s=makespan_s,
        wasted_s=0.0,
        policy_failures=failures,
        users=[],
        slice_s=1.0,
        waiting_series=[],
        busy_series=[],
        wait_percentiles=[],
    )


def test_a_better_policy_is_named_with_its_gain_and_its_command() -> None:
    """Against the one in force, whatever the default is; the evidence tells of all."""
    told = [found("least-loaded", 3.0), found("uniform", 4.0), found("fastest", 2.0)]
    again = {"uniform": [4.0, 4.2], "fastest": [2.0, 2.1], "least-loaded": [3.0, 3.1]}
    failed = [Failure(policy="endless", why="it hangs")]
    advice = advise(told, "uniform", ["a"], again, failed)
    assert "Policy fastest" in advice.text
    assert "2.00 to 2.10 instead of 4.00 to 4.20 (50 % less)" in advice.text
    assert advice.text.endswith("alb policy set fastest")
    assert all(
        name in advice.evidence
        for name in (
            "least-loaded:",
            "uniform:",
            "fastest:",
            "200 tasks",
            "; a",
            "endless left out: it hangs",
        )
    )


def test_luck_is_no_reason_to_switch() -> None:
    """What is better by two percent or less is not advised; nor is one when the best is in force."""
    for policies, in_force in (
        ([found("least-loaded", 3.0), found("fastest", 2.95)], "least-loaded"),
        ([found("least-loaded", 2.0), found("fastest", 3.0)], "least-loaded"),
        ([found("least-loaded", 2.0), found("fastest", 3.0)], "somebody's, not installed here"),
    ):
        advice = advise(policies, in_force, [], {})
        assert advice.text.startswith("No policy would have been better for this workload than least-loaded")


def test_what_other_draws_turn_round_is_no_reason_either() -> None:
    """KTH-SP2 at a load of 0.9, four seeds each: one of the default is better than one of the other."""
    now, other = [1335.0, 1104.0, 1461.0, 1283.0], [1279.0, 1077.0, 1193.0, 1060.0]
    told = [found("least-loaded", now[0]), found("best-fit", other[0])]
    advice = advise(told, "least-loaded", [], {"least-loaded": now, "best-fit": other})
    assert "beyond luck: best-fit had a mean slowdown of 1,060.00 to 1,279.00" in advice.text
    assert "alb policy set" not in advice.text


def test_a_policy_that_failed_is_not_advised() -> None:
    """Its figures are those of the default, which placed in its stead."""
    told = [found("least-loaded", 3.0), found("broken", 1.0, failures=7), found("fastest", 2.0)]
    assert rivals(told, told[0]) == ["fastest"]
    slowdowns = {"least-loaded": [3.0], "broken": [1.0], "fastest": [2.0]}
    advice = advise(told, "least-loaded", [], slowdowns)
    assert advice.text.endswith("alb policy set fastest")
    assert "broken: mean wait 1.0 s, slowdown 1.00, makespan 1m40s, and it failed" in advice.evidence


def test_those_that_are_clearly_worse_are_not_replayed_again() -> None:
    """It costs as much as the first time: only the best few that may be better are."""
    told = [found(f"p{number}", 2.0 + number / 10) for number in range(10)]
    assert rivals(told, told[9]) == [f"p{number}" for number in range(RIVALS_MAX)]
    assert rivals(told, told[0]) == []
