"""What was known when an attempt was placed or gave way, for ``alb explain``: the newest of this reign.

The table keeps a few bytes of each decision with the attempt (policy, number of candidates, part of
reservations); the candidates with their room and load would be more than all the rest of a small task's node.
So they are kept here, bounded, and are gone with the leader.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from alb_broker.policies import Candidate
    from alb_core.messages import AttemptId

DECISIONS_MAX: Final = 4096
#: Kept, some kilobyte each.


class Decided(msgspec.Struct, frozen=True, gc=False):
    """How a worker was chosen for an attempt, as its moment saw it."""

    policy: str
    seen: tuple[Candidate, ...]
    #: The workers that it could choose from, as they were.
    waited_s: float
    share: float
    #: Of the cluster, that the user had before.
    ahead: bool = False
    #: There was no room for the task yet.
    part: str = ""
    #: That reservations had in it: `RESERVED`, `BACKFILLED`, or empty: none.


class Lent(msgspec.Struct, frozen=True, gc=False):
    """An attempt gave its processors away, or was ended for its memory."""

    worker: str
    to: str
    #: The task that waited for them.
    whole: bool = False
    #: It was ended.


class Decisions:
    """The newest placements, and who gave way to whom, by attempt."""

    def __init__(self) -> None:
        self._kept: OrderedDict[AttemptId, Decided] = OrderedDict()
        #: Oldest first. A plain dict would look for its first key among all that were deleted before it.
        self._lent: OrderedDict[tuple[AttemptId, bool], Lent] = OrderedDict()

    def keep(self, attempt: AttemptId, decided: Decided) -> None:
        """Remember one more, and forget the oldest."""
        self._kept[attempt] = decided
        if len(self._kept) > DECISIONS_MAX:
            self._kept.popitem(last=False)

    def get(self, attempt: AttemptId) -> Decided | None:
        """Return what is known of an attempt's placement."""
        return self._kept.get(attempt)

    def note_lent(self, attempt: AttemptId, lent: Lent) -> None:
        """Remember for whom an attempt was demoted or ended, and forget the oldest."""
        self._lent[attempt, lent.whole] = lent
        if len(self._lent) > DECISIONS_MAX:
            self._lent.popitem(last=False)

    def lent(self, attempt: AttemptId, *, whole: bool = False) -> str:
        """Return the task for which an attempt was demoted, or ended; empty: not known, or it was not."""
        found = self._lent.get((attempt, whole))
        return "" if found is None else found.to

    def lenders(self, task: str, worker: str, *, whole: bool = False) -> tuple[str, ...]:
        """Return the tasks that gave way to one on a worker, or were ended for it there."""
        return tuple(
            attempt.task
            for (attempt, ended), lent in self._lent.items()
            if (lent.to, lent.worker, ended) == (task, worker, whole)
        )
