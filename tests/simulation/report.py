"""What a run of many seeds adds up to, and how it is told."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec
from tests.simulation.faults import KINDS

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.violations import Violation

SHOWN_VIOLATIONS: Final = 5
MANY_SEEDS: Final = 200
#: A run of so many seeds must have met every kind of fault.


class SeedReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one seed did."""

    seed: int
    mix: str
    events: int
    faults: dict[str, int]
    counts: dict[str, int]
    liveness_s: float
    #: Virtual time until everybody had what was promised.
    story: int
    #: Sum of the trace, 0 where it was not asked for.
    invariant: str = ""
    #: The one that was broken; empty: none.
    text: str = ""
    tail: tuple[str, ...] = ()


def report_of(cluster: Cluster, violation: Violation | None) -> SeedReport:
    """Sum up a seed that has run."""
    invariants = cluster.invariants
    counts = Counter(invariants.table.counts)
    counts["leader changes"] = max(0, counts.pop("claims", 0) - 1)
    counts.update(invariants.counted)
    counts.update(invariants.arrays.counts)
    counts["turns compared"] = invariants.turns.compared
    counts["ended in a policy"] = invariants.policies.ended
    counts["messages"] = cluster.network.counts["carried"]
    counts["starts"] = invariants.execution.count
    return SeedReport(
        seed=cluster.seed,
        mix=cluster.mix,
        events=cluster.timeline.happened,
        faults=dict(cluster.fault_counts),
        counts=dict(counts),
        liveness_s=max(0.0, cluster.timeline.now - cluster.knobs.safety_s),
        story=cluster.trace.sum,
        invariant=violation.invariant if violation is not None else "",
        text=violation.text if violation is not None else "",
        tail=tuple(cluster.trace.tail()) if violation is not None else (),
    )


class RunReport:
    """What all seeds did."""

    def __init__(self) -> None:
        self.seeds = 0
        self.events = 0
        self.faults: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.liveness_s = 0.0
        self.repeated = 0  #: Seeds that were run twice.
        self.broken: list[SeedReport] = []

    def add(self, report: SeedReport) -> None:
        """Add a seed."""
        self.seeds += 1
        self.events += report.events
        self.faults.update(report.faults)
        self.counts.update(report.counts)
        self.liveness_s = max(self.liveness_s, report.liveness_s)
        if report.invariant:
            self.broken.append(report)

    @property
    def missing_faults(self) -> list[str]:
        """Return the kinds of faults that never took effect."""
        return [kind for kind in KINDS if not self.faults[kind]] if self.seeds >= MANY_SEEDS else []

    @property
    def passed(self) -> bool:
        """Whether nothing was broken and every fault was met."""
        return not self.broken and not self.missing_faults

    def lines(self, seconds: float) -> list[str]:
        """Return the report for people."""
        faults = ", ".join(f"{kind} {self.faults[kind]}" for kind in dict.fromkeys((*KINDS, *self.faults)))
        counts = ", ".join(f"{name} {count:,}" for name, count in sorted(self.counts.items()))
        told = [
            f"{self.seeds} seeds in {seconds:.1f} s ({self.seeds / seconds:.1f}/s), {self.events:,} events",
            f"faults: {faults}",
            f"counted: {counts}",
            f"longest liveness phase: {self.liveness_s:.1f} s; {self.repeated} seeds run twice to compare",
        ]
        told += [f"no fault of this kind in {self.seeds} seeds: {kind}" for kind in self.missing_faults]
        for report in sorted(self.broken, key=lambda report: report.seed)[:SHOWN_VIOLATIONS]:
            told += [
                "",
                f"seed {report.seed} broke {report.invariant}",
                f"  {report.text}",
                "  its last events:",
            ]
            told += [f"  {line}" for line in report.tail]
            told.append(
                f"  replay: python -m tests.simulation --mix {report.mix} --seed {report.seed} --trace"
            )
        if self.broken:
            names = Counter(report.invariant for report in self.broken)
            told += ["", f"{len(self.broken)} seeds broke an invariant: {dict(names)}"]
        return told
