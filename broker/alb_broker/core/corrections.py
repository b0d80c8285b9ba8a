"""What run times tell of workers' speeds: the same commands, elsewhere, took so much longer. Pure rules.

Like is compared with like: the tasks of one array, else one user's runs of the very same command. A run is
taken as work, its seconds times the speed that its worker is said to have in what the task strains. If that
is right, the same command is the same work everywhere; a worker on which it always seems to be more is slower
than it says. A worker's *correction* is the median of how its runs differ from what is usual for their
like, as a factor, less what chance explains: three standard errors. So commands whose run times vary
correct nothing until many of them agree.

The leader keeps this in memory only. A new one begins with the measured speeds, and a handful of runs on two
workers tell it the same again; a table of ratios would have to be written with each of them.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from statistics import median
from typing import Final

import msgspec

from alb_broker.core.likeness import Work
from alb_broker.core.newest import newest
from alb_core.speeds import Strain

RUNS_MIN: Final = 5
#: Of one worker, of likes that ran on others too: fewer may be chance.
RUN_S_MIN: Final = 1.0
#: A shorter run is mostly start.
BUSY_MIN: Final = 0.5
#: Processor time over run time: who waited for something else did not measure the machine.
RUN_COUNTS_S: Final = 3600.0
#: So long a run counts: then the measured speed holds again, unless newer ones say the same.
ERRORS: Final = 3.0
#: Standard errors that are taken for chance: with two, every fourth array of tasks that differ by themselves
#: would correct somebody among three workers.
CORRECTION_MAX: Final = 8.0
#: As a factor, and its inverse: beyond, something else is wrong there than its speed.
KINS_MAX: Final = 100
#: That are remembered, the newest.
WORKERS_MAX: Final = 64
#: Of one like.
RUNS_KEPT: Final = 12
#: Of one like on one worker, the newest.
_ERROR_OF_MEDIAN: Final = 1.2533 * 1.4826
#: The standard error of a median is so many median absolute deviations, over the root of the number (normal).


class Run(msgspec.Struct, frozen=True, gc=False):
    """One run of a command that came to a good end."""

    at: float
    #: Cluster time of its end.
    seconds: float
    #: The logarithm of its run time.


class Corrections:
    """How runs of the same commands differ from worker to worker."""

    def __init__(self) -> None:
        self._kins: Final[OrderedDict[Work, OrderedDict[str, deque[Run]]]] = OrderedDict()
        self.changed = False  #: Something was added since factors were asked for.

    def add(self, kin: Work, worker: str, at: float, wall_s: float) -> None:
        """A command came to a good end.

        Args:
            kin: What it is compared by; see `alike_in_work`.
            worker: Where.
            at: Cluster time.
            wall_s: How long it ran.
        """
        runs = newest(newest(self._kins, kin, OrderedDict, KINS_MAX), worker, _runs, WORKERS_MAX)
        runs.append(Run(at, math.log(wall_s)))
        self.changed = True

    def factors(self, speed: Callable[[str, Strain | None], float | None], at: float) -> dict[str, float]:
        """Return by how much workers are faster than they say; who is not named is as fast as that.

        Args:
            speed: Returns what a worker says of itself in one kind of work; None: it is not there any more.
            at: Cluster time.
        """
        self.changed = False
        differences: dict[str, list[float]] = {}
        for kin, book in list(self._kins.items()):
            self._forget_old(kin, book, at - RUN_COUNTS_S)
            for worker, found in _differences(kin[-1], book, speed).items():
                differences.setdefault(worker, []).extend(found)
        factors = {worker: _factor(found) for worker, found in differences.items()}
        return {worker: factor for worker, factor in factors.items() if factor != 1.0}

    def _forget_old(self, kin: Work, book: OrderedDict[str, deque[Run]], since: float) -> None:
        for worker, runs in list(book.items()):
            while runs and runs[0].at < since:
                runs.popleft()
            if not runs:
                del book[worker]
        if not book:
            del self._kins[kin]


def counts(wall_s: float, cpu_s: float) -> bool:
    """Tell whether a run measured its machine: long enough, and busy most of the time."""
    return wall_s >= RUN_S_MIN and cpu_s >= BUSY_MIN * wall_s


def _differences(
    strain: Strain | None,
    book: Mapping[str, deque[Run]],
    speed: Callable[[str, Strain | None], float | None],
) -> dict[str, list[float]]:
    """Return how runs of one like differ on each worker from the usual: logarithms, above 0 is faster."""
    works = {
        worker: [run.seconds + math.log(said) for run in runs]
        for worker, runs in book.items()
        if (said := speed(worker, strain)) is not None
    }
    if len(works) < 2:
        return {}
    usual = median(median(each) for each in works.values())  # of workers, not of runs: each has one voice
    return {worker: [usual - work for work in each] for worker, each in works.items()}


def _factor(differences: list[float]) -> float:
    """Return what differences agree on beyond chance, as a factor."""
    if len(differences) < RUNS_MIN:
        return 1.0
    middle = median(differences)
    deviation = median(abs(each - middle) for each in differences)
    chance = ERRORS * _ERROR_OF_MEDIAN * deviation / math.sqrt(len(differences))
    surely = math.copysign(max(0.0, abs(middle) - chance), middle)
    return min(CORRECTION_MAX, max(1 / CORRECTION_MAX, math.exp(surely)))


def _runs() -> deque[Run]:
    return deque(maxlen=RUNS_KEPT)
