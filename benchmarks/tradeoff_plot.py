"""Draws the figures of `bench-tradeoff` as SVG: ``make bench-tradeoff | tail -1 | tradeoff_plot.py FILE``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from alb.analysis.plots import BLUE, ORANGE, as_svg

Points = Sequence[Mapping[str, float]]


def draw(points: Points) -> Figure:
    """Return the curve: worker hours against time to the result, a point for each weight of time."""
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    axes = figure.subplots()
    hours = [point["worker_s"] / 3600 for point in points]
    times = [point["turnaround_s"] for point in points]
    axes.plot(hours, times, color=BLUE, linewidth=1.0)
    axes.scatter(hours, times, color=ORANGE, zorder=2)
    told: dict[tuple[float, float], list[float]] = {}
    for point, where in zip(points, zip(hours, times, strict=True), strict=True):
        told.setdefault(where, []).append(point["time"])
    for number, (where, weights) in enumerate(told.items()):
        label = f"{weights[0]:g}" if len(weights) == 1 else f"{weights[0]:g} to {weights[-1]:g}"
        axes.annotate(label, where, xytext=(0, -16 if number % 2 else 8), textcoords="offset points")
    axes.set_title("Weights of time, from resources alone (0) to time alone (1)")
    axes.set_xlabel("worker hours")
    axes.set_ylabel("submission to result, s")
    axes.set_ylim(0.0, 1.2 * max(times))
    return figure


if __name__ == "__main__":
    found = json.loads(sys.stdin.read())["points"]
    lines = as_svg(lambda: draw(found)).splitlines()
    Path(sys.argv[1]).write_text("".join(f"{line.rstrip()}\n" for line in lines))
