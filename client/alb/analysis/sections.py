"""What a report shows, section by section, as tables of texts: the same for a terminal and for a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from alb.analysis.core.figures import Figures, Group, Slow
from alb.analysis.core.words import count, seconds, share, size
from alb_core.copies import OUTRUN

SHOWN: Final = 12
#: Lines of a table.
WORKERS_SHOWN: Final = 48
LINES_MAX: Final = 26
#: Of the table of arrivals.

Moment = Callable[[float], str]
#: Writes a time for people.


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table of texts."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    sides: str
    #: A letter a column, on which side its cells stand: ``l`` or ``r``.


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a report."""

    title: str
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    #: Sentences below the tables.
    plot: str = ""
    #: Which plot belongs to it: a name of ``plots.PLOTS``.


def summary(figures: Figures, moment: Moment) -> list[str]:
    """Return the sentences above everything."""
    lines = [f"{count(figures.all.tasks, 'task')} of {figures.source}"]
    if figures.all.tasks or figures.samples:
        lines.append(
            f"from {moment(figures.begin)} to {moment(figures.end)}; "
            f"{count(figures.attempts, 'attempt')}, {count(figures.samples, 'load sample')}"
        )
    if figures.states:
        lines.append(", ".join(f"{number:,} {state}" for state, number in figures.states.items()))
    return lines


def sections(figures: Figures, moment: Moment) -> Iterator[Section]:
    """Return the parts of a report that have something to show."""
    if figures.all.tasks:
        yield _arrivals(figures, moment)
        yield _groups(figures, "user", figures.users, figures.users_left_out)
        yield _groups(figures, "command", figures.commands, figures.commands_left_out)
        yield _asked(figures)
    if figures.workers:
        yield _workers(figures)
    if figures.all.tasks:
        yield _failures(figures)
        yield _slowest(figures, moment)
    if figures.attempts:
        yield _placement(figures)


def _arrivals(figures: Figures, moment: Moment) -> Section:
    """A line for each slice, or for several where there are many."""
    submitted = figures.submitted_series
    step = -(-len(submitted) // LINES_MAX)
    rows = []
    for first in range(0, len(submitted), step):
        part = slice(first, first + step)
        total = sum(submitted[part])
        waited = sum(w * n for w, n in zip(figures.wait_series[part], submitted[part], strict=True))
        rows.append(
            (
                moment(figures.begin + first * figures.slice_s),
                f"{total:,}",
                f"{sum(figures.finished_series[part]):,}",
                f"{sum(figures.failed_series[part]):,}",
                f"{max(figures.waiting_series[part]):,}",
                seconds(waited / total) if total else "",
            )
        )
    columns = ("FROM", "SUBMITTED", "ENDED", "FAILED", "WAITING", "MEAN WAIT")
    table = Table(columns=columns, rows=rows, sides="lrrrrr")
    title = f"Arrivals, by {seconds(step * figures.slice_s)}"
    return Section(title=title, tables=(table,), plot="arrivals")


def _groups(figures: Figures, noun: str, groups: Sequence[Group], left_out: int) -> Section:
    rows = [
        (
            group.name,
            f"{group.tasks:,}",
            share(group.failed_share),
            f"{group.run_s / 3600:,.1f}",
            *(seconds(value) for value in (group.wait.p50, group.wait.p90, group.wait.p99, group.wait.max)),
            *(seconds(value) for value in (group.run.p50, group.run.p90, group.run.p99, group.run.max)),
        )
        for group in [*groups[:SHOWN], figures.all]
    ]
    numbers = (
        "TASKS",
        "FAILED",
        "RUN HOURS",
        "WAIT p50",
        "p90",
        "p99",
        "max",
        "RUN p50",
        "p90",
        "p99",
        "max",
    )
    table = Table(columns=(noun.upper(), *numbers), rows=rows, sides="l" + "r" * len(numbers))
    title = f"Waits and run times by {noun}{_more(len(groups), left_out)}"
    return Section(title=title, tables=(table,), plot=f"times_by_{noun}")


def _asked(figures: Figures) -> Section:
    numbers = (
        "CPU HOURS",
        "USED",
        "OVER",
        "MEMORY p50",
        "PEAK p50",
        "p99",
        "max",
        "USED",
        "OVER",
        "LIMIT p50",
    )
    tables = tuple(
        Table(
            columns=(noun, *numbers),
            rows=[(group.name, *_asked_cells(group)) for group in [*groups[:SHOWN], figures.all]],
            sides="l" + "r" * len(numbers),
        )
        for noun, groups in (("USER", figures.users), ("COMMAND", figures.commands))
    )
    processors = (
        "CPU HOURS: processors reserved times run time, and how much of that was used; OVER: tasks that used "
        "more than they asked for."
    )
    memory = (
        "MEMORY: what was reserved; PEAK: of the largest process of a task, never below some 20 MiB; LIMIT: "
        "run time as a share of the time limit."
    )
    notes = (processors, memory)
    return Section(title="Asked for and used", tables=tables, notes=notes, plot="asked")


def _asked_cells(group: Group) -> tuple[str, ...]:
    asked = group.asked
    memory = ("-", "-") if not asked.memory_asking else (share(asked.memory_share), f"{asked.memory_over:,}")
    return (
        f"{asked.cpu_asked_s / 3600:,.1f}",
        share(asked.cpu_share) if asked.cpu_asked_s else "-",
        f"{asked.cpu_over:,}",
        size(asked.memory_asked.p50) if asked.memory_asking else "-",
        size(asked.memory.p50),
        size(asked.memory.p99),
        size(asked.memory.max),
        *memory,
        share(asked.limit_use.p50) if asked.limited else "-",
    )


def _failures(figures: Figures) -> Section:
    title = f"Failures: {figures.all.failed:,} of {count(figures.all.tasks, 'task')}"
    if not figures.all.failed:
        return Section(title=title)
    causes = [(cause, f"{number:,}") for cause, number in list(figures.causes.items())[:SHOWN]]
    tables = [Table(columns=("CAUSE", "TASKS"), rows=causes, sides="lr")]
    for noun, groups in (("BY USER", figures.users), ("BY COMMAND", figures.commands)):
        worst = sorted((g for g in groups if g.failed), key=lambda group: -group.failed)[:SHOWN]
        rows = [(g.name, f"{g.failed:,}", share(g.failed_share), _causes(g.causes)) for g in worst]
        tables.append(Table(columns=(noun, "FAILED", "OF ITS", "CAUSES"), rows=rows, sides="lrrl"))
    workers = sorted((w for w in figures.workers if w.failed), key=lambda worker: -worker.failed_share)[
        :SHOWN
    ]
    rows = [(w.worker, f"{w.failed:,}", share(w.failed_share), _causes(w.causes)) for w in workers]
    tables.append(Table(columns=("BY WORKER", "FAILED", "OF ITS", "CAUSES"), rows=rows, sides="lrrl"))
    return Section(title=title, tables=tuple(tables), plot="failures")


def _causes(causes: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {cause}" for cause, number in list(causes.items())[:3])


def _slowest(figures: Figures, moment: Moment) -> Section:
    tables = tuple(
        Table(
            columns=(title, "USER", "SUBMITTED", "WAITED", "RAN", "STATE", "WORKER", "COMMAND"),
            rows=[_slow(each, moment) for each in slow],
            sides="lllrrlll",
        )
        for title, slow in (("SLOWEST RUN", figures.slowest), ("LONGEST WAIT", figures.longest_waits))
        if slow
    )
    return Section(title="Slowest tails", tables=tables)


def _slow(slow: Slow, moment: Moment) -> tuple[str, ...]:
    return (
        slow.task,
        slow.user,
        moment(slow.submitted),
        seconds(slow.wait_s),
        seconds(slow.run_s),
        slow.state,
        slow.worker,
        slow.command,
    )


def _workers(figures: Figures) -> Section:
    """The use of each worker: measured against reserved."""
    rows = []
    for worker in figures.workers[:WORKERS_SHOWN]:
        measured: tuple[str, ...] = ("-",) * 5
        if worker.samples:
            shares = (worker.cpu, worker.reserved, worker.memory, worker.memory_max, worker.net)
            measured = tuple(share(value) for value in shares)
        broken = f"{worker.broken:,} ({seconds(worker.broken_s)})" if worker.broken else "0"
        rows.append((worker.worker, f"{worker.capacity_cpus:g}", f"{worker.tasks:,}", *measured, broken))
    columns = ("WORKER", "CPUS", "TASKS", "CPU", "RESERVED", "MEMORY", "max", "NET", "BROKEN OFF")
    table = Table(columns=columns, rows=rows, sides="lrrrrrrrr")
    title = f"Workers: measured and reserved, on average{_more(len(figures.workers), 0, WORKERS_SHOWN)}"
    note = (
        "BROKEN OFF: attempts that ended with the worker's loss or stop, evicted or preempted; "
        "how long each ran."
    )
    return Section(title=title, tables=(table,), notes=(note,), plot="workers")


def _placement(figures: Figures) -> Section:
    rows = [
        (
            policy.policy,
            f"{policy.attempts:,}",
            seconds(policy.waited.p50),
            seconds(policy.waited.p99),
            f"{policy.candidates:.1f}",
            share(policy.single, policy.attempts),
            share(policy.ahead, policy.attempts),
            share(policy.given_back, policy.attempts),
        )
        for policy in figures.policies[:SHOWN]
    ]
    columns = ("POLICY", "DECISIONS", "QUEUED p50", "p99", "CANDIDATES", "ONE ONLY", "AHEAD", "GIVEN BACK")
    causes = ", ".join(f"{number:,} {cause}" for cause, number in figures.attempt_causes.items())
    reruns = (
        f"{count(figures.rerun_tasks, 'task')} lost a worker ({figures.crashes:,} times in all); "
        f"{seconds(figures.lost_s)} of run time was in vain."
    )
    notes = [f"Attempts ended: {causes}.", reruns]
    outrun = figures.attempt_causes.get(OUTRUN, 0)
    if outrun:
        ran = f"{seconds(figures.outrun_s)} of run time was in vain"
        notes.append(f"{count(outrun, 'attempt')} beside another one of the task, which counted; {ran}.")
    table = Table(columns=columns, rows=rows, sides="lrrrrrrr")
    return Section(title="Placement, crashes and reruns", tables=(table,), notes=tuple(notes))


def _more(there: int, left_out: int, shown: int = SHOWN) -> str:
    beyond = there - shown + left_out
    return f" ({beyond:,} more are not shown)" if beyond > 0 else ""
