"""The thread that reads from the results store, on a connection of its own: no scan waits behind a write."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from alb_broker.store.events import StoreEvent, StoreMeasured, StoreScanned
from alb_broker.store.interface import Store, StoreError
from alb_core.io.clock import monotonic
from alb_core.rows import Key, Row, Span

WAITING_MAX: Final = 1_000
#: Scans; beyond, they are refused at once.


class _Scan(msgspec.Struct, frozen=True, gc=False):
    token: int
    family: type[Row]
    span: Span
    limit: int
    newest_first: bool

    def read(self, store: Store) -> Sequence[Row]:
        return store.scan(self.family, self.span, self.limit, newest_first=self.newest_first)


class _Get(msgspec.Struct, frozen=True, gc=False):
    token: int
    family: type[Row]
    keys: tuple[Key, ...]

    def read(self, store: Store) -> Sequence[Row]:
        return store.get(self.family, self.keys)


class _Measure(msgspec.Struct, frozen=True, gc=False):
    token: int


_Read = _Scan | _Get | _Measure


class ScanThread:
    """Answers questions in their order. One that fails is answered, not repeated: its asker may have gone.

    Args:
        make_store: Makes the store; it is opened by the first scan.
        epoch: For the events.
        post: Takes every answer; see `StoreThread`.
    """

    def __init__(
        self, make_store: Callable[[], Store], epoch: int, post: Callable[[StoreEvent], None]
    ) -> None:
        self._make_store: Final = make_store
        self._epoch: Final = epoch
        self._post: Final = post
        self._thread: Final = threading.Thread(target=self._run, name="store-scans", daemon=True)
        self._changed: Final = threading.Condition()
        self._scans: Final[deque[_Read]] = deque()
        self._stopping = False
        self._store: Store | None = None

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def ask(self, token: int, family: type[Row], span: Span, limit: int, *, newest_first: bool) -> None:
        """Queue a scan."""
        self._queue(_Scan(token, family, span, limit, newest_first))

    def get(self, token: int, family: type[Row], keys: Sequence[Key]) -> None:
        """Queue a read of the rows of these keys."""
        self._queue(_Get(token, family, tuple(keys)))

    def measure(self, token: int) -> None:
        """Queue the question for the store's size."""
        self._queue(_Measure(token))

    def _queue(self, read: _Read) -> None:
        with self._changed:
            taken = len(self._scans) < WAITING_MAX and not self._stopping
            if taken:
                self._scans.append(read)
                self._changed.notify()
        if not taken:
            self._refuse(read, "too many reads of the results store wait already; ask again later")

    def stop(self) -> None:
        """End soon; nobody is waited for, and what waits is not answered."""
        with self._changed:
            self._stopping = True
            self._scans.clear()
            self._changed.notify()

    def _run(self) -> None:
        try:
            while (scan := self._next()) is not None:
                self._answer(scan)
        finally:
            self._disconnect()

    def _next(self) -> _Read | None:
        with self._changed:
            while not self._scans and not self._stopping:
                self._changed.wait()
            return None if self._stopping else self._scans.popleft()

    def _answer(self, read: _Read) -> None:
        try:
            if self._store is None:
                self._store = self._make_store()
                self._store.open()
            event = self._carry_out(self._store, read)
        except Exception as error:  # noqa: BLE001 (whatever it is, the asker must be told)
            self._disconnect()
            self._refuse_all(
                read, error.why if isinstance(error, StoreError) else f"a defect of alb: {error!r}"[:500]
            )
        else:
            self._post(event)

    def _carry_out(self, store: Store, read: _Read) -> StoreEvent:
        if isinstance(read, _Measure):
            size_bytes = store.size_bytes()
            return StoreMeasured(at=monotonic(), epoch=self._epoch, token=read.token, size_bytes=size_bytes)
        rows = tuple(read.read(store))
        return StoreScanned(at=monotonic(), epoch=self._epoch, token=read.token, rows=rows)

    def _refuse_all(self, read: _Read, why: str) -> None:
        """Each would wait for the same time-out: they are told at once."""
        with self._changed:
            others = list(self._scans)
            self._scans.clear()
        for each in (read, *others):
            self._refuse(each, why)

    def _refuse(self, read: _Read, why: str) -> None:
        kind = StoreMeasured if isinstance(read, _Measure) else StoreScanned
        self._post(kind(at=monotonic(), epoch=self._epoch, token=read.token, error=why))

    def _disconnect(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
