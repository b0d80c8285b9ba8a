"""Who leads: the standby's half of a broker, up to a granted claim.

A standby watches ``/leader`` and follows the leader's heartbeats. It claims when nobody leads, or when it can
prove the leader dead (two refused connections) or hung (``/commit`` stands still while the own session
lives). A claim is one transaction that the fence makes safe at any time; a wrong suspicion costs a
leader its term, never a task. A leader of the own name is probed at once: it is an earlier life, or a living
broker that has the name, to which this one gives way.

The states::

    WATCHING --/leader is gone--> CLAIMING
    WATCHING --leader suspected--> PROBING --twice refused, or hung--> CLAIMING
    PROBING --heard, or a connection was accepted--> WATCHING
    CLAIMING --granted--> LEADING (a Claim is handed out)     CLAIMING --refused--> WATCHING
    any of them --session interrupted--> OFFLINE --connected--> WATCHING
"""

from __future__ import annotations

import enum
from contextlib import suppress
from typing import Any, Final, TypeVar

import msgspec

from alb_broker.core.actions import Action, Exit, FollowLeader
from alb_broker.core.events import ProbeVerdict
from alb_broker.core.inquest import Finding, Inquest, give_way
from alb_broker.core.state import Claim, Tokens
from alb_core import limits, zk, znodes
from alb_core.messages import Heartbeat
from alb_core.notes import Level, Note
from alb_core.znodes import BrokerNode, CommitNode, EpochNode, LeaderNode, MetaNode

LOOK_EVERY_S: Final = 1.0
#: A standby reads ``/commit`` and ``/leader`` so often.
PROBE_AGAIN_S: Final = 1.0
#: After somebody answered a probe, so long until the next.
SEEN: Final = (znodes.META, znodes.EPOCH, znodes.COMMIT, znodes.LEADER)


class Stand(enum.Enum):
    """Where a broker that does not lead stands."""

    OFFLINE = "offline"  #: No usable session.
    WATCHING = "watching"  #: Somebody leads, or it is not known yet who.
    PROBING = "probing"  #: The leader is suspected; its endpoint is being tried.
    CLAIMING = "claiming"  #: The claim is under way, or its outcome is being read.
    LEADING = "leading"  #: The claim was granted; the reign is somebody else's matter.


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The four nodes as they were read in one go."""

    meta: MetaNode
    meta_version: int
    epoch: EpochNode
    epoch_stat: zk.Stat
    commit: CommitNode
    commit_stat: zk.Stat
    leader: LeaderNode | None
    leader_exists: bool
    #: Also where somebody wrote there what is no leader.


class Election:
    """Decides when to claim.

    Args:
        node: This broker, as it will stand in ``/leader``.
        tokens: For requests.
    """

    def __init__(self, node: BrokerNode, tokens: Tokens) -> None:
        self.node: Final = node
        self.stand = Stand.OFFLINE
        self.leader: LeaderNode | None = None  #: Who leads, as far as is known.
        self._tokens: Final = tokens
        self._view: View | None = None
        self._table = ""  #: The table that this life serves.
        self._first_epoch = -1  #: The epoch that this life met first; -1: none yet.
        self._highest = (-1, -1)  #: Epoch and version of ``/commit``, the highest that this life saw.
        self._watch_token = 0
        self._look_token = 0  #: Of the look under way; 0: none.
        self._looked_at = float("-inf")
        self._look_soon = False
        self._claim_token = 0
        self._claimed_from: View | None = None  #: What the claim under way was based on.
        self._heard_at = float("-inf")  #: Own clock, when the leader was last heard.
        self._seen_at = float("-inf")  #: Own clock, since when this leader is known.
        self._suspicion = ""  #: Why the leader is suspected; empty: it is not.
        self._inquest: Final = Inquest(node, tokens)
        self._probe_again_at = float("-inf")  #: Own clock; no suspicion is followed before.
        self._probed_commit = -1  #: Version of ``/commit`` read before the first probe.
        self._commit_moved_at = float("-inf")  #: Own clock, when ``/commit`` was last seen to move.
        self._commit_seen: tuple[int, int] = (-1, -1)
        self._deposed_at = float("-inf")
        self._deposing_at = float("-inf")  #: Own clock of the deposition under way.
        self._hung = False  #: The claim under way is made for commits that stand still.
        self._rest_until = float("-inf")  #: Own clock; no claim before.
        self._heard: Heartbeat | None = (
            None  #: The leader's newest heartbeat: its last commit, last placement.
        )
        self._following = ""
        self.granted: Claim | None = None  #: Set when a claim was granted; taken by the broker.

    # --- the session ----------------------------------------------------------------------------------------

    def on_connected(self, at: float) -> list[Action]:
        """The session is usable: watch ``/leader`` and look who leads."""
        self.stand = Stand.WATCHING
        self._commit_moved_at = at
        self._look_token = self._claim_token = 0
        self._calm()
        return [*self._watch(), *self._look(at)]

    def on_interrupted(self) -> list[Action]:
        """The session is not usable: nothing can be known or claimed."""
        self.stand = Stand.OFFLINE
        self._look_token = self._claim_token = 0
        self._calm()
        return []

    def resume(self, at: float, *, rest_s: float = 0.0) -> list[Action]:
        """The own reign is over; stand by again.

        Args:
            at: Own clock.
            rest_s: So long no claim, so that others may try.
        """
        self._rest_until = at + rest_s
        if self.stand is Stand.LEADING:
            self.stand = Stand.WATCHING
        self.leader = None
        self._commit_moved_at = at
        return [*self._watch(), *self._look(at)] if self.stand is Stand.WATCHING else []

    # --- looking --------------------------------------------------------------------------------------------

    def _watch(self) -> list[Action]:
        """Ask to be told of the next change of ``/leader``."""
        self._watch_token = self._tokens.next()
        return [zk.ReadNodes(token=self._watch_token, paths=(znodes.LEADER,), watch=True)]

    def _look(self, at: float) -> list[Action]:
        """Read the four nodes; one look at a time."""
        if self._look_token:
            self._look_soon = True
            return []
        self._look_token = self._tokens.next()
        self._looked_at = at
        self._look_soon = False
        return [zk.ReadNodes(token=self._look_token, paths=SEEN, sync=True)]

    def on_node_changed(self, path: str, at: float) -> list[Action]:
        """``/leader`` changed: look at once."""
        if path != znodes.LEADER or self.stand is Stand.OFFLINE:
            return []
        if self.stand in (Stand.WATCHING, Stand.PROBING):
            return [*self._watch(), *self._look(at)]
        return self._watch()

    def on_nodes(self, event: zk.NodesRead) -> list[Action] | None:
        """Take what was read; None when the read was somebody else's."""
        if event.token and event.token == self._watch_token:
            return self._on_watched(event)
        if event.token != self._look_token or not event.token:
            return None
        self._look_token = 0
        if event.nodes is None or self.stand in (Stand.OFFLINE, Stand.LEADING):
            return []
        try:
            view = read_view(event.nodes)
        except znodes.UnreadableNode as error:
            # A new life makes what is missing; what is damaged an operator must look at.
            return [
                Note("tree_unreadable", {"path": error.path, "why": error.why}, Level.ERROR),
                Exit(1, f"{error}; the tree in ZooKeeper was damaged by somebody else"),
            ]
        estranged = self._compare(view)
        if estranged:
            return [Exit(1, f"{estranged}; a new life serves what is there")]
        actions = self._judge(view, event.at)
        if self._look_soon and self.stand in (Stand.WATCHING, Stand.PROBING):
            actions += self._look(event.at)
        return actions

    def _compare(self, view: View) -> str:
        """Hold the table to what this life saw of it; returns how it is not the same, or the empty text.

        The reads of one life never go back, unless ZooKeeper's own data did.
        """
        table, found = view.meta.table, (view.epoch.epoch, view.commit_stat.version)
        if self._table not in ("", table):
            return f"the table {self._table} was replaced by {table}"
        if found < self._highest:
            return (
                f"the table went back from epoch {self._highest[0]}, commit {self._highest[1]} to epoch "
                f"{found[0]}, commit {found[1]}: ZooKeeper lost data, or was restored and needs new-table.sh"
            )
        self._table, self._highest = table, found
        return ""

    def _on_watched(self, event: zk.NodesRead) -> list[Action]:
        """The watch is set; ``/leader`` may have changed between the last look and now."""
        self._watch_token = 0
        if self.stand not in (Stand.WATCHING, Stand.PROBING):
            return []
        node = event.nodes[0] if event.nodes else None
        gone = event.nodes is not None and node is None
        return self._look(event.at) if gone or self.leader is None else []

    def _judge(self, view: View, at: float) -> list[Action]:  # noqa: PLR0911 (one return a case)
        self._view = view
        if self._first_epoch < 0:
            self._first_epoch = view.epoch.epoch
        commit = (view.epoch.epoch, view.commit_stat.version)
        if commit != self._commit_seen:
            self._commit_seen = commit
            self._commit_moved_at = at
        if self.stand is Stand.CLAIMING:
            return []
        actions = self._know_leader(view.leader, at)
        if view.meta.format > limits.TABLE_FORMAT:
            text = "the table has a newer format; this broker can stand by only"
            return [*actions, Note("format_too_new", {"format": view.meta.format, "why": text}, Level.ERROR)]
        if at < self._rest_until:
            return actions
        if view.leader is None:
            return [*actions, *self._claim(view, "nobody leads")]
        if view.leader.incarnation == self.node.incarnation:
            # Of a claim whose answer was lost, or of a reign that ended without ZooKeeper.
            return [*actions, *self._claim(view, "what is left of this broker's own claim or term")]
        # Before a probe: a hung leader's machine accepts connections for ever.
        hung = self._consider_hung(view, at)
        if not hung and self.stand is Stand.PROBING and self._probed_commit < 0:
            return [*actions, *self._first_probe(view)]
        if not hung and self.stand is Stand.WATCHING and self._is_namesake(view.leader):
            return [*actions, *self._examine_namesake(view, view.leader, at)]
        return [*actions, *hung]

    def _is_namesake(self, leader: LeaderNode) -> bool:
        """Tell whether the leader bears this broker's name, and led before this life came.

        Nearly always it is an earlier life's, and dead. A later life's is left alone: it knows that the name
        was taken.
        """
        mine = leader.broker == self.node.broker and leader.incarnation != self.node.incarnation
        return mine and leader.epoch <= self._first_epoch

    def _examine_namesake(self, view: View, leader: LeaderNode, at: float) -> list[Action]:
        """Prove it dead, however young it was: nobody restarts a broker that lives."""
        if self._inquest.inherits(leader):
            return self._claim(view, "an earlier life of this broker led, at the address that it has now")
        if at < self._probe_again_at:
            return []
        self.stand = Stand.PROBING
        return self._first_probe(view)

    def _know_leader(self, leader: LeaderNode | None, at: float) -> list[Action]:
        known = self.leader
        if known is not None and leader is not None and known.epoch == leader.epoch:
            return []
        self.leader = leader
        self._calm()
        if self.stand is Stand.PROBING:
            self.stand = Stand.WATCHING  # who was suspected leads no more
        self._heard = None
        self._heard_at = self._seen_at = at
        foreign = leader is not None and leader.incarnation != self.node.incarnation
        endpoint = leader.clients if leader is not None and foreign else ""
        actions: list[Action] = []
        if leader is not None:
            actions.append(Note("leader_seen", {"leader": leader.broker, "epoch": leader.epoch}))
        if endpoint or self._following:
            self._following = endpoint
            actions.append(FollowLeader(endpoint))
        return actions

    # --- suspicion ------------------------------------------------------------------------------------------

    def on_heard(self, epoch: int, heartbeat: Heartbeat, at: float) -> list[Action]:
        """The leader sent a heartbeat: it is no longer suspected of being dead."""
        if self.leader is not None and epoch == self.leader.epoch:
            if self._is_namesake(self.leader):
                return give_way(self.leader, "it leads, and answers")
            self._heard = heartbeat
            self._heard_at = at
            if self.stand is Stand.PROBING:
                self.stand = Stand.WATCHING
            self._calm()
        return []

    def on_silent(self, at: float) -> list[Action]:
        """The leader's own goodbye, or a broken link: look at once, and suspect it."""
        return self.suspect("the link to it broke", at)

    def suspect(self, why: str, at: float) -> list[Action]:
        """Somebody has a reason to think that the leader is gone; looks, then probes."""
        if self.stand is not Stand.WATCHING or self.leader is None:
            return []
        self._suspicion = self._suspicion or why
        return self._probe_if_allowed(at)

    def suspected_by_client(self, epoch: int, why: str, at: float) -> list[Action]:
        """A client's task shows no progress under this epoch."""
        if self.leader is None or epoch != self.leader.epoch:
            return []
        return self.suspect(f"a client says: {why[:200]}", at)

    def _may_depose(self, at: float) -> bool:
        return (
            at - self._seen_at >= limits.DEPOSE_LEADER_AGE_S
            and at - self._deposed_at >= limits.DEPOSE_AGAIN_S
        )

    def _probe_if_allowed(self, at: float) -> list[Action]:
        if at < self._probe_again_at or not self._may_depose(at):
            return []
        self.stand = Stand.PROBING
        self._probed_commit = -1  # set by the look that comes first: the claim is checked against it
        fields: dict[str, Any] = {"leader": self.leader.broker if self.leader else "", "why": self._suspicion}
        if self._heard is not None:
            fields |= {"last_commit": self._heard.commit, "last_placement": self._heard.placement}
        return [Note("leader_suspected", fields, Level.WARNING), *self._look(at)]

    def _first_probe(self, view: View) -> list[Action]:
        self._probed_commit = view.commit_stat.version
        return self._inquest.begin(self.leader) if self.leader is not None else []

    def on_probe(self, token: int, verdict: ProbeVerdict, at: float) -> list[Action]:
        """Take a probe's answer: only a refused connection is a proof, and only twice."""
        if self.stand is not Stand.PROBING or self._view is None:
            return []
        match self._inquest.on_probe(token, verdict, at):
            case Finding.PENDING:
                return []
            case Finding.UNPROVED:
                self.stand = Stand.WATCHING
                self._probe_again_at = at + PROBE_AGAIN_S
                return []
            case Finding.DEAD:
                return self._depose("its endpoint refuses connections", at)

    def _consider_hung(self, view: View, at: float) -> list[Action]:
        stands_still = at - self._commit_moved_at >= limits.DEPOSE_HUNG_S
        if not stands_still or not self._may_depose(at):
            return []
        self._probed_commit = view.commit_stat.version
        return self._depose("its commits stand still", at, hung=True)

    def _depose(self, why: str, at: float, *, hung: bool = False) -> list[Action]:
        view = self._view
        if view is None or view.leader is None:
            return []
        self._deposing_at = at
        return self._claim(view, why, commit_version=self._probed_commit, hung=hung)

    def _calm(self) -> None:
        self._suspicion = ""
        self._inquest.drop()
        self._probed_commit = -1

    def tick(self, at: float) -> list[Action]:
        """Let time pass: probe again, look again, suspect a silent leader."""
        if self.stand in (Stand.OFFLINE, Stand.LEADING):
            return []
        actions: list[Action] = self._inquest.tick(at) if self.stand is Stand.PROBING else []
        if self.stand is Stand.WATCHING and self.leader is not None:
            silent = at - self._heard_at >= limits.MISSED_HEARTBEATS * limits.HEARTBEAT_S
            if silent or self._suspicion:
                actions += self.suspect("it has been silent for three heartbeats", at)
        if at - self._looked_at >= LOOK_EVERY_S:
            actions += self._look(at)
        return actions

    # --- claiming -------------------------------------------------------------------------------------------

    def _claim(self, view: View, why: str, commit_version: int = -1, *, hung: bool = False) -> list[Action]:
        self.stand = Stand.CLAIMING
        self._claimed_from, self._hung = view, hung
        self._claim_token = self._tokens.next()
        note = Note("leadership_claimed", {"epoch": view.epoch.epoch + 1, "why": why})
        return [note, zk.Multi(self._claim_token, self.claim_operations(view, commit_version))]

    def claim_operations(self, view: View, commit_version: int) -> tuple[zk.Operation, ...]:
        """Return the transaction that makes this broker the leader.

        Args:
            view: What was read before; its versions are checked.
            commit_version: Version of ``/commit`` that a deposition must still find, or -1.
        """
        epoch = view.epoch.epoch + 1
        node = msgspec.structs.replace(self.node, depot_key="")  # its own node has that, once
        leader = LeaderNode(**_fields(node), epoch=epoch, table=view.meta.table)
        commit = CommitNode(epoch=epoch, batch=0, time=view.commit.time)
        removal: tuple[zk.Operation, ...] = (zk.Delete(znodes.LEADER),) if view.leader_exists else ()
        return (
            zk.Check(znodes.META, view.meta_version),
            zk.SetData(
                znodes.EPOCH,
                znodes.encode(EpochNode(epoch=epoch, broker=self.node.broker)),
                view.epoch_stat.version,
            ),
            zk.SetData(znodes.COMMIT, znodes.encode(commit), commit_version),
            *removal,
            zk.Create(znodes.LEADER, znodes.encode(leader), ephemeral=True),
        )

    def on_verdict(self, event: zk.MultiEnded) -> list[Action] | None:
        """Take the answer to the claim; None when it was not this claim's."""
        if event.token != self._claim_token or not event.token:
            return None
        view = self._claimed_from
        if self.stand is not Stand.CLAIMING or view is None:
            return []
        match event.verdict:
            case zk.Applied(stats):
                epoch, commit = stats[1], stats[2]
                assert epoch is not None and commit is not None  # noqa: S101, PT018 (SetData gives stats)
                return self._grant(view, epoch.version, commit.version, epoch.mtime_s)
            case zk.Refused(_, error):
                self.stand = Stand.WATCHING
                self._claim_token = 0
                self._deposing_at = float("-inf")
                return [Note("claim_refused", {"error": error}), *self._look(event.at)]
            case zk.Unknown():
                # If it was applied, the next look finds this life's own node and claims anew.
                self.stand = Stand.WATCHING
                self._claim_token = 0
                return self._look(event.at)

    def _grant(self, before: View, fence: int, chain: int, mtime_s: float) -> list[Action]:
        self.stand = Stand.LEADING
        self._claim_token = 0
        self._calm()
        self._deposed_at = max(self._deposed_at, self._deposing_at)
        self._highest = (before.epoch.epoch + 1, chain)
        self.granted = Claim(
            epoch=before.epoch.epoch + 1,
            table=before.meta.table,
            fence=fence,
            chain=chain,
            mtime_s=mtime_s,
            floor_s=before.commit.time,
            hung=self._hung,
        )
        self.leader = None
        follow: list[Action] = [FollowLeader("")] if self._following else []
        self._following = ""
        return follow


N = TypeVar("N", bound=msgspec.Struct)


def _fields(node: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(node, name) for name in node.__struct_fields__}


def is_led(leader: zk.NodeRead | None, epoch: int) -> bool:
    """Tell whether ``/leader`` names the leader of an epoch: else nobody finds it."""
    try:
        return leader is not None and znodes.decode(LeaderNode, leader.path, leader.data).epoch == epoch
    except znodes.UnreadableNode:
        return False


def read_view(nodes: tuple[zk.NodeRead | None, ...]) -> View:
    """Decode the four nodes of a look.

    Raises:
        UnreadableNode: One that must exist does not, or is not what it should be.
    """
    meta, epoch, commit, leader = nodes
    leader_node: LeaderNode | None = None
    if leader is not None:
        with suppress(znodes.UnreadableNode):  # nobody leads with it; a claim removes it
            leader_node = znodes.decode(LeaderNode, leader.path, leader.data)
    meta_node, meta_stat = _must(MetaNode, znodes.META, meta)
    epoch_node, epoch_stat = _must(EpochNode, znodes.EPOCH, epoch)
    commit_node, commit_stat = _must(CommitNode, znodes.COMMIT, commit)
    return View(
        meta=meta_node,
        meta_version=meta_stat.version,
        epoch=epoch_node,
        epoch_stat=epoch_stat,
        commit=commit_node,
        commit_stat=commit_stat,
        leader=leader_node,
        leader_exists=leader is not None,
    )


def _must(form: type[N], path: str, node: zk.NodeRead | None) -> tuple[N, zk.Stat]:
    if node is None:
        raise znodes.UnreadableNode(path, "it does not exist; was the tree deleted?")
    return znodes.decode(form, path, node.data), node.stat
