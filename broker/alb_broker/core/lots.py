"""The workers that are looked at in one tick: one lot, until all heads of the queue were held against it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from alb_broker.core.heads import Heads
    from alb_broker.core.worker import Worker

WORKERS_MAX: Final = 200
ATTEMPTS_MAX: Final = 4000
#: Of one lot, and one worker at least: the search must not cost what it gives.


class Lots:
    """Takes one lot after the other, whoever comes and goes.

    Args:
        heads: That are held against them, in rounds.
    """

    def __init__(self, heads: Heads) -> None:
        self._heads: Final = heads
        self._start = self._end = 0  #: Of the lot, by the number of workers.
        self._round = 0  #: Of the heads, for which it is.

    def take(self, workers: Iterable[Worker], count: int) -> list[Worker]:
        """Return the lot for the round that the heads are in.

        Args:
            workers: All.
            count: How many they are.
        """
        if self._round != self._heads.rounds:
            self._round, self._start = self._heads.rounds, self._end
        if self._start >= count:
            self._start = 0
        lot: list[Worker] = []
        attempts = 0
        for worker in islice(workers, self._start, self._start + WORKERS_MAX):
            if attempts >= ATTEMPTS_MAX:
                break
            attempts += len(worker.reserved)
            lot.append(worker)
        self._end = self._start + len(lot)
        return lot
