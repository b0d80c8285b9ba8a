"""Who leads: when a standby claims, and when it must not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.broker_parts import broker_node, notes, of_type, read

from alb_broker.core.actions import Action, Exit, FollowLeader, Probe
from alb_broker.core.election import LOOK_EVERY_S, SEEN, Election, Stand
from alb_broker.core.events import ProbeVerdict
from alb_broker.core.state import Tokens
from alb_core import limits, zk, znodes
from alb_core.messages import Heartbeat
from alb_core.znodes import CommitNode, EpochNode, LeaderNode, MetaNode

BEAT = Heartbeat(commit=3, placement=2.0)
OLD = limits.DEPOSE_LEADER_AGE_S
#: Own clock from which on a leader that was seen at 0 may be deposed.


def leader(name: str = "b2", epoch: int = 4, life: int = 1) -> LeaderNode:
    """Return who leads."""
    node = broker_node(name, life)
    return LeaderNode(
        **{field: getattr(node, field) for field in node.__struct_fields__}, epoch=epoch, table="t"
    )


class Scene:
    """The election of b1, and the tree that it looks at."""

    def __init__(self, leads: LeaderNode | None = None, form: int = limits.TABLE_FORMAT) -> None:
        self.election = Election(broker_node("b1"), Tokens())
        self.leads = leads
        self.form = form
        self.commit = 50  #: Version of `/commit`.
        self.epoch = 4
        self.table = "t"
        self.garbage = False  #: `/leader` holds what is no leader.

    def nodes(self) -> tuple[zk.NodeRead | None, ...]:
        """Return the four nodes of a look."""
        leads: Any = b"nonsense" if self.garbage else self.leads
        return (
            read(znodes.META, MetaNode(table=self.table, format=self.form), version=1),
            read(znodes.EPOCH, EpochNode(epoch=self.epoch), version=self.epoch + 10),
            read(znodes.COMMIT, CommitNode(epoch=self.epoch, batch=7, time=9.0), version=self.commit),
            read(znodes.LEADER, leads) if leads is not None else None,
        )

    def answer(self, actions: list[Action], at: float) -> list[Action]:
        """Answer the looks and watches among actions, and those that they lead to; returns all."""
        told = list(actions)
        for asked in of_type(zk.ReadNodes, actions):
            nodes = self.nodes() if asked.paths == SEEN else self.nodes()[3:]
            told += self.answer(
                self.election.on_nodes(zk.NodesRead(at=at, token=asked.token, nodes=nodes)) or [], at
            )
        return told

    def connect(self, at: float = 0.0) -> list[Action]:
        """Let the session be usable, and let b1 look."""
        return self.answer(self.election.on_connected(at), at)

    def tick(self, at: float) -> list[Action]:
        """Let time pass; the commit moves unless a test says otherwise."""
        return self.answer(self.election.tick(at), at)

    def live_until(self, at: float) -> None:
        """Let the leader be heard, and commit, until this moment."""
        now = 0.0
        while now + LOOK_EVERY_S <= at:
            now += LOOK_EVERY_S
            self.commit += 1
            if self.leads is not None:
                self.election.on_heard(self.leads.epoch, BEAT, now)
            self.tick(now)

    def claim(self, actions: list[Action]) -> zk.Multi:
        """Return the one claim among actions."""
        (multi,) = of_type(zk.Multi, actions)
        return multi

    def end(self, multi: zk.Multi, verdict: zk.Verdict, at: float = 0.0) -> list[Action]:
        """Let the claim's verdict come."""
        told = self.election.on_verdict(zk.MultiEnded(at=at, token=multi.token, verdict=verdict))
        assert told is not None
        return told


def standing_by(leads: LeaderNode | None = None) -> Scene:
    """Return a scene in which b2 has led for long enough to be deposed."""
    scene = Scene(leads or leader())
    scene.connect()
    scene.live_until(OLD)
    return scene


def granted(multi: zk.Multi) -> zk.Applied:
    """Return the verdict on a claim that was applied."""
    versions = {znodes.EPOCH: 15, znodes.COMMIT: 51}
    stats = [
        zk.Stat(version=versions[each.path], mtime_s=1000.0) if isinstance(each, zk.SetData) else None
        for each in multi.operations
    ]
    return zk.Applied(tuple(stats))


# --- claiming -----------------------------------------------------------------------------------------------


def test_a_broker_claims_where_nobody_leads() -> None:
    """One transaction: the epoch rises, `/commit` begins anew at its time, and the leader's node is made."""
    scene = Scene()
    multi = scene.claim(scene.connect())
    created = multi.operations[-1]
    assert multi.operations[:-1] == (
        zk.Check(znodes.META, 1),
        zk.SetData(znodes.EPOCH, znodes.encode(EpochNode(epoch=5, broker="b1")), 14),
        zk.SetData(znodes.COMMIT, znodes.encode(CommitNode(epoch=5, batch=0, time=9.0)), -1),
    )
    assert isinstance(created, zk.Create)
    assert (created.path, created.ephemeral) == (znodes.LEADER, True)
    made = znodes.decode(LeaderNode, created.path, created.data)
    assert (made.broker, made.epoch, made.table, made.clients) == ("b1", 5, "t", "tcp://b1:7000")


def test_a_granted_claim_hands_out_what_a_reign_needs() -> None:
    """Epoch, fence and chain as the claim left them, and the time from which cluster time goes on."""
    scene = Scene()
    multi = scene.claim(scene.connect())
    scene.end(multi, granted(multi))
    claim = scene.election.granted
    assert claim is not None
    assert (claim.epoch, claim.fence, claim.chain, claim.mtime_s, claim.floor_s) == (5, 15, 51, 1000.0, 9.0)
    assert not claim.hung
    assert scene.election.stand is Stand.LEADING


@pytest.mark.parametrize("verdict", [zk.Refused(1, "BadVersion"), zk.Unknown()])
def test_a_claim_that_was_not_granted_leads_to_a_look(verdict: zk.Verdict) -> None:
    """Somebody else was faster, or it is not known: what is there now decides."""
    scene = Scene()
    multi = scene.claim(scene.connect())
    scene.leads, scene.epoch = leader("b3", 5), 5
    scene.answer(scene.end(multi, verdict), 0.0)
    assert scene.election.granted is None
    assert (scene.election.stand, scene.election.leader) == (Stand.WATCHING, scene.leads)


@pytest.mark.parametrize("life", [1, 7])
def test_what_ones_own_process_left_is_claimed_over(life: int) -> None:
    """A claim's whose answer was lost, or an earlier life's whose port is ours: a new epoch makes sure."""
    scene = Scene(leader("b1", life=life))
    multi = scene.claim(scene.connect())
    assert zk.Delete(znodes.LEADER) in multi.operations


def elsewhere(epoch: int = 4) -> LeaderNode:
    """Return a leader of our name at another address."""
    return msgspec.structs.replace(leader("b1", epoch, life=7), clients="tcp://b1:9000", host="rack7", pid=47)


def test_a_leader_of_ones_own_name_is_deposed_by_proof_only() -> None:
    """A broker that was started again claims when its former address refuses twice, however young."""
    scene = Scene(elsewhere())
    actions = scene.connect()
    assert of_type(zk.Multi, actions) == []
    multi = scene.claim(refuse_twice(scene, actions, 0.0))
    assert zk.Delete(znodes.LEADER) in multi.operations
    (commit,) = [each for each in multi.operations if each.path == znodes.COMMIT]
    assert isinstance(commit, zk.SetData)
    assert commit.version == scene.commit


def test_a_living_leader_of_ones_own_name_keeps_it() -> None:
    """It is followed, and as soon as it is heard, this broker ends: nobody is deposed."""
    scene = Scene(elsewhere())
    actions = scene.connect()
    assert of_type(FollowLeader, actions) == [FollowLeader("tcp://b1:9000")]
    assert scene.election.on_heard(3, BEAT, 0.1) == []
    (leaving,) = of_type(Exit, scene.election.on_heard(4, BEAT, 0.1))
    assert "the name b1 is held by a living broker on rack7 (pid 47)" in leaving.why


@pytest.mark.parametrize("verdict", [ProbeVerdict.OPEN, ProbeVerdict.SILENT])
def test_a_leader_of_ones_own_name_that_says_nothing_is_asked_again(verdict: ProbeVerdict) -> None:
    """It may be frozen, or out of reach: this broker stands by until it is refused, or nobody leads."""
    scene = Scene(elsewhere())
    (probe,) = of_type(Probe, scene.connect())
    assert scene.election.on_probe(probe.token, verdict, 0.1) == []
    scene.commit += 1
    assert of_type(Probe, scene.tick(LOOK_EVERY_S)) == []
    scene.commit += 1
    assert of_type(Probe, scene.tick(2 * LOOK_EVERY_S))
    scene.leads = None
    assert zk.Delete(znodes.LEADER) not in scene.claim(scene.tick(3 * LOOK_EVERY_S)).operations


def test_a_hung_leader_of_ones_own_name_is_deposed_like_another() -> None:
    """Its port is open and its commits stand still: not before it is old enough, either."""
    scene = Scene(elsewhere())
    told = scene.connect()
    at = 0.0
    while at < OLD:
        for probe in of_type(Probe, told):
            scene.election.on_probe(probe.token, ProbeVerdict.OPEN, at)
        assert of_type(zk.Multi, told) == []
        at += LOOK_EVERY_S
        told = scene.tick(at)
    assert notes(told, "leadership_claimed")[0]["why"] == "its commits stand still"


def test_a_later_life_of_ones_own_name_is_left_alone() -> None:
    """It leads since this life was there to see it: two lives of one name do not take turns."""
    scene = Scene(leader("b2"))
    scene.connect()
    scene.leads, scene.epoch = leader("b1", epoch=5, life=7), 5
    assert of_type(zk.Multi, scene.tick(1.0)) == []


def test_a_newer_table_is_not_claimed() -> None:
    """This broker could not write it as it must be written."""
    scene = Scene(form=limits.TABLE_FORMAT + 1)
    actions = scene.connect()
    assert of_type(zk.Multi, actions) == []
    assert notes(actions, "format_too_new")


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_tree_that_cannot_be_read_is_not_claimed(broken: int) -> None:
    """The operator is told, and the broker ends: a new life makes what is missing."""
    scene = Scene()
    nodes: list[Any] = list(scene.nodes())
    nodes[broken] = None
    (_, look) = of_type(zk.ReadNodes, scene.election.on_connected(0.0))
    actions = scene.election.on_nodes(zk.NodesRead(at=0.0, token=look.token, nodes=tuple(nodes)))
    assert actions is not None
    assert of_type(zk.Multi, actions) == []
    assert notes(actions, "tree_unreadable")[0]["path"] == SEEN[broken]
    assert [action.code for action in of_type(Exit, actions)] == [1]


def test_a_table_that_was_replaced_is_not_served() -> None:
    """What is known of the old one says nothing about the new one."""
    scene = Scene(leader())
    scene.connect()
    scene.table = "another"
    scene.leads = None
    actions = scene.tick(1.0)
    assert of_type(zk.Multi, actions) == []
    assert [action.code for action in of_type(Exit, actions)] == [1]


@pytest.mark.parametrize(("epoch", "commit"), [(3, 90), (4, 49)])
def test_a_table_that_went_back_is_not_served(epoch: int, commit: int) -> None:
    """An older epoch, or an older commit of the same: a restored backup."""
    scene = Scene(leader())
    scene.connect()
    scene.epoch, scene.commit, scene.leads = epoch, commit, None
    actions = scene.tick(1.0)
    assert of_type(zk.Multi, actions) == []
    (leaving,) = of_type(Exit, actions)
    assert leaving.code == 1
    assert "went back from epoch 4, commit 50" in leaving.why


def test_a_leader_remembers_its_own_term_when_the_table_goes_back() -> None:
    """Also who led knows how far the table was: it does not claim an epoch again that it had."""
    scene = Scene()
    multi = scene.claim(scene.connect())
    scene.end(multi, granted(multi))
    scene.answer(scene.election.on_interrupted(), 1.0)
    actions = scene.connect(2.0)
    assert of_type(zk.Multi, actions) == []
    assert [action.code for action in of_type(Exit, actions)] == [1]


def test_a_leader_node_that_cannot_be_read_is_claimed_over() -> None:
    """Somebody wrote there what is no leader: nobody leads."""
    scene = Scene()
    scene.garbage = True
    assert zk.Delete(znodes.LEADER) in scene.claim(scene.connect()).operations


def test_a_broker_that_was_stuck_lets_others_try_first() -> None:
    """It claims again only after a rest."""
    scene = Scene()
    multi = scene.claim(scene.connect())
    scene.end(multi, granted(multi))
    scene.epoch, scene.commit = 5, 51
    actions = scene.answer(scene.election.resume(50.0, rest_s=10.0), 50.0)
    assert of_type(zk.Multi, actions + scene.tick(59.0)) == []
    scene.claim(scene.tick(60.0))


def test_the_goodbye_of_a_leader_is_seen_by_its_watch() -> None:
    """Its node goes, and the standby claims at once, however young it was."""
    scene = Scene(leader())
    scene.connect()
    scene.leads = None
    multi = scene.claim(scene.answer(scene.election.on_node_changed(znodes.LEADER, 1.0), 1.0))
    assert zk.Delete(znodes.LEADER) not in multi.operations


def test_a_leader_that_went_before_the_watch_was_set_is_missed_by_nobody() -> None:
    """The answer to the watch itself is looked at."""
    scene = Scene(leader())
    watch, look = of_type(zk.ReadNodes, scene.election.on_connected(0.0))
    scene.election.on_nodes(zk.NodesRead(at=0.0, token=look.token, nodes=scene.nodes()))
    scene.leads = None
    actions = scene.election.on_nodes(zk.NodesRead(at=0.1, token=watch.token, nodes=(None,))) or []
    scene.claim(scene.answer(actions, 0.1))


# --- following ----------------------------------------------------------------------------------------------


def test_a_standby_follows_the_leader() -> None:
    """And each new one."""
    scene = Scene(leader())
    assert of_type(FollowLeader, scene.connect()) == [FollowLeader("tcp://b2:7000")]
    scene.leads, scene.epoch = leader("b3", 5), 5
    assert of_type(FollowLeader, scene.tick(1.0)) == [FollowLeader("tcp://b3:7000")]


def test_without_a_session_nothing_is_known_or_claimed() -> None:
    """Late answers of before are not taken, time passes unused, and suspicions lead to nothing."""
    scene = Scene(leader())
    (_, look) = of_type(zk.ReadNodes, scene.election.on_connected(0.0))
    scene.election.on_interrupted()
    assert scene.election.on_nodes(zk.NodesRead(at=0.0, token=look.token, nodes=scene.nodes())) is None
    assert scene.election.tick(100.0) == []
    assert scene.election.suspect("anything", 100.0) == []


def test_after_a_reign_the_leader_is_watched_again() -> None:
    """The watch may have been lost with an interruption of the session during the reign."""
    scene = Scene()
    multi = scene.claim(scene.connect())
    scene.end(multi, granted(multi))
    watch, look = of_type(zk.ReadNodes, scene.election.resume(50.0))
    assert (watch.watch, watch.paths, look.paths) == (True, (znodes.LEADER,), SEEN)


# --- deposition ---------------------------------------------------------------------------------------------


def refuse_twice(scene: Scene, actions: list[Action], at: float) -> list[Action]:
    """Answer probes as a machine does on which nobody listens."""
    for _ in range(limits.DEPOSE_REFUSALS):
        (probe,) = of_type(Probe, actions)
        actions = scene.election.on_probe(probe.token, ProbeVerdict.REFUSED, at)
        at += limits.DEPOSE_PROBE_GAP_S
        actions += scene.tick(at)
    return actions


def test_two_refused_connections_prove_a_leader_dead() -> None:
    """The claim holds only if `/commit` has not moved since before the first probe."""
    scene = standing_by()
    actions = scene.answer(scene.election.on_silent(OLD), OLD)
    (probe,) = of_type(Probe, actions)
    assert probe.endpoint == "tcp://b2:7000"
    multi = scene.claim(refuse_twice(scene, actions, OLD))
    (commit,) = [each for each in multi.operations if each.path == znodes.COMMIT]
    assert isinstance(commit, zk.SetData)
    assert commit.version == scene.commit
    assert zk.Delete(znodes.LEADER) in multi.operations


@pytest.mark.parametrize("verdict", [ProbeVerdict.OPEN, ProbeVerdict.SILENT])
def test_anything_but_a_refusal_proves_nothing(verdict: ProbeVerdict) -> None:
    """The standby goes on watching, and asks again later."""
    scene = standing_by()
    (probe,) = of_type(Probe, scene.answer(scene.election.on_silent(OLD), OLD))
    assert scene.election.on_probe(probe.token, verdict, OLD) == []
    assert scene.election.stand is Stand.WATCHING
    assert of_type(Probe, scene.answer(scene.election.on_silent(OLD + 0.5), OLD + 0.5)) == []
    assert of_type(Probe, scene.answer(scene.election.on_silent(OLD + 1.0), OLD + 1.0))


def test_one_refusal_is_not_enough() -> None:
    """The leader may be starting again on its port: whoever is heard is not deposed."""
    scene = standing_by()
    (probe,) = of_type(Probe, scene.answer(scene.election.on_silent(OLD), OLD))
    scene.election.on_probe(probe.token, ProbeVerdict.REFUSED, OLD)
    assert scene.leads is not None
    scene.election.on_heard(scene.leads.epoch, BEAT, OLD + 0.1)
    assert of_type(Probe, scene.tick(OLD + limits.DEPOSE_PROBE_GAP_S)) == []
    assert scene.election.stand is Stand.WATCHING


def test_a_young_leader_is_not_deposed() -> None:
    """It has enough to do with taking over."""
    scene = Scene(leader())
    scene.connect()
    assert scene.answer(scene.election.on_silent(OLD - 0.1), OLD - 0.1) == []


def test_a_broker_does_not_depose_again_soon() -> None:
    """Two brokers that cannot reach each other do not take turns forever."""
    scene = standing_by()
    multi = scene.claim(refuse_twice(scene, scene.answer(scene.election.on_silent(OLD), OLD), OLD))
    scene.answer(scene.end(multi, zk.Refused(2, "BadVersion"), OLD), OLD)
    soon = OLD + limits.DEPOSE_AGAIN_S - 1
    assert of_type(Probe, scene.answer(scene.election.on_silent(soon), soon)) == []


def test_three_missed_heartbeats_are_a_reason_to_probe() -> None:
    """Silence is no proof."""
    scene = standing_by()
    scene.commit += 1
    at = OLD + limits.MISSED_HEARTBEATS * limits.HEARTBEAT_S
    actions = scene.tick(at)
    assert of_type(zk.Multi, actions) == []
    assert len(of_type(Probe, actions)) == 1


def test_a_clients_suspicion_is_a_reason_to_probe() -> None:
    """If it is about the leader of this epoch; of another one it says nothing."""
    scene = standing_by()
    assert scene.election.suspected_by_client(3, "no progress", OLD) == []
    actions = scene.answer(scene.election.suspected_by_client(4, "no progress", OLD), OLD)
    assert notes(actions, "leader_suspected")[0]["why"] == "a client says: no progress"
    assert len(of_type(Probe, actions)) == 1


def test_commits_that_stand_still_prove_a_leader_hung() -> None:
    """Though it is heard and its session lives; not a moment earlier, and not while they move."""
    scene = standing_by()
    scene.election.on_heard(4, BEAT, OLD)
    still = OLD + limits.DEPOSE_HUNG_S
    scene.election.on_heard(4, BEAT, still - 1)
    assert of_type(zk.Multi, scene.tick(still - 1)) == []
    multi = scene.claim(scene.tick(still))
    (commit,) = [each for each in multi.operations if each.path == znodes.COMMIT]
    assert isinstance(commit, zk.SetData)
    assert commit.version == scene.commit
    scene.end(multi, granted(multi), still)
    assert scene.election.granted is not None
    assert scene.election.granted.hung, "the heir is to know: it may not want to do the same"


def test_an_interruption_of_the_own_session_is_no_proof_of_anothers_hanging() -> None:
    """Who could not see the commits move begins to count anew."""
    scene = standing_by()
    scene.election.on_interrupted()
    later = OLD + 3 * limits.DEPOSE_HUNG_S
    assert of_type(zk.Multi, scene.connect(later)) == []
    scene.election.on_heard(4, BEAT, later)
    assert of_type(zk.Multi, scene.tick(later + limits.DEPOSE_HUNG_S - 1)) == []
