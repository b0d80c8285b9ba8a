"""The simulator in small: some seeds pass, a seed repeats itself, planted defects are caught.

``make sim`` runs a thousand seeds, ``make sim-mutants`` plants all defects.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.simulation.cluster import run_seed
from tests.simulation.faults import KINDS
from tests.simulation.mutants import CRASHED, MUTANTS, Mutant, planted
from tests.simulation.report import RunReport, report_of
from tests.simulation.violations import INVARIANTS

FOLDER = Path(__file__).parent
QUICK = ("cancel not recorded", "dispatch before commit", "adoption skipped", "capacity returned twice")
#: Mutants that fall within a few seeds.


@pytest.mark.parametrize("seed", range(12))
def test_a_seed_keeps_every_invariant(seed: int) -> None:
    """The real cores keep every invariant through a seed's faults, and every task ends."""
    cluster, violation = run_seed(seed)
    assert violation is None, f"{violation}\n" + "\n".join(cluster.trace.tail())
    assert cluster.invariants.table.counts["results"] > 0
    assert cluster.invariants.missing() == ""


def test_a_seed_repeats_itself() -> None:
    """Two runs of one seed tell the same story, event by event; another seed tells another."""
    sums = [run_seed(seed, hashing=True)[0].trace.sum for seed in (3, 3, 4)]
    assert sums[0] == sums[1] != sums[2]


@pytest.mark.parametrize(
    "mutant", [mutant for mutant in MUTANTS if mutant.name in QUICK], ids=lambda m: m.name
)
def test_a_planted_defect_is_caught(mutant: Mutant) -> None:
    """A defect in a core breaks a named invariant within a few seeds, and is gone afterwards."""
    with planted(mutant):
        broken = {violation.invariant for seed in range(12) if (violation := run_seed(seed)[1]) is not None}
    assert broken - {CRASHED}
    assert run_seed(0)[1] is None


def test_a_report_fails_when_a_kind_of_fault_never_strikes() -> None:
    """A long run in which some kind of fault took no effect does not pass."""
    report = RunReport()
    report.add(report_of(*run_seed(1)))
    assert report.passed
    report.seeds = 1000
    assert not report.passed
    report.faults.update(dict.fromkeys(KINDS, 1))
    assert report.passed


def test_the_catalogue_of_invariants_is_whole() -> None:
    """Every invariant that is checked is in the catalogue, and every one in the catalogue is checked."""
    text = "\n".join(path.read_text() for path in FOLDER.glob("*.py") if path.name != "violations.py")
    checked = set(re.findall(r'"([a-z]+(?:_[a-z]+)+)"', text))
    assert set(INVARIANTS) <= checked
    used = set(re.findall(r'(?:Violation\(|demand\([^"]*?|fits, |gone, )"([a-z]+(?:_[a-z]+){2,})"', text))
    assert used <= set(INVARIANTS)
