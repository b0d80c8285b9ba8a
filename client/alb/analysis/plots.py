"""The plots of the report, as SVG, by matplotlib. Nothing in them comes from outside: the report is one file.

Names of users and commands are drawn as they are: no mathematics, and escaped by the SVG writer.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from alb.analysis.core.figures import Figures, Group
from alb.analysis.core.words import seconds

SHOWN: Final = 12
#: Users or commands in one plot.
WORKERS_SHOWN: Final = 64
WIDTH: Final = 11.0
#: Inches, as all sizes here.
BLUE, ORANGE, RED, GREEN, GREY = "#2b6cb0", "#dd8a1d", "#c53030", "#2f855a", "#a0aec0"
NAME_LENGTH: Final = 42
SETTINGS: Final[dict[str, Any]] = {
    "svg.fonttype": "none",  # texts stay texts: small, and found by the browser's search
    "svg.hashsalt": "alb",  # the same figures, the same file
    "text.parse_math": False,  # a command may hold a dollar
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "Helvetica", "Arial", "DejaVu Sans", "sans-serif"],
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
}


def draw(name: str, figures: Figures) -> str:
    """Return a plot as an SVG element; empty where there is nothing to draw.

    Args:
        name: Of `PLOTS`.
        figures: What was found.
    """
    return as_svg(lambda: PLOTS[name](figures))


def as_svg(make: Callable[[], Figure | None]) -> str:
    """Return what is drawn as an SVG element, in the one look that all reports have."""
    with mpl.rc_context(rc=SETTINGS):  # type: ignore[arg-type]  # (its own names are one long Literal)
        figure = make()
        if figure is None:
            return ""
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return "<svg" + text.getvalue().partition("<svg")[2]


def _arrivals(figures: Figures) -> Figure | None:
    """Submitted and ended, waiting, and mean waits over time."""
    if len(figures.submitted_series) < 2:
        return None
    figure = Figure(figsize=(WIDTH, 6.0), layout="constrained")
    flows, queue, waits = figure.subplots(3, 1, sharex=True)
    times = _times(figures)
    per = f"tasks per {seconds(figures.slice_s)}"
    flows.fill_between(times, figures.finished_series, step="post", color=GREEN, alpha=0.25, label="ended")
    flows.fill_between(times, figures.failed_series, step="post", color=RED, alpha=0.6, label="failed")
    flows.step(times, figures.submitted_series, where="post", color=BLUE, label="submitted")
    flows.set_title(f"Arrivals and ends, {per}")
    flows.legend(loc="upper left", ncols=3)
    queue.fill_between(times, figures.waiting_series, step="post", color=ORANGE, alpha=0.5)
    queue.set_title("Waiting tasks")
    waits.step(times, figures.wait_series, where="post", color=ORANGE)
    waits.set_title("Mean wait of the tasks submitted then, seconds")
    for axes in (flows, queue, waits):
        axes.set_ylim(bottom=0)
        for overload in figures.overloads:
            axes.axvspan(_time(overload.begin), _time(overload.end), color=RED, alpha=0.07, linewidth=0)
    _dates(waits)
    return figure


def _times_by(kind: str) -> Callable[[Figures], Figure | None]:
    """Waits and runs of groups: from the median to the 99th percentile, and the greatest."""

    def plot(figures: Figures) -> Figure | None:
        groups: Sequence[Group] = getattr(figures, kind)[:SHOWN]
        if not groups:
            return None
        figure = Figure(figsize=(WIDTH, 1.2 + 0.32 * len(groups)), layout="constrained")
        places = np.arange(len(groups))[::-1]
        for axes, title, name, colour in zip(
            figure.subplots(1, 2, sharey=True),
            ("Waits", "Runs"),
            ("wait", "run"),
            (ORANGE, BLUE),
            strict=True,
        ):
            quantiles = [getattr(group, name) for group in groups]
            low = [max(each.p50, 1e-3) for each in quantiles]
            high = [max(each.p99, 1e-3) for each in quantiles]
            axes.hlines(places, low, high, color=colour, linewidth=5, alpha=0.35)
            axes.plot(low, places, "o", color=colour, label="p50")
            axes.plot([max(each.p90, 1e-3) for each in quantiles], places, "d", color=colour, label="p90")
            axes.plot(high, places, "|", color=colour, markersize=11, markeredgewidth=2, label="p99")
            axes.plot([max(each.max, 1e-3) for each in quantiles], places, "x", color=GREY, label="max")
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds(value)))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_title(f"{title} (less than 1 ms: at 1 ms)")
            axes.set_yticks(places, [_name(group.name) for group in groups])
            axes.set_ylim(-0.6, len(groups) - 0.4)
            axes.grid(axis="x", color=GREY, alpha=0.25)
        figure.axes[0].legend(loc="lower right", ncols=4, bbox_to_anchor=(1.0, 1.06))
        return figure

    return plot


def _asked(figures: Figures) -> Figure | None:
    """Reserved against used, of users and of commands."""
    users, commands = figures.users[:SHOWN], figures.commands[:SHOWN]
    if not figures.all.asked.cpu_asked_s:
        return None
    figure = Figure(figsize=(WIDTH, 1.6 + 0.36 * (len(users) + len(commands))), layout="constrained")
    ratios = [len(users) + 0.5, len(commands) + 0.5]
    grid = figure.subplots(2, 2, sharey="row", height_ratios=ratios)
    for (cpus, memory), groups, title in zip(grid, (users, commands), ("users", "commands"), strict=True):
        names = [_name(group.name) for group in groups]
        asked = [group.asked for group in groups]
        _bars(cpus, names, [a.cpu_asked_s / 3600 for a in asked], [a.cpu_used_s / 3600 for a in asked])
        cpus.set_title(f"Processor hours of {title}")
        asked_gib = [a.memory_asked_gib_s / 3600 for a in asked]
        _bars(memory, names, asked_gib, [a.memory_used_gib_s / 3600 for a in asked])
        memory.set_title(f"Memory of {title} that reserved any, GiB hours")
    grid[0][0].legend(loc="lower right")
    return figure


def _bars(axes: Any, names: list[str], asked: list[float], used: list[float]) -> None:
    places = np.arange(len(names))[::-1]
    axes.barh(places, asked, height=0.75, color=GREY, alpha=0.5, label="reserved")
    axes.barh(places, used, height=0.4, color=BLUE, label="used")
    axes.set_yticks(places, names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(axis="x", color=GREY, alpha=0.25)


def _workers(figures: Figures) -> Figure | None:
    """The whole cluster as lines; each worker as a row of coloured slices."""
    workers = [worker for worker in figures.workers if worker.samples][:WORKERS_SHOWN]
    if not workers or len(figures.submitted_series) < 2:
        return None
    maps = (
        ("processors measured", "cpu_series"),
        ("processors reserved", "reserved_series"),
        ("memory", "memory_series"),
        ("network", "net_series"),
    )
    height = 0.7 + 0.16 * len(workers)
    figure = Figure(figsize=(WIDTH, 2.2 + len(maps) * height), layout="constrained")
    lines, *rows = figure.subplots(1 + len(maps), 1, sharex=True, height_ratios=[1.8, *(height,) * len(maps)])
    times = _times(figures)
    weights = np.array([worker.capacity_cpus for worker in workers])
    for (title, series), colour in zip(maps[:2], (BLUE, GREY), strict=True):
        values = np.ma.masked_less([getattr(worker, series) for worker in workers], 0)
        lines.plot(times, 100 * np.ma.average(values, axis=0, weights=weights), color=colour, label=title)
    lines.set_title("All workers, percent of their processors")
    lines.set_ylim(bottom=0)
    lines.legend(loc="upper left", ncols=2)
    end = _time(figures.begin + len(times) * figures.slice_s)
    edges = [*times, end]
    for axes, (title, series) in zip(rows, maps, strict=True):
        values = np.ma.masked_less([getattr(worker, series) for worker in workers], 0)
        image = axes.pcolormesh(
            edges,
            np.arange(len(workers) + 1),
            100 * values,
            cmap="viridis",
            vmin=0,
            vmax=100,
            rasterized=True,
        )
        axes.set_facecolor("#edf2f7")
        axes.invert_yaxis()
        axes.set_title(f"{title[0].upper()}{title[1:]}, percent (no colour: no sample)")
        axes.set_yticks(
            np.arange(len(workers)) + 0.5, [_name(worker.worker) for worker in workers], fontsize=7
        )
    figure.colorbar(image, ax=rows, fraction=0.015, pad=0.01)
    _dates(rows[-1])
    return figure


def _failures(figures: Figures) -> Figure | None:
    """Failures by cause, parted by command."""
    causes = list(figures.causes)[:SHOWN]
    groups = sorted((g for g in figures.commands if g.failed), key=lambda group: -group.failed)[:8]
    if not causes:
        return None
    figure = Figure(figsize=(WIDTH, 1.2 + 0.36 * len(causes)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(causes))[::-1]
    left = np.zeros(len(causes))
    for number, group in enumerate(groups):
        values = np.array([group.causes.get(cause, 0) for cause in causes])
        axes.barh(places, values, left=left, color=mpl.colormaps["tab10"](number), label=_name(group.name))
        left += values
    rest = np.array([figures.causes[cause] for cause in causes]) - left
    if rest.any():
        axes.barh(places, rest, left=left, color=GREY, label="other commands")
    axes.set_yticks(places, causes)
    axes.set_title("Failed tasks by cause and command")
    axes.legend(loc="lower right")
    axes.grid(axis="x", color=GREY, alpha=0.25)
    return figure


def _time(seconds_since_1970: float) -> datetime:
    return datetime.fromtimestamp(seconds_since_1970).astimezone()


def _times(figures: Figures) -> list[datetime]:
    return [_time(figures.begin + n * figures.slice_s) for n in range(len(figures.submitted_series))]


def _dates(axes: Any) -> None:
    zone = datetime.now().astimezone().tzinfo
    locator = AutoDateLocator(tz=zone)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, tz=zone)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)


def _name(text: str) -> str:
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= NAME_LENGTH else text[: NAME_LENGTH - 1] + "…"


PLOTS: Final[dict[str, Callable[[Figures], Figure | None]]] = {
    "arrivals": _arrivals,
    "times_by_user": _times_by("users"),
    "times_by_command": _times_by("commands"),
    "asked": _asked,
    "workers": _workers,
    "failures": _failures,
}
