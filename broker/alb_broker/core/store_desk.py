"""The leader's way to the results store: what is asked there, and who waits for which answer.

Rows are durable when the answer comes; until then the store's thread has them, and tries for ever. Answers to
scans come in no order with writes: whoever must read what was written before writes first, and scans then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from alb_broker.core.actions import BeginStore, ClearStore, GetRows, MeasureStore, ScanStore, StoreRows
from alb_broker.store import events
from alb_core.notes import Level
from alb_core.rows import Key, Row, Span

if TYPE_CHECKING:
    from alb_broker.core.state import State
    from alb_broker.core.task import Task

Found: TypeAlias = Callable[[tuple[Row, ...], str], None]
#: Takes rows; or none, and why they cannot be had now.

Counted: TypeAlias = Callable[[int, str], None]
#: Takes how many rows went, or bytes there are; or why that is not known.

NOBODY: Final = 0
#: The token of rows for whose durability nobody waits.


class StoreDesk:
    """Hands over and passes answers on.

    Args:
        state: The reign's parts, which it is one of.
        enabled: There is a store.
    """

    def __init__(self, state: State, *, enabled: bool) -> None:
        self._state: Final = state
        self.enabled: Final = enabled
        self.away = ""  #: Why the store does not take anything; empty: it does.
        self._answers = True  #: It has answered in this term, and is not away since.
        self._writes: Final[dict[int, Callable[[], None]]] = {}  #: Who waits, by token.
        self._reads: Final[dict[int, Found]] = {}  #: As above.
        self._counts: Final[dict[int, Counted]] = {}  #: As above.

    def begin(self) -> None:
        """Begin this reign's term in the store."""
        if self.enabled:
            self._answers = False
            self._state.out.append(BeginStore(self._state.epoch))
            self.keep((), lambda: None)  # answered once the term has begun

    def holds_back(self, task: Task) -> bool:
        """Tell whether a task cannot be placed now: where it goes on, only the store knows, which is away.

        Placed, it would hold its room until the store is back, and others could not use it.
        """
        return task.incremental and bool(task.attempts) and self.enabled and not self._answers

    def keep(
        self, rows: tuple[Row, ...], then: Callable[[], None] | None = None, *, patient: bool = False
    ) -> None:
        """Hand rows over, to be kept all or none.

        Args:
            rows: None at all, too: then the answer means that everything before is durable.
            then: Called once they are durable.
            patient: They may be gathered with others for a moment.
        """
        token = NOBODY
        if then is not None:
            token = self._state.tokens.next()
            self._writes[token] = then
        self._state.out.append(StoreRows(token, self._state.epoch, rows, patient))

    def scan(
        self,
        family: type[Row],
        span: Span,
        limit: int,
        then: Found,
        *,
        newest_first: bool = False,
    ) -> None:
        """Read rows in the order of their keys."""
        token = self._expect(then)
        self._state.out.append(ScanStore(token, self._state.epoch, family, span, limit, newest_first))

    def get(self, family: type[Row], keys: Sequence[Key], then: Found) -> None:
        """Read the rows of these keys, those that are there; nobody is asked where there is no key."""
        if keys:
            self._state.out.append(GetRows(self._expect(then), self._state.epoch, family, tuple(keys)))
        else:
            then((), "")

    def remove(
        self,
        family: type[Row],
        spans: tuple[Span, ...],
        limit: int,
        then: Counted,
        *,
        after_commit: bool = False,
    ) -> None:
        """Remove rows, see `Store.remove`.

        Args:
            family: Which rows.
            spans: Between which keys.
            limit: The most of each span.
            then: Told how many went.
            after_commit: Only once all that was written before is in the table, and this leader still leads.
        """
        token = self._state.tokens.next()
        self._counts[token] = then
        action = ClearStore(token, self._state.epoch, family, spans, limit)
        if after_commit:
            self._state.ledger.say(action)
        else:
            self._state.out.append(action)

    def measure(self, then: Counted) -> None:
        """Find out how much room the store takes."""
        token = self._state.tokens.next()
        self._counts[token] = then
        self._state.out.append(MeasureStore(token, self._state.epoch))

    def _expect(self, then: Found) -> int:
        token = self._state.tokens.next()
        self._reads[token] = then
        return token

    def on_event(self, event: events.StoreEvent) -> bool:
        """Pass on what the store tells.

        Returns:
            Whether this reign's term goes on there.
        """
        if event.epoch != self._state.epoch:
            return True  # it was asked by an earlier reign of this broker
        match event:
            case events.StoreWritten():
                self._hear()
                self._on_written(event.tokens)
            case events.StoreScanned():
                self._on_scanned(event)
            case events.StoreRemoved():
                self._on_counted(event.token, event.count, event.error)
            case events.StoreMeasured():
                self._on_counted(event.token, event.size_bytes, event.error)
            case events.StoreAway():
                self._answers = False
                self.away = event.why
                waiting = self._state.table.unarchived
                self._state.note("store_away", Level.WARNING, why=event.why, waiting=waiting)
            case events.StoreBack():
                self.away = ""
                self._hear()
                waiting = self._state.table.unarchived
                self._state.note("store_back", seconds=round(event.seconds, 1), waiting=waiting)
            case events.StoreFenced():
                return False
        return True

    def _hear(self) -> None:
        if not self._answers:
            self._answers = True
            self._state.queue.release_held()

    def _on_written(self, tokens: tuple[int, ...]) -> None:
        for token in tokens:
            written = self._writes.pop(token, None)
            if written is not None:
                written()

    def _on_counted(self, token: int, number: int, error: str | None) -> None:
        told = self._counts.pop(token, None)
        if told is not None:
            told(number, error or "")

    def _on_scanned(self, event: events.StoreScanned) -> None:
        found = self._reads.pop(event.token, None)
        if found is not None and event.error is None:
            found(event.rows, "")
        elif found is not None:
            found((), f"the results store does not answer: {event.error}")
