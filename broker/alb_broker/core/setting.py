"""One node below ``/config``, which operators change: by asking, or by hand in zkCli.

It owns the steps that all such nodes share: what is read while an own change is on its way is older than that
and is read again; a node that is missing is created with the next change; what cannot be read is kept out of
the way, and said where people look, until it can be read again; a wish is answered when it is in the table.
What a node means, and what can be wished, is its desk's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from alb_broker.core.actions import Action
from alb_broker.core.clients import Client
from alb_broker.core.ledger import Lane
from alb_broker.core.state import State
from alb_core import zk, znodes
from alb_core.messages import Done, Error

F = TypeVar("F", bound=msgspec.Struct)


class Setting:
    """One such node.

    Args:
        state: The reign's parts.
        path: Of the node.
    """

    def __init__(self, state: State, path: str) -> None:
        self.path: Final = path
        self.known = False  #: What was in the table when this reign began was read, or is written anew.
        self.readable = True  #: The table holds what is in force.
        self._state: Final = state
        self._absent = False  #: There is no node: it has to be created.

    def meets(self, node: zk.NodeRead | None) -> bool:
        """Look at what was read; returns whether it counts: while an own change is under way, it does not."""
        if self._state.ledger.holds(self.path):
            return False
        self._absent = node is None
        return True

    def read(
        self,
        node: zk.NodeRead | None,
        form: type[F],
        check: Callable[[F], str | None],
        kept: Callable[[], str],
    ) -> F | None:
        """Return what a node holds; None: it makes no sense, which the operator is told.

        Args:
            node: As it was read; None: there is none, and nothing is said.
            form: Of the node.
            check: Tells what is wrong with it, as a sentence.
            kept: Tells until when what goes on, where it makes no sense.
        """
        try:
            return read_form(node, form, check)
        except znodes.UnreadableNode as error:
            self.not_understood(f"{error.why}; {kept()}")
            return None

    def understood(self) -> bool:
        """What was read made sense; returns whether it is the first time in this reign."""
        first = not self.known
        self.known = self.readable = True
        self._state.table.set_aside.pop(self.path, None)
        return first

    def not_understood(self, why: str) -> None:
        """What was read makes no sense, or cannot be followed; `alb status` lists it."""
        self.readable = False
        self._state.set_aside(self.path, why)

    def refuse(self, client: Client, seq: int, why: str) -> None:
        """Answer a wish that cannot be: nothing changes."""
        self._state.tell(client.peer, Error(code="invalid", why=why, seq=seq))

    def grant(self, client: Client, seq: int, before: msgspec.Struct, after: msgspec.Struct) -> bool:
        """Write what somebody wishes, and answer once it is in the table; returns whether it is new.

        Args:
            client: Who wishes it.
            seq: Of the request.
            before: What is in force.
            after: What is to be.
        """
        done = self._state.client(client.peer, Done(seq=seq))
        if after == before and self.readable:  # said again
            self._state.ledger.say(done)
            return False
        self.write(after, (done,))
        return True

    def operation(self, form: msgspec.Struct) -> zk.Operation:
        """Return the write that puts this into the table."""
        data = znodes.encode(form)
        absent, self._absent = self._absent, False
        return zk.Create(self.path, data) if absent else zk.SetData(self.path, data)

    def write(self, form: msgspec.Struct, releases: tuple[Action, ...], *others: zk.Operation) -> None:
        """Put into the table what is in force.

        Args:
            form: Of the node.
            releases: Said once it is there.
            others: Writes of other nodes that belong to it.
        """
        operation = self.operation(form)
        self.understood()
        self._state.ledger.write(Lane.RESULTS, self.path, (operation, *others), releases)


def read_form(node: zk.NodeRead | None, form: type[F], check: Callable[[F], str | None]) -> F:
    """Return what a node holds, or what no node says; raises UnreadableNode for what makes no sense."""
    if node is None:
        return form()
    found = znodes.decode(form, node.path, node.data)
    wrong = check(found)
    if wrong:
        raise znodes.UnreadableNode(node.path, wrong)
    return found
