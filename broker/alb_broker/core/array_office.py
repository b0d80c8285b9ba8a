"""Where the reign meets arrays: hands its turns, ticks and answers to those who work on them."""

from __future__ import annotations

from typing import Final

from alb_broker.core.array_desk import ArrayDesk
from alb_broker.core.array_fates import ArrayFates
from alb_broker.core.array_pages import ArrayPages
from alb_broker.core.array_retention import ArrayRetention
from alb_broker.core.array_takeover import ArrayTakeover
from alb_broker.core.book import Book
from alb_broker.core.expansion import Expansion
from alb_broker.core.start_desk import StartDesk
from alb_broker.core.state import State
from alb_core import zk


class ArrayOffice:
    """All who work on arrays.

    Args:
        state: The reign's parts.
        book: Carries out what becomes of tasks.
        starts: Decides when arrays begin, and is told what became of them.
    """

    def __init__(self, state: State, book: Book, starts: StartDesk) -> None:
        self._takeover: Final = ArrayTakeover(state)
        self._expansion: Final = Expansion(state, book)
        self._retention: Final = ArrayRetention(state)
        self.pages: Final = ArrayPages(state)
        self.desk: Final = ArrayDesk(state, book, self.pages, starts)
        self._fates: Final = ArrayFates(state, self.pages)
        starts.fates.sources.append(self._fates.of)

    @property
    def loaded(self) -> bool:
        """Whether all arrays of the table are in memory."""
        return self._takeover.complete

    def load(self) -> None:
        """Begin to load the arrays."""
        self._takeover.start()

    def tick_loading(self) -> None:
        """Let time pass while the table is loaded."""
        self._takeover.tick()

    def open(self) -> None:
        """The whole table is in memory: arrays and their tasks belong together."""
        self._takeover.adopt_tasks()

    def tick(self) -> None:
        """Let time pass; the desk has its tick from the clients'."""
        self._takeover.tick()
        self.pages.tick()
        self._fates.tick()
        self._expansion.tick()
        self._retention.tick()

    def make_tasks(self) -> None:
        """Let arrays make the tasks that there is room for."""
        self._expansion.end_turn()

    def on_children(self, event: zk.ChildrenListed) -> bool:
        """Take a list; returns whether it was asked here."""
        return self._takeover.on_children(event)

    def on_nodes(self, event: zk.NodesRead) -> bool:
        """Take nodes; returns whether they were asked here."""
        for desk in (self._takeover, self._expansion, self.pages, self._retention):
            if desk.on_nodes(event):
                return True
        return False
