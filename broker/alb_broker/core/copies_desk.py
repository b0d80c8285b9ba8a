"""The bounds of copies: what operators ask, and what ``/config/copies`` says.

They hold for copies that are made from the moment that the leader hears of them; what is copied already goes
on. A request is answered when it is in the table, where every later leader reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from alb_broker.core.clients import Client
from alb_broker.core.copies import Copies, cpus_of
from alb_broker.core.setting import Setting
from alb_broker.core.state import State
from alb_core import zk, znodes
from alb_core.copies import COPIES, CopiesNode, check_copies
from alb_core.messages import CopiesPage, Done, Error, Message, QueryCopies, SetCopies


class CopiesDesk:
    """Handles the bounds of copies.

    Args:
        state: The reign's parts.
        copies: Who makes them.
    """

    def __init__(self, state: State, copies: Copies) -> None:
        self._state: Final = state
        self._copies: Final = copies
        self._setting: Final = Setting(state, znodes.COPIES)

    def handlers(self) -> dict[type[Message], Callable[[Client, Any], None]]:
        """Return which message is answered by what."""
        return {QueryCopies: self._on_query, SetCopies: self._on_set}

    def _on_query(self, client: Client, query: QueryCopies) -> None:
        state, counters = self._state, self._state.counters
        copied = self._copies.running(state.table.live.values())
        page = CopiesPage(
            seq=query.seq,
            copies=state.stragglers.node,
            running=len(copied),
            cpus=cpus_of(copied),
            cpus_max=self._copies.cpus_max,
            made=counters.get("copies_made", 0),
            won=counters.get("copies_won", 0),
            outrun=counters.get("attempts_outrun", 0),
            wasted_s=counters.get("copies_wasted_ms", 0) / 1000,
        )
        state.tell(client.peer, page)

    def _on_set(self, client: Client, request: SetCopies) -> None:
        state = self._state
        wrong = check_copies(request.copies)
        if wrong:
            state.tell(client.peer, Error(code="invalid", why=wrong, seq=request.seq))
            return
        done = state.client(client.peer, Done(seq=request.seq))
        if request.copies == state.stragglers.node and self._setting.readable:  # said again
            state.ledger.say(done)
            return
        self._setting.write(request.copies, (done,))
        self._adopt(request.copies, client.user)

    def on_node(self, node: zk.NodeRead | None) -> bool:
        """Take what ``/config/copies`` holds; without the node the bounds of a new cluster hold.

        What cannot be read changes nothing: what is in force stays so, and the operator is told.

        Returns:
            Whether it was taken; while an own change is on its way to the node, it is not.
        """
        if not self._setting.meets(node):
            return False
        try:
            found = COPIES if node is None else _read(node)
        except znodes.UnreadableNode as error:
            held = _words(self._state.stragglers.node)
            why = f"{error.why}; until it is written again (alb copies set …) {held} holds"
            self._setting.not_understood(why)
            return True
        if self._setting.understood():
            self._use(found)
        else:
            self._adopt(found, "zkCli")
        return True

    def _adopt(self, after: CopiesNode, by: str) -> None:
        before = self._state.stragglers.node
        if after != before:
            self._state.note("copies_changed", copies=_words(after), before=_words(before), by=by)
            self._use(after)

    def _use(self, node: CopiesNode) -> None:
        self._state.stragglers.use(node, self._state.table.live.values())


def _read(node: zk.NodeRead) -> CopiesNode:
    """Return what a node holds; raises UnreadableNode for what makes no sense."""
    found = znodes.decode(CopiesNode, node.path, node.data)
    wrong = check_copies(found)
    if wrong:
        raise znodes.UnreadableNode(node.path, wrong)
    return found


def _words(node: CopiesNode) -> str:
    """Return bounds for people."""
    who = "also of who does not say" if node.unasked else "of who says so"
    if not node.enabled:
        return "no copies"
    return f"share={node.share:g} slow_tasks={node.slow_tasks:g} slow_workers={node.slow_workers:g} {who}"
