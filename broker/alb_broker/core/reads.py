"""Questions to the results store that are under way, and who goes on with each answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from alb_broker.core.actions import GetRows, ScanStore
from alb_broker.core.state import State
from alb_broker.store import events
from alb_core.rows import Key, Row

Then: TypeAlias = Callable[[tuple[Row, ...], str], None]
#: Takes the rows; or none, and why the store did not answer.


class Reads:
    """Asks, and passes each answer on once.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._asked: Final[dict[int, Then]] = {}  #: By token.

    def newest(self, family: type[Row], prefix: Key, limit: int, then: Then) -> None:
        """Read the rows whose keys begin so, those with the greatest keys first."""
        token = self._expect(then)
        self._state.out.append(ScanStore(token, self._state.epoch, family, (), (), limit, prefix))

    def get(self, family: type[Row], keys: Sequence[Key], then: Then) -> None:
        """Read the rows of these keys; nobody is asked where there is no key."""
        if keys:
            self._state.out.append(GetRows(self._expect(then), self._state.epoch, family, tuple(keys)))
        else:
            then((), "")

    def on_scanned(self, event: events.StoreScanned) -> bool:
        """Take an answer; returns whether it was to a question of these."""
        then = self._asked.pop(event.token, None)
        if then is None:
            return False
        why = "" if event.error is None else f"the results store does not answer: {event.error}"
        then(() if why else event.rows, why)
        return True

    def _expect(self, then: Then) -> int:
        token = self._state.tokens.next()
        self._asked[token] = then
        return token
