"""The heads of the queue that wait for room, a few at a time and in turns: for whom room is to be made."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from alb_broker.core.groups import key_of
from alb_broker.core.task import Task

if TYPE_CHECKING:
    from alb_broker.core.state import State

HEADS_MAX: Final = 16
#: Looked at in one tick: the search must not cost what it gives.


class Heads:
    """Looks at one group after the other, whoever comes and goes.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._next = 0  #: Where the next look begins.
        self._left: list[Task] = []  #: What was put back.
        self.rounds = 0  #: How often a look began with the first head.

    def take(self) -> list[Task]:
        """Return the next heads that found no room when they were last offered, and may have some."""
        state, start = self._state, self._next
        left, self._left = [head for head in self._left if self._waits(head)], []
        if left:
            return left
        self.rounds += not start
        heads: list[Task] = []
        for self._next, head in enumerate(islice(state.queue.roomless(), start, None), start + 1):
            if state.shares.allows(head.user, head.request):
                heads.append(head)
                if len(heads) == HEADS_MAX:
                    return heads
        self._next = 0
        return heads

    def put_back(self, heads: list[Task]) -> None:
        """Take these again before all others: there was no time for them."""
        self._left = heads

    def _waits(self, head: Task) -> bool:
        group = self._state.queue.group(key_of(head))
        waits = group is not None and group.blocked and group.head() is head
        return waits and self._state.shares.allows(head.user, head.request)
