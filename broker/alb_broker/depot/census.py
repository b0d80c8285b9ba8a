"""Which of the leaders' censuses counts: the newest term's, and only for a while.

Until a depot has heard one, and when the last one is old, it
removes nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec

from alb_core.errors import AlbError
from alb_core.files import Census

VALID_S: Final = 60.0
#: An older census says nothing of what may be removed.


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker tells its own depot: one line of JSON each."""

    census: Census | None
    #: None: this broker leads no more.


class StaleCensus(AlbError):
    """Raised when a census comes from a leader that was deposed."""


class Knowledge:
    """The newest census that a depot heard."""

    def __init__(self) -> None:
        self._census: Census | None = None
        self._heard_at = float("-inf")

    def hear(self, census: Census, at: float) -> None:
        """Take a census.

        Args:
            census: From the leader, or from one that was.
            at: Monotonic seconds.

        Raises:
            StaleCensus: A later leader of the same table was heard before.
        """
        known = self._census
        if known is not None and known.table == census.table and known.epoch > census.epoch:
            raise StaleCensus(f"epoch {census.epoch} is over: the depots were counted in {known.epoch}")
        self._census = census
        self._heard_at = at

    def refresh(self, census: Census, at: float) -> None:
        """The leader still says the same; nothing where another was heard since."""
        if self._census is census:
            self._heard_at = at

    @property
    def known(self) -> bool:
        """Whether any census was heard."""
        return self._census is not None

    def depots(self) -> tuple[str, ...]:
        """Return all depots, as far as they are known."""
        return () if self._census is None else self._census.depots

    def needed(self) -> dict[str, int]:
        """Return every file that a task needs, by what was heard last, and its size."""
        return {} if self._census is None else self._census.used

    def used(self, at: float) -> dict[str, int] | None:
        """Return the files that must not be removed; None: nobody knows at present."""
        return None if self._census is None or at - self._heard_at > VALID_S else self._census.used
