"""Which policy is advised, and when none is."""

from __future__ import annotations

from alb.simulate.core.advice import advise
from alb.simulate.core.figures import Figures, Summary


def found(policy: str, slowdown: float, makespan_s: float = 100.0) -> Figures:
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
        policy_failures=0,
        users=[],
        slice_s=1.0,
        waiting_series=[],
        busy_series=[],
        wait_percentiles=[],
    )


def test_a_better_policy_is_named_with_its_gain_and_its_command() -> None:
    """Against the one in force, whatever the default is; the evidence tells of all."""
    advice = advise(
        [found("least-loaded", 3.0), found("uniform", 4.0), found("fastest", 2.0)], "uniform", ["a"]
    )
    assert "Policy fastest" in advice.text
    assert "2.00 instead of 4.00 (50 % less)" in advice.text
    assert advice.text.endswith("alb policy set fastest")
    assert all(
        name in advice.evidence for name in ("least-loaded:", "uniform:", "fastest:", "200 tasks", "; a")
    )


def test_luck_is_no_reason_to_switch() -> None:
    """What is better by two percent or less is not advised; nor is one when the best is in force."""
    for policies, in_force in (
        ([found("least-loaded", 3.0), found("fastest", 2.95)], "least-loaded"),
        ([found("least-loaded", 2.0), found("fastest", 3.0)], "least-loaded"),
        ([found("least-loaded", 2.0), found("fastest", 3.0)], "somebody's, not installed here"),
    ):
        advice = advise(policies, in_force, [])
        assert advice.text.startswith("No policy would have been better for this workload than least-loaded")
