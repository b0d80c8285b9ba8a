"""What the simulator says of itself: ``make sim`` begins with it, and then runs seeds."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.simulation.cluster import run_seed
from tests.simulation.faults import KINDS
from tests.simulation.knobs import draw_knobs
from tests.simulation.mixes import INSTALLED, MIXES
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
def test_every_mix_promises_only_what_holds(mix: str) -> None:
    """Endless commands come where they can be made to give way, and leave users room in the table."""
    for seed in range(200):
        knobs, habits = MIXES[mix](random.Random(f"{seed}/mix"), draw_knobs(random.Random(seed)))
        assert not knobs.loops or (knobs.quantum_s > 0 and knobs.max_demoted > 0)
        assert knobs.pending_max > 2 * knobs.loops
        assert knobs.policy in habits.policies
        assert set(habits.policies) <= set(INSTALLED)


def test_a_seed_has_one_story() -> None:
    """In every process: no hash, of a text or of where something lies in memory, decides what happens."""
    run = "run_seed(10, 'scarce', hashing=True)[0].trace.sum"
    program = f"from tests.simulation.cluster import run_seed; print({run})"
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": hashing},
            cwd=FOLDER.parents[1],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hashing in ("0", "1")
    }
    assert len(told) == 1
    assert told != {"0\n"}


def test_a_report_tells_how_to_run_a_seed_again() -> None:
    """With its mix, without which the seed means another story."""
    found = report_of(*run_seed(1))
    report = RunReport()
    report.add(msgspec.structs.replace(found, mix="unruly", invariant="no_core_raises"))
    assert "--mix unruly --seed 1 --trace" in report.lines(1.0)[-3]


def test_the_catalogue_of_invariants_is_whole() -> None:
    """Every invariant that is checked is in the catalogue, and every one in the catalogue is checked."""
    text = "\n".join(path.read_text() for path in FOLDER.glob("*.py") if path.name != "violations.py")
    checked = set(re.findall(r'"([a-z]+(?:_[a-z]+)+)"', text))
    assert set(INVARIANTS) <= checked
    used = set(re.findall(r'(?:Violation\(|demand\([^"]*?|fits, |gone, )"([a-z]+(?:_[a-z]+){2,})"', text))
    assert used <= set(INVARIANTS)
