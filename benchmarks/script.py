"""The frame of every benchmark script: arguments, the last line on stdout, and the exit status."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable

import msgspec

from alb_core.errors import AlbError
from figures import json_line
from ground import Ground, say


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much a run measures."""

    repeats: int
    tasks: int


Figures = dict[str, object]


def run(name: str, measure: Callable[[Ground, Size], Figures], *, repeats: int, tasks: int) -> None:
    """Run a benchmark as the process's purpose; does not return.

    Prints the figures as one JSON line, last on stdout. Exits 1, without figures, where a result was wrong.

    Args:
        name: Of the benchmark.
        measure: Measures and returns the figures.
        repeats: How often, unless the command line says otherwise.
        tasks: How many, unless the command line says otherwise.
    """
    parser = argparse.ArgumentParser(prog=f"bench_{name}", description=sys.modules["__main__"].__doc__)
    parser.add_argument("--repeats", type=_positive, default=repeats, help="default: %(default)s")
    parser.add_argument("--tasks", type=_positive, default=tasks, help="a repeat's; default: %(default)s")
    chosen = parser.parse_args()
    for variable in [each for each in os.environ if each.startswith("ALB_")]:
        del os.environ[variable]  # product defaults, whatever the caller's shell is set to
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster is ended on the way out
    try:
        ground = Ground(name)
        figures = measure(ground, Size(repeats=chosen.repeats, tasks=chosen.tasks))
    except AlbError as error:
        say(f"bench_{name}: {error}")
        sys.exit(1)
    ground.remove()
    sys.stdout.write(json_line({"benchmark": name, **figures, "fsync_ms": ground.fsync_ms}) + "\n")
    sys.exit(0)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
