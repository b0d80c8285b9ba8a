"""The worker's node: made, taken over, made again, and yielded to a newer incarnation."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from tests.worker_parts import NODE, PATH, SESSION, kinds, only, read_of

from alb_core import zk
from alb_core.notes import Level, Note
from alb_core.znodes import encode
from alb_worker.core.registration import RECHECK_S, RETRY_S, Registration, Standing

OTHER = msgspec.structs.replace(NODE, incarnation="other")
ELSEWHERE = msgspec.structs.replace(
    OTHER, pid=47, capacity=msgspec.structs.replace(NODE.capacity, host="rack7")
)


class _Desk:
    """A registration and the way to answer its requests."""

    def __init__(self) -> None:
        self.registration = Registration(NODE, itertools.count(1))

    def connect(self, session: int = SESSION) -> zk.ReadNodes:
        return only(
            zk.ReadNodes,
            self.registration.on_connected(zk.SessionConnected(at=0.0, session=session, timeout_s=5.0)),
        )

    def read(self, request: zk.ReadNodes, *nodes: zk.NodeRead | None, at: float = 0.0) -> list[object]:
        assert self.registration.expects(request.token)
        return list(self.registration.on_nodes_read(zk.NodesRead(at=at, token=request.token, nodes=nodes)))

    def end(self, multi: zk.Multi, verdict: zk.Verdict, at: float = 0.0) -> list[object]:
        assert self.registration.expects(multi.token)
        return list(
            self.registration.on_multi_ended(zk.MultiEnded(at=at, token=multi.token, verdict=verdict))
        )

    def hold(self, session: int = SESSION) -> None:
        claim = only(zk.Multi, self.read(self.connect(session), None))
        look = only(zk.ReadNodes, self.end(claim, zk.Applied((None,))))
        self.read(look, read_of(PATH, NODE, owner=session))
        assert self.registration.standing is Standing.HELD


def test_a_free_name_is_taken_and_the_owner_is_checked_afterwards() -> None:
    """The node is created ephemeral, read again, and held only once its owner is our session."""
    desk = _Desk()
    look = desk.connect()
    assert look == zk.ReadNodes(token=look.token, paths=(PATH,), watch=True, sync=True)
    claim = only(zk.Multi, desk.read(look, None))
    assert claim.operations == (zk.Create(PATH, encode(NODE), ephemeral=True),)
    again = only(zk.ReadNodes, desk.end(claim, zk.Applied((None,))))
    assert desk.registration.standing is Standing.LOOKING
    assert kinds(desk.read(again, read_of(PATH, NODE, owner=SESSION))) == ["worker_registered"]
    assert desk.registration.standing is Standing.HELD


def test_a_node_of_an_earlier_life_is_replaced_in_one_transaction() -> None:
    """At start another incarnation is the past: it is deleted at its version and ours made, together."""
    desk = _Desk()
    actions = desk.read(desk.connect(), read_of(PATH, OTHER, version=4, owner=0x99))
    assert only(zk.Multi, actions).operations == (
        zk.Delete(PATH, 4),
        zk.Create(PATH, encode(NODE), ephemeral=True),
    )
    assert kinds(actions)[0] == "registration_taken_over"


def test_a_node_of_another_host_is_taken_over_with_a_warning() -> None:
    """A worker that was moved looks like two of one name: the log says whose it was, and what two do."""
    desk = _Desk()
    note = only(Note, desk.read(desk.connect(), read_of(PATH, ELSEWHERE, owner=0x99)))
    assert (note.event, note.level) == ("registration_taken_over", Level.WARNING)
    assert "a worker on rack7 (pid 47) had the name" in note.fields["why"]


def test_a_node_that_cannot_be_read_is_replaced_even_after_we_held_it() -> None:
    """Garbage in our place is nobody's incarnation: it is taken over."""
    desk = _Desk()
    desk.hold()
    look = only(zk.ReadNodes, desk.registration.on_node_changed(zk.NodeChanged(at=1.0, path=PATH)))
    garbage = zk.NodeRead(path=PATH, data=b"?", stat=zk.Stat(version=2, mtime_s=0, owner=1))
    assert only(zk.Multi, desk.read(look, garbage)).operations[0] == zk.Delete(PATH, 2)


def test_after_a_lost_session_the_same_incarnation_registers_again() -> None:
    """The node of our own old session is replaced; a node that vanished is made."""
    desk = _Desk()
    desk.hold()
    desk.registration.on_disconnected()
    assert desk.registration.standing is Standing.AWAY
    actions = desk.read(desk.connect(session=0x52), read_of(PATH, NODE, version=0, owner=SESSION))
    assert only(zk.Multi, actions).operations[0] == zk.Delete(PATH, 0)


def test_after_a_lost_session_another_incarnation_is_newer() -> None:
    """Once we held the node, whoever holds it now came later: we yield, and ask nothing more."""
    desk = _Desk()
    desk.hold()
    desk.registration.on_disconnected()
    actions = desk.read(desk.connect(session=0x52), read_of(PATH, ELSEWHERE, owner=0x99))
    assert kinds(actions) == ["worker_replaced"]
    assert "a newer worker on rack7 (pid 47) took the name" in only(Note, actions).fields["why"]
    assert desk.registration.standing is Standing.REPLACED
    assert desk.registration.on_tick(1e9) == []
    assert desk.registration.on_connected(zk.SessionConnected(at=1.0, session=0x53, timeout_s=5.0)) == []


def test_a_node_that_disappears_while_the_session_lives_is_made_again() -> None:
    """A watch tells that the node is gone; it is made anew."""
    desk = _Desk()
    desk.hold()
    assert desk.registration.on_node_changed(zk.NodeChanged(at=1.0, path="/leader")) == []
    look = only(zk.ReadNodes, desk.registration.on_node_changed(zk.NodeChanged(at=1.0, path=PATH)))
    assert only(zk.Multi, desk.read(look, None)).operations == (
        zk.Create(PATH, encode(NODE), ephemeral=True),
    )


def test_a_lost_watch_is_made_up_for() -> None:
    """The node is read again every RECHECK_S even when nothing was told."""
    desk = _Desk()
    desk.hold()
    assert desk.registration.on_tick(RECHECK_S - 0.1) == []
    assert only(zk.ReadNodes, desk.registration.on_tick(RECHECK_S)).watch


@pytest.mark.parametrize("verdict", [zk.Refused(0, "NodeExists"), zk.Unknown("ConnectionLoss")])
def test_a_claim_that_failed_or_is_unknown_is_decided_by_reading(verdict: zk.Verdict) -> None:
    """After a pause the node is read, and what it holds decides; nothing is claimed twice blindly."""
    desk = _Desk()
    claim = only(zk.Multi, desk.read(desk.connect(), None))
    assert kinds(desk.end(claim, verdict)) == ["registration_delayed"]
    assert desk.registration.on_tick(RETRY_S / 2) == []
    look = only(zk.ReadNodes, desk.registration.on_tick(RETRY_S))
    assert kinds(desk.read(look, read_of(PATH, NODE, owner=SESSION))) == ["worker_registered"]


def test_a_failure_that_repeats_is_logged_once() -> None:
    """While the tree is not there yet the worker goes on trying, without filling the log."""
    desk = _Desk()
    notes: list[Note] = []
    look = desk.connect()
    for turn in range(1, 4):
        claim = only(zk.Multi, desk.read(look, None, at=float(turn)))
        notes += [
            note
            for note in desk.end(claim, zk.Refused(0, "NoNode"), at=float(turn))
            if isinstance(note, Note)
        ]
        look = only(zk.ReadNodes, desk.registration.on_tick(turn + RETRY_S))
    assert [note.fields["why"] for note in notes] == ["NoNode"]


def test_an_unknown_read_is_asked_again() -> None:
    """A read that got no answer decides nothing."""
    desk = _Desk()
    look = desk.connect()
    assert desk.registration.on_nodes_read(zk.NodesRead(at=0.0, token=look.token, nodes=None)) == []
    assert only(zk.ReadNodes, desk.registration.on_tick(RETRY_S)).paths == (PATH,)


def test_answers_of_a_former_session_are_not_expected() -> None:
    """What was under way when the session went is answered to nobody."""
    desk = _Desk()
    claim = only(zk.Multi, desk.read(desk.connect(), None))
    desk.registration.on_disconnected()
    assert not desk.registration.expects(claim.token)


def test_leaving_deletes_the_node_only_where_it_is_ours() -> None:
    """Our node is deleted at its version; where we are not sure of it, the session's end must do."""
    desk = _Desk()
    assert desk.registration.leave() == []
    assert not desk.registration.leaving
    desk = _Desk()
    desk.hold()
    delete = only(zk.Multi, desk.registration.leave())
    assert delete.operations == (zk.Delete(PATH, 0),)
    assert desk.registration.leaving
    assert desk.end(delete, zk.Applied((None,))) == []
    assert not desk.registration.leaving
    assert desk.registration.on_tick(1e9) == []
