"""How long finished tasks stay in the table.

A finished task may go once a client acknowledged its result, or a holding time after the later of its end
and this leader's claim; with a results store, not before that has it. It goes when more than
``done_kept_max`` are there, or ``done_kept_s`` after its end.
"""

from __future__ import annotations

from typing import Final

from alb_broker.core.ledger import Lane
from alb_broker.core.state import State
from alb_broker.core.table import DoneTask
from alb_core import zk, znodes

REMOVALS_MAX: Final = 2000
#: Of one tick.


class Retention:
    """Removes finished tasks whose time has come.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state

    def tick(self) -> None:
        """Remove what may go, a bounded number."""
        budget = REMOVALS_MAX
        table = self._state.table
        now = self._state.now()
        while table.acknowledged and budget:
            done = table.done.get(table.acknowledged[0])
            if done is not None and done.owed is not None:
                done.acknowledged = False  # somebody asked for it since: it comes again when he has it
            elif done is not None:
                if not (self._kept_elsewhere(done) and self._due(done, now)):
                    break
                self._remove(done)
                budget -= 1
            table.acknowledged.popleft()
        while table.unacknowledged and budget:
            done = table.done.get(table.unacknowledged[0])
            if done is not None and not done.acknowledged:
                kept = self._kept_elsewhere(done)
                if not (kept and self._held_long_enough(done, now) and self._due(done, now)):
                    break
                self._remove(done)
                budget -= 1
            table.unacknowledged.popleft()

    def _kept_elsewhere(self, done: DoneTask) -> bool:
        """Tell whether the results store has the task, or there is no store."""
        return done.archived or not self._state.table.archives

    def _held_long_enough(self, done: DoneTask, now: float) -> bool:
        since = max(done.finished, self._state.clock.claimed)
        return now - since >= self._state.config.holding_s

    def _due(self, done: DoneTask, now: float) -> bool:
        config = self._state.config
        return len(self._state.table.done) > config.done_kept_max or now - done.finished >= config.done_kept_s

    def _remove(self, done: DoneTask) -> None:
        state = self._state
        del state.table.done[done.id]
        state.counters["tasks_removed"] += 1
        state.ledger.write(Lane.RETENTION, done.id, (zk.Delete(znodes.done_path(done.id)),))
