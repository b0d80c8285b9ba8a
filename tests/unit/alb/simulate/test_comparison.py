"""The installed policies compared on history."""

from __future__ import annotations

import pytest
from tests.store_rows import attempt, finished, load

from alb.simulate import runs
from alb.simulate.comparison import compare
from alb.simulate.core.history import History
from alb_core.choices import Choice
from alb_core.errors import ReplayBroken

BEGIN = 1_795_305_600.0


def history(*, loads: bool) -> History:
    """Return what forty tasks on one worker leave."""
    made = History()
    for number in range(40):
        at = BEGIN + 10.0 * number
        made.add(finished(f"{number}", submitted=at, finished=at + 50.0, wall_s=50.0, cpus=1.0))
        made.add(attempt(f"{number}", placed=at, policy="uniform"))
        if loads:
            made.add(load("w1", at))
    return made


def test_every_installed_policy_is_replayed() -> None:
    """On the workers of the load samples; on one worker no policy is better than another."""
    compared = compare(history(loads=True))
    assert {"least-loaded", "uniform"} <= {each.policy for each in compared.replays}
    assert compared.advice.text.startswith("No policy would have been better for this workload than uniform")
    (section,) = compared.sections
    assert len(section.tables[0].rows) == len(compared.replays)


def test_what_cannot_be_replayed_is_said() -> None:
    """Without load samples nobody knows the workers; without tasks there is no workload."""
    assert "load samples" in compare(history(loads=False)).advice.evidence
    assert "no task" in compare(History()).advice.evidence


def test_what_is_in_force_is_replayed_with_its_parameters() -> None:
    """As the leader says it; what nobody has here is passed over, and the default stands in."""
    chosen = Choice(policy="weighted", parameters={"cpu": 0.1})
    compared = compare(history(loads=True), chosen)
    assert "weighted cpu=0.1" in {each.policy for each in compared.replays}
    assert "better for this workload than weighted cpu=0.1" in compared.advice.text
    strange = compare(history(loads=True), Choice(policy="nobodys"))
    assert "better for this workload than least-loaded" in strange.advice.text


def test_a_policy_that_hangs_is_left_out_of_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are compared all the same; where none is left, that is said."""

    def no_replay(*_: object, **__: object) -> None:
        raise ReplayBroken("it hangs")

    run = runs.Policies.run
    monkeypatch.setattr(
        runs.Policies,
        "run",
        lambda self, trace, machines, name, **more: (
            no_replay() if name == "spread" else run(self, trace, machines, name, **more)
        ),
    )
    compared = compare(history(loads=True))
    assert "spread" not in {each.policy for each in compared.replays}
    assert "spread left out: it hangs" in compared.advice.evidence
    monkeypatch.setattr(runs.Policies, "run", no_replay)
    assert "least-loaded: it hangs" in compare(history(loads=True)).advice.evidence
