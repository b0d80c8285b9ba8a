"""The installed policies compared on history."""

from __future__ import annotations

from tests.store_rows import attempt, finished, load

from alb.simulate.comparison import compare
from alb.simulate.core.history import History

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
