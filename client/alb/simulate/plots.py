"""The plots of replays, as SVG, by matplotlib: a line for each policy, so that they can be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from alb.analysis.core.words import seconds
from alb.analysis.plots import GREY, WIDTH, as_svg
from alb.simulate.core.figures import Figures

COLOURS: Final = ("#2b6cb0", "#dd8a1d", "#2f855a", "#c53030", "#6b46c1", "#319795", "#97266d", "#744210")
#: Of the policies, in their order; then they come round again, dashed.
SHORTEST_S: Final = 0.01
#: Waits below are drawn here: the scale has no zero.
USERS_SHOWN: Final = 20


def draw(name: str, found: Sequence[Figures]) -> str:
    """Return a plot as an SVG element; empty where there is nothing to draw.

    Args:
        name: Of `PLOTS`; ``replays``: all of them in one.
        found: The figures of each policy.
    """
    names = tuple(PLOTS) if name == "replays" else (name,)
    return as_svg(lambda: _figure(names, found))


def _figure(names: Sequence[str], found: Sequence[Figures]) -> Figure | None:
    if not any(each.waiting_series for each in found):
        return None
    rows, columns = -(-len(names) // 2), min(2, len(names))
    figure = Figure(figsize=(WIDTH * columns / 2, 3.2 * rows), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes, name in zip(grid, names, strict=False):
        PLOTS[name](axes, found)
        axes.grid(color=GREY, alpha=0.25)
    grid[0].legend(loc="best", fontsize=8)
    return figure


def _style(number: int) -> dict[str, Any]:
    dashed = "--" if number >= len(COLOURS) else "-"
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": dashed, "linewidth": 1.4}


def _as_times(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _waits(axes: Axes, found: Sequence[Figures]) -> None:
    """Which share of the jobs waited at most so long."""
    for number, each in enumerate(found):
        waits = [max(SHORTEST_S, wait) for wait in each.wait_percentiles]
        axes.plot(waits, range(len(waits)), label=each.policy, **_style(number))
    axes.set_xscale("log")
    _as_times(axes)
    axes.set_title("Percent of the jobs that waited at most so long")


def _over_time(series: str, title: str, factor: float = 1.0) -> Callable[[Axes, Sequence[Figures]], None]:
    def plot(axes: Axes, found: Sequence[Figures]) -> None:
        for number, each in enumerate(found):
            values = [factor * value for value in getattr(each, series)]
            times = [(place + 0.5) * each.slice_s for place in range(len(values))]
            axes.plot(times, values, label=each.policy, **_style(number))
        axes.set_ylim(bottom=0)
        _as_times(axes)
        axes.set_title(title)

    return plot


def _slowdowns(axes: Axes, found: Sequence[Figures]) -> None:
    """The mean slowdown of the users who used most, in the order of the first policy's table."""
    users = [user.user for user in found[0].users[:USERS_SHOWN]]
    for number, each in enumerate(found):
        known = {user.user: user.mean_slowdown for user in each.users}
        values = [known.get(user, float("nan")) for user in users]
        axes.plot(range(len(users)), values, "o", markersize=3.5, label=each.policy, **_style(number))
    axes.set_yscale("log")
    axes.set_xticks([])
    axes.set_title("Mean slowdown of each user, who used most first")


PLOTS: Final[dict[str, Callable[[Axes, Sequence[Figures]], None]]] = {
    "waits": _waits,
    "waiting": _over_time("waiting_series", "Jobs that wait"),
    "use": _over_time("busy_series", "Processors that run jobs, percent", 100.0),
    "slowdowns": _slowdowns,
}
#: The single plots.
