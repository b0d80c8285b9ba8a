"""Which tasks and arrays have an id that begins, or ends, with a few digits that a person wrote.

Ids begin alike for a minute of submissions, so it is their ends that people write. Nothing is kept for it:
the ids of the table are looked through, a portion of them a tick, once for all who ask meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from alb_broker.core.clients import Client
from alb_broker.core.state import State
from alb_core import ids
from alb_core.messages import Error, FoundId, IdsPage, Message, QueryIds
from alb_core.tasks import TaskState

LOOKS_MAX: Final = 50_000
#: Ids held against what was asked in one interval of the clock: some 7 ms in 200.
FOUND_MAX: Final = 4
#: In an answer: one more than a person is shown of those that are alike.
QUESTIONS_MAX: Final = 100
#: That wait; beyond, clients are told to ask again.
LENGTH: Final = 32
#: Of an id; that of a task of an array is longer.

Asked = dict[tuple[bytes, int], str]
#: What was asked, by peer and number.


class _Pass:
    """One look through the table.

    Args:
        names: The ids in it.
        asked: The questions that it answers.
    """

    def __init__(self, names: list[str], asked: Asked) -> None:
        self.asked: Final = asked
        self.found: Final[dict[str, list[str]]] = {part: [] for part in asked.values()}
        self._names: Final = names
        self._position = 0

    @property
    def over(self) -> bool:
        """Whether all was looked at."""
        return self._position >= len(self._names)

    def look(self, most: int) -> int:
        """Look at some more; returns how many comparisons that took: about as many as it may, or fewer."""
        count = max(1, most // len(self.found))
        names = self._names[self._position : self._position + count]
        self._position += count
        for part, found in self.found.items():
            alike = (
                name
                for name in names
                if (name.endswith(part) or name.startswith(part)) and len(name) == LENGTH
            )
            found.extend(islice(alike, FOUND_MAX - len(found)))
        return max(1, len(names)) * len(self.found)


class IdFinder:
    """Answers which ids are meant.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._waiting: Asked = {}
        self._pass: _Pass | None = None
        self._left = LOOKS_MAX  #: Of what may be done until the next tick.

    def handlers(self) -> dict[type[Message], Callable[[Client, Any], None]]:
        """Return which message is answered by what."""
        return {QueryIds: self._on_query}

    def _on_query(self, client: Client, query: QueryIds) -> None:
        asked = (client.peer, query.seq)
        if not ids.is_part(query.part):
            why = f"{query.part[:80]!r} begins or ends no id: those have 32 lower-case hex digits"
            self._state.tell(client.peer, Error(code="invalid", why=why, seq=query.seq))
        elif len(self._waiting) >= QUESTIONS_MAX and asked not in self._waiting:
            why = "too many short ids are being looked for; ask again in a moment, or give the whole id"
            self._state.tell(client.peer, Error(code="error", why=why, seq=query.seq))
        elif self._pass is None or asked not in self._pass.asked:
            self._waiting[asked] = query.part
            self._work_off()

    def tick(self) -> None:
        """Go on with what waits."""
        self._left = LOOKS_MAX
        self._work_off()

    def _work_off(self) -> None:
        while self._left > 0 and (self._pass is not None or self._waiting):
            if self._pass is None:
                table = self._state.table
                names = [*table.live, *table.done, *self._state.arrays.by_id]
                self._pass, self._waiting = _Pass(names, self._waiting), {}
            self._left -= self._pass.look(self._left)
            if self._pass.over:
                self._answer(self._pass)
                self._pass = None

    def _answer(self, over: _Pass) -> None:
        for (peer, seq), part in over.asked.items():
            found = tuple(known for name in over.found[part] if (known := self._known(name)) is not None)
            self._state.tell(peer, IdsPage(seq=seq, found=found))

    def _known(self, name: str) -> FoundId | None:
        """Return how a task or an array is now; None: it left the table meanwhile."""
        table, array = self._state.table, self._state.arrays.get(name)
        task, done = table.live.get(name), table.done.get(name)
        state: TaskState | None = None
        if task is not None:
            state = task.state
        elif array is not None:
            state = array.state
        elif done is None:
            return None
        elif done.record is not None:
            state = done.record.state
        return FoundId(id=name, state=state)
