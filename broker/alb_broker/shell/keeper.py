"""A leader's hand on the results store: one thread for each of its terms, none while it stands by."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from alb_broker.core import actions
from alb_broker.store.events import StoreEvent
from alb_broker.store.interface import Store, StoreUnusable
from alb_broker.store.opening import open_store
from alb_broker.store.thread import StoreThread
from alb_core.errors import ConfigError

LAST_WRITES_S: Final = 2.0
#: A broker that ends waits so long for what it handed over; the next leader hands it over again.


def check_store(url: str) -> None:
    """Find out at the start whether the URL of a results store can be used at all; connects to nobody.

    Raises:
        ConfigError: It names no store that could be opened here.
    """
    if url:
        try:
            open_store(url, "").close()
        except StoreUnusable as error:
            raise ConfigError(f"--store: {error.why}") from error


class Keeper:
    """Hands rows over, and passes answers on.

    Args:
        url: Of the store; empty: there is none.
        table: The cluster's table.
        post: Takes the store's events, on its threads.
    """

    def __init__(self, url: str, table: str, post: Callable[[StoreEvent], None]) -> None:
        self._make: Final[Callable[[], Store]] = partial(open_store, url, table)
        self._post: Final = post
        self._thread: StoreThread | None = None
        self._epoch = 0

    def begin(self, action: actions.BeginStore) -> None:
        """A term begins: what an earlier one of this broker handed over is the new leader's matter."""
        self.close(patience_s=0.0)
        self._epoch = action.epoch
        self._thread = StoreThread(self._make, action.epoch, self._post)
        self._thread.start()

    def keep(self, action: actions.StoreRows) -> None:
        """Hand rows over."""
        if self._thread is not None and action.epoch == self._epoch:
            self._thread.put(action.token, action.rows, patient=action.patient)

    def scan(self, action: actions.ScanStore) -> None:
        """Ask for rows."""
        if self._thread is not None and action.epoch == self._epoch:
            self._thread.scan(
                action.token, action.family, action.span, action.limit, newest_first=action.newest_first
            )

    def get(self, action: actions.GetRows) -> None:
        """Ask for the rows of some keys."""
        if self._thread is not None and action.epoch == self._epoch:
            self._thread.get(action.token, action.family, action.keys)

    def clear(self, action: actions.ClearStore) -> None:
        """Remove rows, after what was handed over before."""
        if self._thread is not None and action.epoch == self._epoch:
            self._thread.remove(action.token, action.family, action.spans, action.limit)

    def measure(self, action: actions.MeasureStore) -> None:
        """Ask how large the store is."""
        if self._thread is not None and action.epoch == self._epoch:
            self._thread.measure(action.token)

    def close(self, *, patience_s: float = LAST_WRITES_S) -> None:
        """End, after what was handed over is written, if that is soon."""
        if self._thread is not None:
            self._thread.stop(patience_s)
            self._thread = None
