"""What the simulator says of itself: ``make sim`` begins with it, and then runs seeds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.simulation.cluster import run_seed
from tests.simulation.faults import KINDS
from tests.simulation.mixes import MIXES
from tests.simulation.report import RunReport, report_of
from tests.simulation.violations import INVARIANTS

FOLDER = Path(__file__).parent


def test_a_report_fails_when_a_kind_of_fault_never_strikes() -> None:
    """A long run in which some kind of fault took no effect does not pass."""
    report = RunReport()
    report.add(report_of(*run_seed(1)))
    assert report.passed
    report.seeds = 1000
    assert not report.passed
    report.faults.update(dict.fromkeys(KINDS, 1))
    assert report.passed


@pytest.mark.parametrize("mix", sorted(MIXES))
def test_every_mix_runs(mix: str) -> None:
    """A seed of each keeps every invariant, and says how to run it again."""
    report, seed_report = RunReport(), report_of(*run_seed(1, mix))
    report.add(seed_report)
    assert report.passed
    report.broken.append(seed_report)
    assert f"--mix {mix} --seed 1" in "\n".join(report.lines(1.0))


def test_the_catalogue_of_invariants_is_whole() -> None:
    """Every invariant that is checked is in the catalogue, and every one in the catalogue is checked."""
    text = "\n".join(path.read_text() for path in FOLDER.glob("*.py") if path.name != "violations.py")
    checked = set(re.findall(r'"([a-z]+(?:_[a-z]+)+)"', text))
    assert set(INVARIANTS) <= checked
    used = set(re.findall(r'(?:Violation\(|demand\([^"]*?|fits, |gone, )"([a-z]+(?:_[a-z]+){2,})"', text))
    assert used <= set(INVARIANTS)
