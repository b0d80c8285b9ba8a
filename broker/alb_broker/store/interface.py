"""The contract of a results store: a few verbs on rows that sort by their keys, and its errors.

It knows no database: an implementation on a key-value store with sorted keys is as good as one on SQL.
``tests/store_contract.py`` holds every implementation to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from alb_core.errors import AlbError
from alb_core.rows import AnyRow, Key, Row, Span


class StoreError(AlbError):
    """The root of what a results store raises. Never raised itself.

    Args:
        why: A sentence for a person; never holds a password.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class StoreUnavailable(StoreError):
    """Raised when the store cannot do it now: unreachable, locked, too slow, full, read-only. Retrying helps.

    Whether a write was done is unknown; it may be repeated, the same rows again change nothing.
    """


class StoreUnusable(StoreError):
    """Raised when somebody must change something first: wrong password, newer schema, no driver."""


class StaleTerm(StoreError):
    """Raised when a later leader has begun its term. Nothing was written, and retrying never helps.

    Args:
        epoch: Of the term that is over.
        later: The store's newest term.
    """

    def __init__(self, epoch: int, later: int) -> None:
        super().__init__(f"term {epoch} is over: term {later} has begun in the results store")
        self.epoch = epoch
        self.later = later


class Store(Protocol):
    """One cluster's part of a results store; used by one thread.

    After a StoreUnavailable, `close` and `open` it again. Every call ends within some 20 s.
    """

    def open(self) -> None:
        """Connect, and bring the schema up to date; others may do the same at the same time.

        Raises:
            StoreUnavailable: It cannot be reached now.
            StoreUnusable: It can never be used like this.
        """

    def close(self) -> None:
        """Let go of it; `open` begins again. Never raises."""

    def begin_term(self, epoch: int) -> None:
        """Begin a leader's term: from now on earlier leaders cannot change anything.

        Raises:
            StaleTerm: A later term has begun.
            StoreUnavailable: It may or may not have begun.
        """

    def write(self, epoch: int, rows: Sequence[Row]) -> None:
        """Write rows, all or none; durable on return. The family's `merge` settles keys that are there.

        A term that has not begun yet begins with it.

        Raises:
            StaleTerm: A later term has begun; nothing was written.
            StoreUnavailable: They may or may not be written.
        """

    def scan(
        self, family: type[AnyRow], span: Span, limit: int, *, newest_first: bool = False
    ) -> list[AnyRow]:
        """Return rows in the order of their keys.

        Args:
            family: Which rows.
            span: Between which keys.
            limit: The most to return. What they hold is in memory at once: take few where they may be large.
            newest_first: From the greatest key down.

        Raises:
            StoreUnavailable: Nothing was read.
        """

    def get(self, family: type[AnyRow], keys: Sequence[Key]) -> list[AnyRow]:
        """Return the rows that have these whole keys, in any order; one call, however many they are.

        Args:
            family: Which rows.
            keys: At most some hundred.

        Raises:
            StoreUnavailable: Nothing was read.
        """

    def remove(self, epoch: int, family: type[Row], spans: Sequence[Span], limit: int) -> int:
        """Remove rows, all or none, those with the smallest keys of each span first.

        Args:
            epoch: As in `write`.
            family: Which rows.
            spans: Between which keys; a whole key as a prefix names one row.
            limit: The most to remove from each span, to keep the call short: repeat while that many went.

        Returns:
            How many rows went.

        Raises:
            StaleTerm: A later term has begun; nothing was removed.
            StoreUnavailable: They may or may not be removed.
        """

    def count(self, family: type[Row], span: Span) -> int:
        """Return how many rows there are; its cost may grow with them.

        Raises:
            StoreUnavailable: Nothing was counted.
        """

    def tables(self) -> list[str]:
        """Return the ids of the clusters that have something in the store, sorted; it need not be open.

        Raises:
            StoreUnavailable: Nothing was read.
            StoreUnusable: It is no results store of alb.
        """

    def size_bytes(self) -> int:
        """Return about how much room the rows take, those of all clusters in it together.

        It falls when rows are removed, within seconds, also where files keep their size.

        Raises:
            StoreUnavailable: Nothing was read.
        """
