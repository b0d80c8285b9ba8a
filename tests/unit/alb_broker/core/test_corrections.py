"""What run times tell of speeds: like with like, beyond chance, and not for ever."""

from __future__ import annotations

import random

import pytest
from tests.broker_parts import request

from alb_broker.core.corrections import (
    CORRECTION_MAX,
    KINS_MAX,
    RUN_COUNTS_S,
    RUNS_KEPT,
    RUNS_MIN,
    WORKERS_MAX,
    Corrections,
    counts,
)
from alb_broker.core.likeness import alike_in_work
from alb_core.spec import TaskSpec
from alb_core.speeds import Strain

KIN = alike_in_work("", "ann", TaskSpec(command="make"), request())


def alike(_worker: str, _strain: Strain | None) -> float:
    """Let all workers say that they are ordinary machines."""
    return 1.0


def watched(runs: int = RUNS_MIN, **seconds: float) -> Corrections:
    """Return what came of so many runs of one command on each worker."""
    found = Corrections()
    for number in range(runs):
        for worker, wall_s in seconds.items():
            found.add(KIN, worker, float(number), wall_s)
    return found


def test_two_workers_that_say_the_same_and_are_not_meet_in_the_middle() -> None:
    """Nobody knows who is right; but afterwards the one counts as twice as fast as the other."""
    factors = watched(w1=10.0, w2=20.0).factors(alike, 10.0)
    assert factors["w1"] / factors["w2"] == pytest.approx(2.0)


def test_one_that_is_slow_among_many_is_the_one_that_is_wrong() -> None:
    """The usual is the median of the workers: the others stay what they say."""
    factors = watched(w1=10.0, w2=10.0, w3=10.0, w4=40.0).factors(alike, 10.0)
    assert factors == {"w4": pytest.approx(0.25)}


def test_what_a_worker_says_of_itself_is_heeded() -> None:
    """Twice as fast in half the time needs no correction; in the kind of work that the task strains."""
    found = Corrections()
    for strain, fast in ((None, 2.0), (Strain.FLOAT, 8.0)):
        kin = alike_in_work("", "ann", TaskSpec(command="make"), request(strain=strain))
        for _ in range(RUNS_MIN):
            found.add(kin, "w1", 0.0, 80.0)
            found.add(kin, "w2", 0.0, 80.0 / fast)

    def said(worker: str, strain: Strain | None) -> float:
        return 1.0 if worker == "w1" else 8.0 if strain is Strain.FLOAT else 2.0

    assert found.factors(said, 1.0) == {}


@pytest.mark.parametrize("runs", [1, RUNS_MIN - 1])
def test_a_few_runs_are_chance(runs: int) -> None:
    """However much they differ."""
    assert watched(runs, w1=1.0, w2=100.0).factors(alike, 10.0) == {}


def test_a_lone_worker_cannot_be_compared() -> None:
    """Nor with one that is not there any more."""
    assert watched(w1=10.0).factors(alike, 10.0) == {}
    gone = watched(w1=10.0, w2=20.0)
    assert gone.factors(lambda worker, _: 1.0 if worker == "w1" else None, 10.0) == {}


def test_run_times_that_vary_correct_little() -> None:
    """An array whose tasks differ by themselves says next to nothing of workers that are alike."""
    corrected = 0
    for seed in range(100):
        draws = random.Random(seed)
        found = Corrections()
        for number in range(RUNS_KEPT):
            for worker in ("w1", "w2", "w3"):
                found.add(KIN, worker, float(number), draws.lognormvariate(3.0, 1.2))
        corrected += any(not 2 / 3 < factor < 3 / 2 for factor in found.factors(alike, 100.0).values())
    assert corrected <= 10


def test_what_many_runs_agree_on_is_found_among_noise() -> None:
    """Four times as slow, under run times that vary by a third."""
    draws = random.Random(1)
    found = Corrections()
    for number in range(RUNS_KEPT):
        for worker, slow in (("w1", 1), ("w2", 1), ("w3", 1), ("w4", 4)):
            found.add(KIN, worker, float(number), 10 * slow * draws.lognormvariate(0.0, 0.3))
    factors = found.factors(alike, 100.0)
    assert factors["w4"] < 0.5
    assert all(0.7 < factor < 1.4 for worker, factor in factors.items() if worker != "w4")


def test_a_run_counts_for_an_hour() -> None:
    """Then the measured speed holds again: the machine may be another one by now."""
    found = watched(w1=10.0, w2=20.0)
    assert found.factors(alike, RUN_COUNTS_S)
    assert found.factors(alike, RUN_COUNTS_S + 100.0) == {}


def test_a_correction_has_bounds() -> None:
    """A worker that seems to be a thousand times as slow has another trouble."""
    factors = watched(w1=1.0, w2=1.0, w3=1e6).factors(alike, 10.0)
    assert factors == {"w3": 1 / CORRECTION_MAX}


def test_likes_and_workers_are_bounded() -> None:
    """The newest stay."""
    found = Corrections()
    for number in range(2 * KINS_MAX):
        found.add(alike_in_work("", "ann", TaskSpec(command=f"make {number}"), request()), "w1", 0.0, 1.0)
    for number in range(2 * WORKERS_MAX):
        for _ in range(2 * RUNS_KEPT):
            found.add(KIN, f"w{number}", 0.0, 1.0)
    assert len(found._kins) == KINS_MAX
    assert sum(map(len, found._kins[KIN].values())) == WORKERS_MAX * RUNS_KEPT


def test_only_runs_that_computed_measure_a_machine() -> None:
    """Not those that waited, nor those that are mostly start."""
    assert counts(wall_s=2.0, cpu_s=1.9)
    assert not counts(wall_s=0.5, cpu_s=0.5)
    assert not counts(wall_s=100.0, cpu_s=1.0)
