"""Which worker is a black hole: one on which tasks fail at once that succeed elsewhere. Pure rules.

Such a worker seems idle, so it would be given one task after the other. Like is compared with like: the
tasks of one array, or one user's runs of one program. A worker goes into quarantine when so many different
tasks failed quickly on it, none of their like succeeded on it since, and one did elsewhere. Each further
time is twice as long, until a task of that like succeeds there. The leader keeps this in memory only: a new
one begins with trust.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

from alb_broker.core.likeness import Failing
from alb_broker.core.newest import newest
from alb_core.quarantines import Quarantine

FAILURES_MIN: Final = 3
#: Different tasks: two may be chance.
QUICK_S: Final = 2.0
#: A command that ran longer had what it needed to start.
WINDOW_S: Final = 60.0
#: Failures, and the success elsewhere that makes them suspicious, count so long.
QUARANTINE_S: Final = 60.0
QUARANTINE_S_MAX: Final = 960.0
KINS_MAX: Final = 1000
#: That are remembered, the newest.
FAILED_KEPT: Final = 16
#: Tasks of one like that failed on one worker.


Changed: TypeAlias = Mapping[str, Quarantine | None]
_UNCHANGED: Final[Changed] = {}


class _Kin:
    """How tasks of one like fare, worker by worker."""

    __slots__ = ("failed", "succeeded")

    def __init__(self) -> None:
        self.succeeded: dict[str, float] = {}  #: When one did last.
        self.failed: dict[str, dict[str, float]] = {}
        #: Tasks that failed quickly since the last success, and when.


class _Blame(NamedTuple):
    """Why a worker is, or was, in quarantine."""

    kin: Failing
    times: int
    #: How often, without a success in between.
    quarantine: Quarantine


class Ward:
    """Watches how tasks end, and says who goes into quarantine, and who comes out."""

    def __init__(self) -> None:
        self._kins: Final[OrderedDict[Failing, _Kin]] = OrderedDict()
        self._blamed: Final[dict[str, _Blame]] = {}  #: By worker, until it is cleared.
        self._failed_at = float("-inf")  #: Cluster time, when a task failed last.

    def trusts_all(self, at: float) -> bool:
        """Tell whether a success changes nothing now: no worker is blamed, and no failure counts any more."""
        return not self._blamed and at - self._failed_at > WINDOW_S

    def on_success(self, worker: str, kin: Failing, at: float, workers: int) -> Changed:
        """A task succeeded.

        Args:
            worker: Where.
            kin: What it is compared by; see `alike_in_failing`.
            at: Cluster time.
            workers: How many there are.

        Returns:
            By worker: its new quarantine, or None where the one it is in is over.
        """
        known = newest(self._kins, kin, _Kin, KINS_MAX)
        known.succeeded[worker] = at
        if not (known.failed or self._blamed):
            return _UNCHANGED  # as nearly always
        changed: dict[str, Quarantine | None] = {}
        if known.failed:
            known.failed.pop(worker, None)
            for suspect in list(known.failed):
                changed |= self._judge(suspect, kin, known, at, workers)
        blame = self._blamed.get(worker)
        if blame is not None and blame.kin == kin:
            del self._blamed[worker]
            changed[worker] = None
        return changed

    def on_failure(self, worker: str, kin: Failing, task_id: str, at: float, workers: int) -> Changed:
        """A task failed quickly; arguments and result as in `on_success`."""
        blame = self._blamed.get(worker)
        if blame is not None and blame.quarantine.until > at:
            return _UNCHANGED  # it was given this before
        self._failed_at = at
        known = newest(self._kins, kin, _Kin, KINS_MAX)
        failed = known.failed.setdefault(worker, {})
        failed[task_id] = at
        while len(failed) > FAILED_KEPT:
            del failed[next(iter(failed))]
        return self._judge(worker, kin, known, at, workers)

    def over(self, at: float) -> list[str]:
        """Return the workers whose quarantine ends at this time; how often they were in it is kept."""
        ended = [name for name, blame in self._blamed.items() if 0 < blame.quarantine.until <= at]
        for name in ended:
            blame = self._blamed[name]
            served = Quarantine(until=0.0, why=blame.quarantine.why)
            self._blamed[name] = blame._replace(quarantine=served)
        return ended

    def forget(self, present: set[str]) -> None:
        """Forget workers that are no more."""
        for name in self._blamed.keys() - present:
            del self._blamed[name]
        for known in self._kins.values():
            for book in (known.succeeded, known.failed):
                for name in book.keys() - present:
                    del book[name]

    def _judge(self, worker: str, kin: Failing, known: _Kin, at: float, workers: int) -> Changed:
        """Put a worker into quarantine where its failures, and the successes of others, say so."""
        since = at - WINDOW_S
        failed = [time for time in known.failed[worker].values() if time >= since]
        elsewhere = [name for name, time in known.succeeded.items() if name != worker and time >= since]
        blame = self._blamed.get(worker)
        inside = sum(each.quarantine.until > at for each in self._blamed.values())
        if (
            len(failed) < FAILURES_MIN
            or not elsewhere
            or (blame is not None and blame.quarantine.until > at)
            or inside + 1 > workers // 2  # never more than half of all: then it is the tasks, or everybody
        ):
            return _UNCHANGED
        del known.failed[worker]
        times = blame.times + 1 if blame is not None else 1
        seconds = min(QUARANTINE_S * 2 ** (times - 1), QUARANTINE_S_MAX)
        what = kin[1][:80]
        why = f"{len(failed)} tasks ({what}) failed at once on it, and others of their like succeed elsewhere"
        quarantine = Quarantine(until=at + seconds, why=why)
        self._blamed[worker] = _Blame(kin, times, quarantine)
        return {worker: quarantine}
