"""Invariants of group commit, looked for in a leader's books after each turn."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.simulation.violations import demand

if TYPE_CHECKING:
    from alb_broker.core.reign import Reign

TURNS_MAX: Final = 8
#: Turns in a row after which something waits to be written, and nothing is under way to ZooKeeper.


class BatchChecks:
    """Counts the turns for which a batch waits."""

    def __init__(self) -> None:
        self._waited: Counter[str] = Counter()  #: By life of the broker.

    def after_turn(self, broker: str, reign: Reign) -> None:
        """A leader's turn is over.

        Args:
            broker: Its incarnation.
            reign: What it has in its hands; the table may still be loading.
        """
        ledger = reign.state.ledger
        waits = ledger.pending and ledger.batch is None and not ledger.deposed
        if not waits or reign.backlogged:  # with little to write, that says that the session is suspended
            self._waited[broker] = 0
            return
        self._waited[broker] += 1
        demand(
            self._waited[broker] <= TURNS_MAX,
            "a_batch_leaves_soon",
            "{} has had {} groups to write for {} turns",
            broker,
            ledger.pending,
            self._waited[broker],
        )
