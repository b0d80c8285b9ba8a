"""What attempts were seen to use, on its way to the leader: a few with each heartbeat, in their order.

Nothing depends on it: what is lost is measured again.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from alb_core.messages import AttemptId, AttemptUse

USES_A_BEAT: Final = 16
#: So a heartbeat stays below a kilobyte or two, however many attempts run: with more each is told less often.


class Uses:
    """What is measured and not told yet, the newest of each attempt."""

    def __init__(self) -> None:
        self._untold: dict[AttemptId, AttemptUse] = {}

    def note(self, uses: Iterable[AttemptUse]) -> None:
        """Take what was measured; where something of the attempt waits already, it keeps that one's turn."""
        self._untold.update({use.attempt: use for use in uses})

    def take(self) -> tuple[AttemptUse, ...]:
        """Return what a heartbeat carries."""
        taken = tuple(islice(self._untold.values(), USES_A_BEAT))
        for use in taken:
            del self._untold[use.attempt]
        return taken

    def forget(self) -> None:
        """Nobody listens: what is measured when somebody does will be newer."""
        self._untold.clear()
