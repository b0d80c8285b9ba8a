"""What the results store tells the broker's loop: past facts, posted by its threads.

`at` is always the broker's own monotonic clock, in seconds; `epoch` the term in which it was asked, so that a
leader can tell what belonged to an earlier one.
"""

from __future__ import annotations

import msgspec

from alb_core.rows import Row


class StoreEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The base of what the store tells."""

    at: float
    epoch: int


class StoreWritten(StoreEvent, frozen=True, kw_only=True):
    """Everything that was handed over under these tokens is durable."""

    tokens: tuple[int, ...]
    #: In the order of handing over.


class StoreRemoved(StoreEvent, frozen=True, kw_only=True):
    """A removal is done, or failed."""

    token: int
    count: int
    #: Rows that went; as many as the limit: there may be more.
    error: str | None = None
    #: A sentence for a person; whether rows went is unknown, and it may be asked again.


class StoreMeasured(StoreEvent, frozen=True, kw_only=True):
    """The size of the store is known."""

    token: int
    size_bytes: int = 0
    error: str | None = None
    #: A sentence for a person.


class StoreScanned(StoreEvent, frozen=True, kw_only=True):
    """A scan is answered."""

    token: int
    rows: tuple[Row, ...] = ()
    error: str | None = None
    #: A sentence for a person; the scan may be asked again.


class StoreAway(StoreEvent, frozen=True, kw_only=True):
    """The store does not take what it is given. It is tried again for ever; nothing is lost."""

    why: str
    #: A sentence for a person. Told again when it changes.


class StoreBack(StoreEvent, frozen=True, kw_only=True):
    """The store takes again what it is given."""

    seconds: float
    #: How long it was away.


class StoreFenced(StoreEvent, frozen=True, kw_only=True):
    """A later leader has begun its term: nothing more is written, the rest is dropped."""
