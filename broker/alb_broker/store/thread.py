"""The thread that writes to the results store, for one term of one leader. The loop hands over and is told.

It owns what was handed over and is not durable yet: in order, until the store has it or a later leader has
begun its term. While one transaction is under way the next one gathers, so batches grow by themselves when
the store is slow. Rows that nobody waits for gather a moment anyway: a transaction costs as much as fifty of
them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from alb_broker.store.events import (
    StoreAway,
    StoreBack,
    StoreEvent,
    StoreFenced,
    StoreRemoved,
    StoreWritten,
)
from alb_broker.store.interface import StaleTerm, Store, StoreError
from alb_broker.store.scans import ScanThread
from alb_core.io.clock import monotonic
from alb_core.rows import Key, Row, Span, weight

BATCH_ROWS: Final = 5_000
BATCH_BYTES: Final = 4 * 1024 * 1024
#: One transaction: enough that its fsync costs little, and well within the time of a statement.
WAITING_ROWS_MAX: Final = 200_000
WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
#: Beyond, the store is `full`: whoever hands over should wait.
GATHER_S: Final = 0.25
GATHER_ROWS: Final = 1_000
#: Rows that nobody waits for are written when the first has waited so long, or so many are there.
RETRY_FIRST_S: Final = 0.1
RETRY_LAST_S: Final = 5.0


class _Rows(msgspec.Struct, frozen=True, gc=False):
    token: int
    rows: tuple[Row, ...]
    size_bytes: int
    due: float = 0.0
    #: Own clock: until then it may gather.


class _Removal(msgspec.Struct, frozen=True, gc=False):
    token: int
    family: type[Row]
    spans: tuple[Span, ...]
    limit: int
    rows: tuple[Row, ...] = ()
    size_bytes: int = 0
    due: float = 0.0


_Job = _Rows | _Removal


class StoreThread:
    """Writes, removes and scans for the loop, which nothing here makes wait.

    Args:
        make_store: Makes the store; called once for writing and once for scans.
        epoch: The leader's term; it begins in the store before anything else.
        post: Takes every event, on a thread of the store. It must only enqueue: no blocking, no exception.
    """

    def __init__(
        self, make_store: Callable[[], Store], epoch: int, post: Callable[[StoreEvent], None]
    ) -> None:
        self._make_store: Final = make_store
        self._epoch: Final = epoch
        self._post: Final = post
        self._scans: Final = ScanThread(make_store, epoch, post)
        self._thread: Final = threading.Thread(target=self._run, name="store-writes", daemon=True)
        self._changed: Final = threading.Condition()
        #: Guards what follows, down to `_until`.
        self._jobs: Final[deque[_Job]] = deque()
        #: Those under way are at its head.
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self._due = float("inf")
        #: Own clock, when something of what waits must be written.
        self._until: float | None = None
        #: Once stopping: when to give up.
        self._store: Store | None = None
        self._begun = False
        self._share = 1.0
        #: Of a full batch: halved by every failure, so that a slow store is given what it can do in time.
        self._away_since: float | None = None
        self._away_why = ""

    # --- the loop's side ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin the term, as soon as the store lets it."""
        self._thread.start()
        self._scans.start()

    @property
    def full(self) -> bool:
        """Whether so much waits that nobody should hand over more; more is kept all the same."""
        return self._waiting_rows >= WAITING_ROWS_MAX or self._waiting_bytes >= WAITING_BYTES_MAX

    @property
    def waiting(self) -> tuple[int, int]:
        """How many rows, and about how many bytes, are not durable yet."""
        return self._waiting_rows, self._waiting_bytes

    def put(self, token: int, rows: Sequence[Row], *, patient: bool = False) -> None:
        """Hand over rows, written together; `StoreWritten` names the token once they are durable.

        Args:
            token: For the answer.
            rows: Any number.
            patient: They may wait a moment for others, up to `GATHER_S`.
        """
        kept = tuple(rows)
        due = monotonic() + GATHER_S if patient else 0.0
        self._hand_over(_Rows(token, kept, sum(map(weight, kept)), due))

    def remove(self, token: int, family: type[Row], spans: Sequence[Span], limit: int) -> None:
        """Remove rows, after what was handed over before; answered by `StoreRemoved`. See `Store.remove`.

        One that fails is answered, not repeated: writes must not wait behind it.
        """
        self._hand_over(_Removal(token, family, tuple(spans), limit))

    def scan(
        self, token: int, family: type[Row], span: Span, limit: int, *, newest_first: bool = False
    ) -> None:
        """Read rows; answered by `StoreScanned`, in no order with writes. See `Store.scan`."""
        self._scans.ask(token, family, span, limit, newest_first=newest_first)

    def measure(self, token: int) -> None:
        """Find out how much room the store takes; answered by `StoreMeasured`."""
        self._scans.measure(token)

    def get(self, token: int, family: type[Row], keys: Sequence[Key]) -> None:
        """Read the rows of these keys; answered as `scan` is. See `Store.get`."""
        self._scans.get(token, family, keys)

    def stop(self, patience_s: float) -> bool:
        """Write what waits and end; the one call that waits.

        Args:
            patience_s: How long. What is not durable by then is given up.

        Returns:
            Whether everything is durable.
        """
        with self._changed:
            self._until = monotonic() + patience_s
            self._changed.notify()
        self._scans.stop()
        self._thread.join(patience_s)
        return not self._jobs

    def _hand_over(self, job: _Job) -> None:
        with self._changed:
            self._jobs.append(job)
            self._waiting_rows += len(job.rows)
            self._waiting_bytes += job.size_bytes
            if job.due < self._due or self._waiting_rows >= GATHER_ROWS:
                self._due = min(self._due, job.due)
                self._changed.notify()

    # --- the thread's side ----------------------------------------------------------------------------------

    def _run(self) -> None:
        delay_s = RETRY_FIRST_S
        try:
            while (batch := self._next()) is not None:
                try:
                    event = self._carry_out(batch)
                except StaleTerm:
                    self._drop_all()
                    return
                except Exception as error:  # noqa: BLE001 (a defect must not lose what waits: it is shown, and tried again)
                    if batch and isinstance(batch[0], _Removal):
                        self._give_up(batch[0], error)
                    else:
                        self._note_away(error)
                        self._share /= 2
                    if not self._rest(delay_s):
                        return
                    delay_s = min(2 * delay_s, RETRY_LAST_S)
                else:
                    delay_s = RETRY_FIRST_S
                    self._share = min(2 * self._share, 1.0)
                    self._note_back()
                    self._settle(batch, event)
        finally:
            self._disconnect()

    def _next(self) -> list[_Job] | None:
        """Wait for work; returns the head of the queue, which stays there until settled; None: the end."""
        with self._changed:
            while not self._jobs:
                if self._until is not None:
                    return None
                if not self._begun:
                    return []
                self._changed.wait()
            while self._until is None and (left := self._gathers_s()) > 0:
                self._changed.wait(left)
            if self._until is not None and monotonic() >= self._until:
                return None
            return self._batch()

    def _gathers_s(self) -> float:
        """Return how long what waits may go on to gather."""
        return 0.0 if self._waiting_rows >= GATHER_ROWS else self._due - monotonic()

    def _batch(self) -> list[_Job]:
        batch: list[_Job] = []
        rows = size_bytes = 0
        for job in self._jobs:
            rows += len(job.rows)
            size_bytes += job.size_bytes
            fits = rows <= BATCH_ROWS * self._share and size_bytes <= BATCH_BYTES * self._share
            if batch and (not fits or isinstance(job, _Removal)):
                break
            batch.append(job)
            if isinstance(job, _Removal):
                break
        return batch

    def _carry_out(self, batch: list[_Job]) -> StoreEvent | None:
        if self._store is None:
            self._store = self._make_store()
            self._store.open()
        if not self._begun:
            self._store.begin_term(self._epoch)
            self._begun = True
        if not batch:
            return None
        first = batch[0]
        if isinstance(first, _Removal):
            count = self._store.remove(self._epoch, first.family, first.spans, first.limit)
            return StoreRemoved(at=monotonic(), epoch=self._epoch, token=first.token, count=count)
        self._store.write(self._epoch, [row for job in batch for row in job.rows])
        return StoreWritten(at=monotonic(), epoch=self._epoch, tokens=tuple(job.token for job in batch))

    def _settle(self, batch: list[_Job], event: StoreEvent | None) -> None:
        with self._changed:
            for job in batch:
                self._jobs.popleft()
                self._waiting_rows -= len(job.rows)
                self._waiting_bytes -= job.size_bytes
            self._due = min((job.due for job in self._jobs), default=float("inf"))
        if event is not None:
            self._post(event)

    def _drop_all(self) -> None:
        with self._changed:
            self._jobs.clear()
            self._waiting_rows = self._waiting_bytes = 0
        self._post(StoreFenced(at=monotonic(), epoch=self._epoch))

    def _give_up(self, removal: _Removal, error: Exception) -> None:
        """Whether the store is away, the next write tells."""
        self._disconnect()
        told = StoreRemoved(
            at=monotonic(), epoch=self._epoch, token=removal.token, count=0, error=_why(error)
        )
        self._settle([removal], told)

    def _note_away(self, error: Exception) -> None:
        self._disconnect()
        now = monotonic()
        why = _why(error)
        if self._away_since is None:
            self._away_since = now
        if why != self._away_why:
            self._away_why = why
            self._post(StoreAway(at=now, epoch=self._epoch, why=why))

    def _note_back(self) -> None:
        if self._away_since is not None:
            now = monotonic()
            self._post(StoreBack(at=now, epoch=self._epoch, seconds=now - self._away_since))
            self._away_since, self._away_why = None, ""

    def _rest(self, delay_s: float) -> bool:
        """Wait before the next try; returns False when it is time to give up."""
        end = monotonic() + delay_s
        with self._changed:
            while (now := monotonic()) < (end if self._until is None else min(end, self._until)):
                self._changed.wait((end if self._until is None else min(end, self._until)) - now)
            return self._until is None or monotonic() < self._until

    def _disconnect(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


def _why(error: Exception) -> str:
    return error.why if isinstance(error, StoreError) else f"a defect of alb: {error!r}"[:500]
