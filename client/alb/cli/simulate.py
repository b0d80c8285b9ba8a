"""``alb simulate``: what each policy would have made of a workload."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from alb.cli import out
from alb.cli.analyze import drawing
from alb.cli.options import json_option
from alb.cli.replays import ReplayProgress
from alb.cli.statuses import FAILED_STATUS
from alb.cli.values import AT_MOST, DURATION, REPORT, SIZE, Number
from alb.simulate.report import Report, as_values, sections, summary
from alb_core import limits

if TYPE_CHECKING:
    from alb.simulate.core.trace import Trace
    from alb_core.traces import Machine

CPUS: Final = 16.0
MEMORY_A_CPU: Final = 4 * 1024**3
#: Of the workers of a replay, where neither the trace nor the command line says otherwise.
WORKERS_MAX: Final = 100_000
SPEED_MIN: Final = 0.001
#: As much slower than an ordinary machine as the fastest that there may be is faster.
TITLE: Final = "Policies in a replay"


class Speeds(click.ParamType["tuple[float, ...]"]):
    """Speeds of workers, with commas between; they come round in turn."""

    name = "speeds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Parse them, or fail with what is wrong."""
        if isinstance(value, tuple):
            return value
        try:
            speeds = tuple(float(word) for word in str(value).split(","))
        except ValueError:
            speeds = ()
        if not speeds or not all(SPEED_MIN <= speed <= limits.SPEED_MAX for speed in speeds):
            bounds = f"from {SPEED_MIN:g} to {limits.SPEED_MAX:g}"
            self.fail(f"{str(value)[:80]!r} are no speeds {bounds}; write for example 1,2,4", param, ctx)
        return speeds


@click.command()
@click.option(
    "--trace",
    "where",
    required=True,
    metavar="FILE|URL",
    help="A workload log in Standard Workload Format, or a dump (alb dump), gzip allowed, - is our standard "
    "input; or a results store.",
)
@click.option(
    "--policy",
    default="",
    metavar="A,B,…",
    help="Policies by name, perhaps NAME:K=V:K=V; all: every installed one.",
)
@click.option("--workers", type=click.IntRange(1, WORKERS_MAX), help="How many. Else those of the trace.")
@click.option("-c", "--cpus", type=Number(0, 1e6, min_open=True), help="Of each worker: 16.")
@click.option("--mem", "memory", type=SIZE, help="Of each worker: 4G for each of its cpus.")
@click.option("--speeds", type=Speeds(), help="Of the workers, those of the trace or others, in turn: 1,2,4.")
@click.option("--load", type=Number(0, 100, min_open=True), help="Stretch arrivals to this load: 0.8.")
@click.option(
    "--from", "begin_s", type=DURATION, help="Leave out what was submitted earlier in the trace: 7d."
)
@click.option("--to", "end_s", type=DURATION, help="Leave out what was submitted then or later: 14d.")
@click.option("--limit", type=AT_MOST, help="At most so many jobs, the first ones.")
@click.option("--assume", "assume_s", type=DURATION, default=60.0, help="Run time of a dump's tasks: 60 s.")
@click.option("--table", default="", help="Id of the cluster's table, where several share the store.")
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, help="Of the policies' draws.")
@click.option("--html", "html_file", type=REPORT, help="Write a report with plots.")
@click.option(
    "--plot", "folder", type=click.Path(file_okay=False), help="Write each plot as SVG into a folder."
)
@json_option
def simulate(  # noqa: PLR0913 (one parameter an option)
    *,
    where: str,
    policy: str,
    workers: int | None,
    cpus: float | None,
    memory: int | None,
    speeds: tuple[float, ...] | None,
    load: float | None,
    begin_s: float | None,
    end_s: float | None,
    limit: int | None,
    assume_s: float,
    table: str,
    seed: int,
    html_file: str | None,
    folder: str | None,
    as_json: bool,
) -> int:
    """Replay a workload on the real scheduler, in virtual time, under one or several policies.

    Prints waits, bounded slowdown, use, fairness and makespan of each. docs/simulate.md tells how to read
    them, and what a replay leaves out.
    """
    _try_places(html_file, folder)
    from alb.simulate.core.figures import Failure, Figures  # noqa: PLC0415
    from alb.simulate.core.trace import fitted, window, with_load  # noqa: PLC0415
    from alb.simulate.runs import Policies  # noqa: PLC0415 (brings in the broker)
    from alb.simulate.traces import open_trace  # noqa: PLC0415

    policies = Policies()
    choices = policies.chosen(policy)
    if "all" in policy.replace(" ", "").split(","):
        for name, why in policies.unusable.items():
            out.say(f"the policy {name} is left out: {why}")
    trace = window(open_trace(where, table=table, assume_s=assume_s), begin_s, end_s, limit)
    if not trace.jobs:
        raise click.UsageError("no job of the trace is in the part that was chosen")
    trace, machines = _at_home(trace, workers, cpus, memory, speeds)
    trace = fitted(trace, machines)
    if load is not None:
        trace = with_load(trace, machines, load)
    with ReplayProgress(len(trace.jobs)) as progress:
        verdicts = list(policies.verdicts(trace, machines, choices, seed=seed, tell=progress.tell))
    found = [each for each in verdicts if isinstance(each, Figures)]
    failed = [each for each in verdicts if isinstance(each, Failure)]
    for each in failed:
        out.say(f"{each.policy} could not be replayed: {each.why}")
    if not found:
        return FAILED_STATUS
    _tell(
        Report(trace=trace, machines=machines, found=found, failed=failed), html_file, folder, as_json=as_json
    )
    return FAILED_STATUS if failed else 0


def _at_home(
    trace: Trace,
    workers: int | None,
    cpus: float | None,
    memory: int | None,
    speeds: tuple[float, ...] | None,
) -> tuple[Trace, list[Machine]]:
    """Return a trace and its workers: its own ones, unless the command line describes others."""
    from alb.simulate.core.state_dump import unpinned  # noqa: PLC0415
    from alb.simulate.core.trace import pool, with_speeds  # noqa: PLC0415

    if trace.machines and all(each is None for each in (workers, cpus, memory)):
        return trace, trace.machines if speeds is None else with_speeds(trace.machines, speeds)
    cpus = cpus or CPUS
    if workers is None and trace.machines:
        workers = len(trace.machines)
    elif workers is None:
        workers = min(WORKERS_MAX, math.ceil(trace.cpus / cpus))
    if not workers:
        raise click.UsageError("the trace does not tell how large its machine was: give --workers N")
    machines = pool(workers, cpus, memory or int(cpus * MEMORY_A_CPU), speeds or (1.0,))
    return unpinned(trace), machines


def _try_places(html_file: str | None, folder: str | None) -> None:
    """Raise, before the work is done in vain, where what was asked for cannot be drawn or written."""
    if html_file or folder:
        drawing("alb.simulate.plots")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)


def _tell(report: Report, html_file: str | None, folder: str | None, *, as_json: bool) -> None:
    """Write what was asked for; where that fails the figures, which took so long, are told all the same."""
    told = bool(html_file)
    try:
        if html_file:
            _write_html(report, html_file)
        if folder:
            _write_plots(report, folder)
    except OSError:
        told = False
        raise
    finally:
        _print(report, as_json=as_json, quiet=told)


def _write_html(report: Report, file: str) -> None:
    from alb.analysis.html import page  # noqa: PLC0415
    from alb.simulate.plots import draw  # noqa: PLC0415

    text = page(
        TITLE, summary(report), sections(report.found, report.failed), lambda name: draw(name, report.found)
    )
    Path(file).write_text(text, encoding="utf-8")
    out.say(f"the report is in {file}")


def _write_plots(report: Report, folder: str) -> None:
    from alb.simulate.plots import PLOTS, draw  # noqa: PLC0415

    for name in PLOTS:
        (Path(folder) / f"{name}.svg").write_text(draw(name, report.found), encoding="utf-8")
    out.say(f"the plots are in {folder}")


def _print(report: Report, *, as_json: bool, quiet: bool) -> None:
    from alb.analysis.text import write_sections  # noqa: PLC0415

    if as_json:
        out.emit_json(as_values(report))
    elif not quiet:
        lines = write_sections(summary(report), sections(report.found, report.failed))
        out.write_all(1, ("\n".join(lines) + "\n").encode(errors="replace"))
