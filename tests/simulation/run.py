"""Runs seeds: ``python -m tests.simulation --seeds 1000``; one again, with its story: ``--seed 17 --trace``.

Exits with 1 when an invariant was broken, a seed did not repeat itself, or a kind of fault never struck.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable
from itertools import product
from typing import Final

from tests.simulation.cluster import run_seed
from tests.simulation.mixes import HEAVIER, MIXES, USUAL
from tests.simulation.report import RunReport, SeedReport, report_of

TWICE_EVERY: Final = 40
#: One seed of so many is run twice, and both stories are compared.


def simulate(seed: int, mix: str = USUAL) -> SeedReport:
    """Run a seed of a mix, some twice."""
    if seed % TWICE_EVERY:
        return report_of(*run_seed(seed, mix))
    first, second = (report_of(*run_seed(seed, mix, hashing=True)) for _ in range(2))
    if first.story != second.story and not first.invariant:
        return SeedReport(
            seed=seed,
            mix=mix,
            events=first.events,
            faults=first.faults,
            counts=first.counts,
            liveness_s=first.liveness_s,
            story=first.story,
            invariant="a_seed_repeats_itself",
            text=f"two runs of one seed differ: {first.events} and {second.events} events",
        )
    return first


def _simulate(job: tuple[int, str]) -> SeedReport:
    return simulate(*job)


def run(seeds: range, mixes: Iterable[str], jobs: int) -> bool:
    """Run seeds of mixes in parallel and print what they did; returns whether all is well."""
    report = RunReport()
    began = time.monotonic()
    with multiprocessing.Pool(jobs) as pool:
        for seed_report in pool.imap_unordered(_simulate, product(seeds, mixes), chunksize=5):
            report.add(seed_report)
            report.repeated += not seed_report.seed % TWICE_EVERY
    print("\n".join(report.lines(time.monotonic() - began)))  # noqa: T201
    return report.passed


def replay(seed: int, mix: str, *, trace: bool) -> bool:
    """Run one seed, with its story if wanted; returns whether all is well."""
    cluster, violation = run_seed(seed, mix, printing=trace)
    print(f"seed {seed}: {cluster.knobs} {cluster.habits}")  # noqa: T201
    report = RunReport()
    report.add(report_of(cluster, violation))
    print("\n".join(report.lines(1.0)[1:]))  # noqa: T201
    return violation is None


def fix_hashing() -> None:
    """Start this program again where strings hash anew in every process: sets would not keep their order."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        environment = os.environ | {"PYTHONHASHSEED": "0"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 (no shell wanted)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--seed", type=int, help="run only this one")
    kinds = sorted((*MIXES, HEAVIER))
    parser.add_argument("--mix", choices=kinds, default=USUAL, help="of what: see mixes.py")
    parser.add_argument("--trace", action="store_true", help="with --seed: print its story")
    parser.add_argument("--mutants", action="store_true", help="plant defects instead, and see each caught")
    parser.add_argument("--only", default="", help="with --mutants: those whose name contains this")
    late = "with --mutants: Unix time after which no further one is hunted"
    parser.add_argument("--until", type=float, default=float("inf"), help=late)
    arguments = parser.parse_args()
    if arguments.seed is not None and arguments.mix not in MIXES:
        parser.error(f"--seed runs a seed of one mix: {', '.join(sorted(MIXES))}")
    fix_hashing()
    if arguments.mutants:
        from tests.simulation.mutants import hunt_all  # noqa: PLC0415 (it imports this module)

        passed = hunt_all(arguments.seeds, arguments.jobs, arguments.only, arguments.until)
    elif arguments.seed is not None:
        passed = replay(arguments.seed, arguments.mix, trace=arguments.trace)
    else:
        seeds = range(arguments.start, arguments.start + arguments.seeds)
        mixes = [arguments.mix] if arguments.mix in MIXES else [mix for mix in MIXES if mix != USUAL]
        passed = run(seeds, mixes, arguments.jobs)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
