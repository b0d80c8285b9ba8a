"""What a report of replays shows, as tables of texts: the same for a terminal and for a browser."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from alb.analysis.core.figures import Advice
from alb.analysis.core.words import count, seconds, share
from alb.analysis.sections import Section, Table
from alb.simulate.core.advice import Replayed, unable
from alb.simulate.core.figures import Failure, Figures, Summary, UserFigures
from alb.simulate.core.trace import Trace, offered_load
from alb_core.traces import Machine

USERS_SHOWN: Final = 12
LEGEND: Final = (
    "SLOWDOWN: bounded, (wait + run) / max(run, 10 s). USED: processor time of all workers until the last "
    "end. FAIRNESS: Jain's index of the users' mean slowdowns, 1 where all fare alike."
)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was replayed, where, and what that showed."""

    trace: Trace
    machines: list[Machine]
    found: list[Figures]
    failed: list[Failure] = []

    @property
    def cpus(self) -> float:
        """All processors."""
        return math.fsum(machine.capacity.cpus for machine in self.machines)

    @property
    def load(self) -> float:
        """What the trace offers, as a share of the machines; infinite where all comes at once."""
        return offered_load(self.trace.jobs, self.machines)


def summary(report: Report) -> list[str]:
    """Return the sentences above everything."""
    trace, machines, load = report.trace, report.machines, report.load
    speeds = sorted({machine.speed for machine in machines})
    told = f" of speeds {', '.join(f'{speed:g}' for speed in speeds)}" if speeds != [1.0] else ""
    offers = f"offering a load of {load:.2f}" if math.isfinite(load) else "all at once"
    users = len({job.user for job in trace.jobs})
    return [
        f"{count(len(trace.jobs), 'job')} of {count(users, 'user')} from {trace.source}, {offers}",
        f"on {count(len(machines), 'worker')}{told} with {report.cpus:g} cpus in all",
        *(f"note: {remark}" for remark in trace.remarks),
    ]


def as_values(report: Report) -> dict[str, object]:
    """Return what ``--json`` prints."""
    return {
        "source": report.trace.source,
        "jobs": len(report.trace.jobs),
        "workers": len(report.machines),
        "cpus": report.cpus,
        "load": report.load if math.isfinite(report.load) else None,
        "remarks": report.trace.remarks,
        "policies": report.found,
        "failed": report.failed,
    }


def sections(found: Sequence[Figures], failed: Sequence[Failure] = ()) -> Iterator[Section]:
    """Return the parts of a report."""
    yield policy_section(found, failed=failed)
    yield _users(found)


def policy_section(
    found: Sequence[Figures],
    title: str = "Policies",
    remarks: Sequence[str] = (),
    plot: str = "replays",
    failed: Sequence[Failure] = (),
) -> Section:
    """Return a line for each policy.

    Args:
        found: What each made of the trace.
        title: Of the section.
        remarks: Sentences below it.
        plot: That belongs to it; empty: none.
        failed: Of which there are no figures, and why.
    """
    waits = ("WAIT mean", "median", "p95", "max")
    slowdowns = ("SLOWDOWN mean", "median", "p95", "max")
    columns = ("POLICY", *waits, *slowdowns, "USED", "FAIRNESS", "MAKESPAN")
    rows = [
        (
            f"{each.policy} (default)" if each.default else each.policy,
            *(seconds(value) for value in _four(each.wait_s)),
            *(f"{value:,.2f}" for value in _four(each.slowdown)),
            share(each.utilisation),
            f"{each.fairness:.3f}",
            seconds(each.makespan_s),
        )
        for each in found
    ]
    notes = [LEGEND]
    for each in found:
        if each.policy_failures:
            notes.append(
                f"{each.policy} failed {count(each.policy_failures, 'time')}: the default placed instead, so "
                "its figures are not its own."
            )
        if each.wasted_s:
            notes.append(
                f"{each.policy}: {seconds(each.wasted_s)} of run time were broken off and done again."
            )
    notes += [f"{each.policy} could not be replayed: {each.why}." for each in failed]
    table = Table(columns=columns, rows=rows, sides="l" + "r" * (len(columns) - 1))
    return Section(title=title, tables=(table,), notes=(*remarks, *notes), plot=plot)


def _four(values: Summary) -> tuple[float, float, float, float]:
    return values.mean, values.median, values.p95, values.max


def _users(found: Sequence[Figures]) -> Section:
    """A line for each of those who used most: their mean slowdown under each policy."""
    by_policy = [{user.user: user for user in each.users} for each in found]
    most = found[0].users[:USERS_SHOWN] if found else []
    columns = ("USER", "JOBS", "CPU HOURS", *(each.policy for each in found))
    rows = [
        (
            user.user,
            f"{user.jobs:,}",
            f"{user.cpu_s / 3600:,.1f}",
            *(_fared(users.get(user.user)) for users in by_policy),
        )
        for user in most
    ]
    beyond = len(found[0].users) - len(most) if found else 0
    title = "Mean wait and slowdown by user" + (f" ({beyond:,} more are not shown)" if beyond else "")
    return Section(
        title=title, tables=(Table(columns=columns, rows=rows, sides="l" + "r" * (len(columns) - 1)),)
    )


def _fared(user: UserFigures | None) -> str:
    return f"{seconds(user.mean_wait_s)}, {user.mean_slowdown:,.1f}" if user is not None else "-"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The policies compared on a workload."""

    advice: Advice
    replays: list[Replayed] = []
    sections: tuple[Section, ...] = ()


NO_COMPARISON: Final = Comparison(advice=unable("nothing was replayed"))
