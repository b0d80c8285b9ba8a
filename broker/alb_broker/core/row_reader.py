"""The row reader: hands clients pages of the results store's rows, where they know only the leader.

It owns the questions that the store has not answered yet.
"""

from __future__ import annotations

from typing import Final

from alb_broker.core.actions import ScanStore
from alb_broker.core.clients import Client
from alb_broker.core.state import State
from alb_broker.store import events
from alb_core import rows
from alb_core.messages import Error, QueryRows, RowsPage

SCAN_ROWS: Final = 500
#: Looked at for one page: some milliseconds of the leader's time.
PAGE_BYTES: Final = 1024 * 1024
#: Of a page's rows.
QUESTIONS_MAX: Final = 64
#: That the store has not answered; beyond, they are refused.
READABLE: Final[dict[str, type[rows.Row]]] = {
    family.family: family for family in (rows.FinishedTask, rows.PastAttempt, rows.LoadSample)
}


class RowReader:
    """Answers questions for rows.

    Args:
        state: The reign's parts.
        enabled: There is a results store.
    """

    def __init__(self, state: State, *, enabled: bool) -> None:
        self._state: Final = state
        self._enabled: Final = enabled
        self._questions: Final[dict[int, tuple[Client, QueryRows]]] = {}  #: By token.

    def ask(self, client: Client, query: QueryRows) -> None:
        """Answer with a page of rows when the store has answered."""
        state = self._state
        family = READABLE.get(query.family)
        why = ""
        if not self._enabled:
            why = "this cluster keeps no history: its brokers have no --store"
        elif family is None:
            why = (
                f"there are no rows of {query.family[:40]!r} to read; there are {', '.join(sorted(READABLE))}"
            )
        elif not _fits(family, query.after):
            why = (
                f"{query.after!r}"[:80]
                + f" is no place in {query.family}: its key is {', '.join(family.key_fields)}"
            )
        elif len(self._questions) >= QUESTIONS_MAX:
            why = (
                "too many clients read the results store through the leader; use --store, or try again later"
            )
        if why or family is None:
            state.tell(client.peer, Error(code="invalid", why=why, seq=query.seq))
            return
        token = state.tokens.next()
        self._questions[token] = (client, query)
        state.out.append(
            ScanStore(token, state.epoch, family, query.after, (), SCAN_ROWS, newest_first=False)
        )

    def on_scanned(self, event: events.StoreScanned) -> None:
        """Pass on what was found."""
        asked = self._questions.pop(event.token, None)
        if asked is None:
            return
        client, query = asked
        if event.error is not None:
            why = f"the results store does not answer: {event.error}"
            self._state.tell(client.peer, Error(code="error", why=why, seq=query.seq))
            return
        self._state.tell(client.peer, _page(query, event.rows))


def _fits(family: type[rows.Row], after: tuple[str | float, ...]) -> bool:
    """Tell whether values begin a key of this family: a database compares no text with a number."""
    kinds = {"task": str, "worker": str}
    return len(after) <= len(family.key_fields) and all(
        isinstance(value, str) == (kinds.get(name) is str)
        for name, value in zip(family.key_fields, after, strict=False)
    )


def _page(query: QueryRows, found: tuple[rows.Row, ...]) -> RowsPage:
    """Return what was found, as much as a message may hold."""
    chosen: list[rows.Row] = []
    size_bytes = 0
    for row in found:
        size_bytes += rows.weight(row)
        if chosen and size_bytes > PAGE_BYTES:
            break
        chosen.append(row)
    return RowsPage(
        seq=query.seq,
        tasks=tuple(row for row in chosen if isinstance(row, rows.FinishedTask)),
        attempts=tuple(row for row in chosen if isinstance(row, rows.PastAttempt)),
        loads=tuple(row for row in chosen if isinstance(row, rows.LoadSample)),
        more=len(chosen) < len(found) or len(found) == SCAN_ROWS,
    )
