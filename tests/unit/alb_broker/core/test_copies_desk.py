"""The bounds of copies: what is asked, what is in the table, and what is told of copies."""

from __future__ import annotations

import pytest
from tests.broker_parts import C1, C2, Desks, notes, read, to_client

from alb_core import zk, znodes
from alb_core.copies import COPIES, CopiesNode
from alb_core.messages import CopiesPage, Done, Error, Message, QueryCopies, SetCopies

MANY = CopiesNode(share=0.5, unasked=True)


def desks() -> Desks:
    """Return the desks of a leader whose table holds the bounds of a new cluster."""
    each = Desks()
    each.greet("ann", "bob")
    each.copies_desk.on_node(read(znodes.COPIES, COPIES))
    each.state.take_out()
    return each


def ask(each: Desks, message: Message, peer: bytes = C1) -> Message:
    """Let a client say something; returns the answer that follows the commit."""
    actions = each.client(message, peer=peer) + each.commit()
    return to_client(peer, actions)[-1]


def test_the_answer_follows_the_commit() -> None:
    """Bounds hold at once, and are confirmed when they are in the table; the same again writes nothing."""
    each = desks()
    assert to_client(C1, each.client(SetCopies(seq=1, copies=MANY))) == []
    assert each.state.stragglers.node == MANY
    assert Done(seq=1) in to_client(C1, each.commit())
    (written,) = each.written
    assert isinstance(written, zk.SetData)
    assert znodes.decode(CopiesNode, written.path, written.data) == MANY
    assert ask(each, SetCopies(seq=2, copies=MANY), peer=C2) == Done(seq=2)
    assert len(each.written) == 1


def test_what_makes_no_sense_is_refused() -> None:
    """The error names the bound, and nothing changes."""
    each = desks()
    error = ask(each, SetCopies(seq=1, copies=CopiesNode(share=25.0)))
    assert isinstance(error, Error)
    assert (error.code, each.state.stragglers.node) == ("invalid", COPIES)
    assert "25" in error.why


def test_a_query_tells_bounds_and_counts() -> None:
    """What may be, what is, and what it cost."""
    each = desks()
    each.state.counters.update(copies_made=3, copies_won=2, attempts_outrun=2, copies_wasted_ms=2500)
    page = ask(each, QueryCopies(seq=7))
    told = {"made": 3, "won": 2, "outrun": 2, "wasted_s": 2.5}
    assert page == CopiesPage(seq=7, copies=COPIES, running=0, cpus=0.0, cpus_max=0.0, **told)


def test_a_change_by_hand_is_taken_and_told() -> None:
    """Whoever writes the node with zkCli is obeyed; the log says what changed, and that it was not asked."""
    each = desks()
    each.copies_desk.on_node(read(znodes.COPIES, MANY))
    (note,) = notes(each.state.take_out(), "copies_changed")
    assert (note["by"], each.state.stragglers.node) == ("zkCli", MANY)


@pytest.mark.parametrize("data", [b"nonsense", b'{"share": 7}', b'{"shares": 0.1}'])
def test_what_cannot_be_read_changes_nothing(data: bytes) -> None:
    """What was in force stays so, the operator is told, and writing it anew mends it."""
    each = desks()
    each.copies_desk.on_node(read(znodes.COPIES, MANY))
    assert each.copies_desk.on_node(read(znodes.COPIES, data))
    assert each.state.stragglers.node == MANY
    assert "share=0.5" in each.state.table.set_aside[znodes.COPIES]
    assert ask(each, SetCopies(seq=2, copies=MANY)) == Done(seq=2)
    assert not each.state.table.set_aside


def test_without_a_node_the_bounds_of_a_new_cluster_hold() -> None:
    """A cluster of an older version has none: the first change makes it."""
    each = desks()
    each.copies_desk.on_node(None)
    assert each.state.stragglers.node == COPIES
    assert ask(each, SetCopies(seq=1, copies=MANY)) == Done(seq=1)
    assert isinstance(each.written[-1], zk.Create)


def test_what_is_read_while_a_change_is_on_its_way_is_older() -> None:
    """It is read again after that."""
    each = desks()
    each.client(SetCopies(seq=1, copies=MANY))
    assert not each.copies_desk.on_node(read(znodes.COPIES, COPIES))
    assert each.state.stragglers.node == MANY
