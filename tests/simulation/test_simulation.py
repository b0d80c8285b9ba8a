"""What the simulator says of itself: ``make sim`` begins with it, and then runs seeds."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.broker_parts import make_task
from tests.simulation.array_users import draw_array
from tests.simulation.cluster import Cluster, run_seed
from tests.simulation.faults import KINDS
from tests.simulation.knobs import draw_knobs
from tests.simulation.mixes import INSTALLED, MIXES
from tests.simulation.report import RunReport, report_of
from tests.simulation.violations import INVARIANTS, Told, Violation

from alb_core import znodes
from alb_core.arrays import ArrayLine
from alb_core.drains import Drain
from alb_core.messages import ArrayMoved, SubmitArray
from alb_core.tasks import TaskState
from alb_core.znodes import DrainedNode

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


def test_a_wish_to_undrain_counts_until_the_table_has_it() -> None:
    """Writes of earlier wishes may reach the table between the two, and placements with them."""

    def drained(**since: float) -> bytes:
        return znodes.encode(DrainedNode(workers={name: Drain(since=at) for name, at in since.items()}))

    table = Cluster(1).invariants.table
    table._on_drained(drained(w1=1.0, w2=1.0, w3=1.0))
    table.on_undrain(1, ("w1", "w2"), at=5.0)
    table._on_drained(drained(w1=1.0, w2=1.0))
    assert table._undrains == {(1, "w1"): 5.0, (1, "w2"): 5.0}
    table._on_drained(drained(w1=6.0, w3=6.0))
    assert not table._undrains, "it was put back, or drained anew"


def test_only_who_made_a_task_may_not_have_known_it_when_it_was_asked() -> None:
    """Its answer may come when the next leader has claimed; that one's may not."""
    invariants = Cluster(1).invariants
    invariants.table.live["t"] = make_task(1).record
    invariants.table.created_in["t"] = 1
    invariants.table.epoch = 2
    invariants.speech.accepted.add("t")
    invariants.speech._check_gone("t", Told("b1 said gone"), 1)
    with pytest.raises(Violation, match="no_accepted_task_is_called_gone"):
        invariants.speech._check_gone("t", Told("b2 said gone"), 2)


def test_a_user_of_an_array_takes_a_word_of_it_for_its_acceptance() -> None:
    """As clients do: Accepted may be lost, and what is acknowledged may leave the table and be made again."""
    cluster = Cluster(1, "arrays")
    cluster._populate()
    (user,) = cluster.array_users
    user.start()
    job = draw_array(random.Random(1), 1)
    user.jobs, job.wanted = {job.id: job}, True
    sent: list[Any] = []
    user._send = sent.append  # type: ignore[method-assign]
    user._go_on(job)
    line = ArrayLine(id=job.id, user="ann", state=TaskState.RUNNING, total=1)
    user._on_said(user._link, ArrayMoved(array=line))  # type: ignore[arg-type]
    user._go_on(job)
    assert [type(message) for message in sent].count(SubmitArray) == 1


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
