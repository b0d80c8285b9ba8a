"""The row reader: hands clients pages of the results store's rows, where they know only the leader.

It owns the questions that the store has not answered yet.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from alb_broker.core.clients import Client
from alb_broker.core.state import State
from alb_core import rows
from alb_core.messages import Error, QueryRows, RowsPage
from alb_core.rows import Span

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
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._waiting = 0  #: Questions that the store has not answered.

    def ask(self, client: Client, query: QueryRows) -> None:
        """Answer with a page of rows when the store has answered."""
        state = self._state
        family = READABLE.get(query.family)
        why = ""
        if not state.store.enabled:
            why = "this cluster keeps no history: its brokers have no --store"
        elif family is None:
            known = ", ".join(sorted(READABLE))
            why = f"there are no rows of {query.family[:40]!r} to read; there are {known}"
        elif not _fits(family, query.after):
            shown, key = repr(query.after)[:80], ", ".join(family.key_fields)
            why = f"{shown} is no place in {query.family}: its key is {key}"
        elif self._waiting >= QUESTIONS_MAX:
            why = (
                "too many clients read the results store through the leader; use --store, or try again later"
            )
        if why or family is None:
            state.tell(client.peer, Error(code="invalid", why=why, seq=query.seq))
            return
        self._waiting += 1
        then = partial(self._on_read, client, query)
        state.store.scan(family, Span(after=query.after), SCAN_ROWS, then)

    def _on_read(self, client: Client, query: QueryRows, found: tuple[rows.Row, ...], why: str) -> None:
        """Pass on what was found."""
        self._waiting -= 1
        if why:
            self._state.tell(client.peer, Error(code="error", why=why, seq=query.seq))
        else:
            self._state.tell(client.peer, _page(query, found))


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
    encoded = msgspec.Raw(msgspec.msgpack.encode(chosen))
    return RowsPage(seq=query.seq, rows=encoded, more=len(chosen) < len(found) or len(found) == SCAN_ROWS)
