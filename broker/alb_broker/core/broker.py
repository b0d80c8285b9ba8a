"""A broker's core: the one place where its events come in and its actions leave.

A `Broker` is an `Election` while it stands by and has a `Reign` besides while it leads. It owns the change
from one to the other and the stop of the process; everything else is theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from alb_broker.core import events
from alb_broker.core.actions import Action, Exit, SendToClient, SendToWorker
from alb_broker.core.election import Election, Stand
from alb_broker.core.events import BrokerEvent
from alb_broker.core.membership import Membership
from alb_broker.core.reign import OVER, Phase, Reign
from alb_broker.core.state import State, Tokens
from alb_broker.policies import Policy
from alb_core import zk
from alb_core.config import BrokerConfig
from alb_core.messages import Error, Follow, Goodbye, Heartbeat, NotLeader, Suspect
from alb_core.notes import Level, Note
from alb_core.znodes import BrokerNode

REIGN_ONLY: Final = frozenset(
    {events.ClientSaid, events.WorkerSaid, events.TurnEnded, events.ClientGranted, events.ChunkArrived}
)
#: While this broker leads, these concern nobody but its reign; there are a great many of them.
REST_S: Final = 10.0
#: A broker that resigned because it was stuck lets others try so long.
STANDBY_EPOCH: Final = 0
#: Of frames that bind nobody.


class Broker:
    """The core of one broker process.

    Args:
        config: Its settings.
        node: How it stands in ``/brokers`` and ``/leader``: name, incarnation, endpoints.
        policies: The installed policies, by name.
    """

    def __init__(self, config: BrokerConfig, node: BrokerNode, policies: Mapping[str, Policy]) -> None:
        self.config: Final = config
        self.node: Final = node
        self.reign: Reign | None = None  #: Exists exactly while this broker leads.
        self._policies: Final = policies
        self._tokens: Final = Tokens()
        self._election: Final = Election(node, self._tokens)
        self._membership: Final = Membership(node, self._tokens)
        self._session = 0  #: Id of the ZooKeeper session.
        self._session_timeout_s = config.session_timeout_s
        self._stopping = False

    @property
    def stand(self) -> Stand:
        """Where the broker stands."""
        return self._election.stand

    @property
    def epoch(self) -> int:
        """The epoch that it leads, or 0."""
        return self.reign.state.epoch if self.reign is not None else STANDBY_EPOCH

    @property
    def backlogged(self) -> bool:
        """Whether submissions should be left in the sockets for now."""
        return self.reign is not None and self.reign.backlogged

    @property
    def batch_waits(self) -> bool:
        """Whether so much may be written at once that nothing more should be gathered before."""
        return self.reign is not None and self.reign.batch_waits

    @property
    def loading(self) -> bool:
        """Whether it reads the table, and makes nothing but what it keeps."""
        return self.reign is not None and self.reign.phase is Phase.LOADING

    def handle(self, event: BrokerEvent) -> list[Action]:
        """Take one event.

        Args:
            event: What happened.

        Returns:
            What to do, in this order.
        """
        reign = self.reign
        if reign is None:
            return self._stand_by(event)
        actions = reign.handle(event) if type(event) in REIGN_ONLY else self._share(event, reign)
        if reign.phase is OVER:
            actions += self._step_down(event)
        return actions

    # --- leading --------------------------------------------------------------------------------------------

    def _share(self, event: BrokerEvent, reign: Reign) -> list[Action]:
        """Hand an event to all whom it concerns: the reign, the election's watch, the membership."""
        actions = self._membership_actions(event)
        if isinstance(event, zk.SessionConnected) and event.session != self._session:
            actions += reign.handle(zk.SessionExpired(at=event.at))
        else:
            actions += reign.handle(event)
        if isinstance(event, zk.NodeChanged):
            actions += self._election.on_node_changed(event.path, event.at)
        self._know_session(event)
        reign.state.members = self._membership.members
        if isinstance(event, events.StopRequested):
            self._stopping = True
        return actions

    def _step_down(self, event: BrokerEvent) -> list[Action]:
        """Tell everybody, drop all state, be a standby."""
        reign = self.reign
        assert reign is not None  # noqa: S101 (narrows the type)
        actions = reign.farewell()
        actions.append(
            Note("leader_stepped_down", {"epoch": reign.state.epoch, "why": reign.why}, Level.WARNING)
        )
        self.reign = None
        if self._stopping:
            return [*actions, Exit(0, "stopped")]
        match event:
            case zk.SessionExpired() | zk.SessionSuspended():
                self._election.stand = Stand.OFFLINE
            case zk.SessionConnected():
                actions += self._election.on_connected(event.at)
            case _:
                actions += self._election.resume(event.at, rest_s=REST_S if reign.rests else 0.0)
        return actions

    # --- standing by ----------------------------------------------------------------------------------------

    def _stand_by(self, event: BrokerEvent) -> list[Action]:  # noqa: C901, PLR0912 (a flat table)
        actions = self._membership_actions(event)
        election = self._election
        self._know_session(event)
        match event:
            case zk.SessionConnected():
                actions += election.on_connected(event.at)
            case zk.SessionSuspended() | zk.SessionExpired():
                actions += election.on_interrupted()
            case zk.NodesRead():
                actions += election.on_nodes(event) or ()
            case zk.MultiEnded():
                actions += election.on_verdict(event) or ()
            case zk.NodeChanged():
                actions += election.on_node_changed(event.path, event.at)
            case events.ClientSaid():
                actions += self._refer_client(event)
            case events.WorkerSaid():
                actions += self._refer_worker(event)
            case events.LeaderSaid():
                actions += self._on_leader(event)
            case events.LeaderLinkClosed():
                actions += election.on_silent(event.at)
            case events.ProbeEnded():
                actions += election.on_probe(event.token, event.verdict, event.at)
            case events.ClientGarbled():
                actions.append(SendToClient(event.peer, STANDBY_EPOCH, _garbled(event.why)))
            case events.WorkerGarbled():
                actions.append(SendToWorker(event.peer, STANDBY_EPOCH, _garbled(event.why)))
            case events.Tick():
                actions += election.tick(event.at)
            case events.StopRequested():
                actions.append(Exit(0, "stopped"))
            case _:
                pass
        return actions + self._begin_if_granted(event)

    def _begin_if_granted(self, event: BrokerEvent) -> list[Action]:
        claim = self._election.granted
        if claim is None:
            return []
        self._election.granted = None
        state = State(self.config, self.node, claim, self._policies, self._tokens, event.at)
        state.session_timeout_s = self._session_timeout_s
        state.members = self._membership.members
        self.reign = Reign(state)
        return [Note("leader_began", {"epoch": claim.epoch, "table": claim.table}), *self.reign.begin()]

    def _on_leader(self, event: events.LeaderSaid) -> list[Action]:
        if isinstance(event.message, NotLeader):
            return self._election.on_silent(event.at)
        if isinstance(event.message, Heartbeat):
            return self._election.on_heard(event.epoch, event.message, event.at)
        return []

    def _refer_client(self, event: events.ClientSaid) -> list[Action]:
        """A standby serves nobody: it says who does."""
        if isinstance(event.message, Suspect):
            return self._election.suspected_by_client(event.message.epoch, event.message.why, event.at)
        if isinstance(event.message, Goodbye):
            return []
        leader = self._election.leader
        where = leader.clients if leader is not None and not isinstance(event.message, Follow) else ""
        referral = NotLeader(where=where, broker=leader.broker if leader is not None else "")
        return [SendToClient(event.peer, STANDBY_EPOCH, referral)]

    def _refer_worker(self, event: events.WorkerSaid) -> list[Action]:
        if isinstance(event.message, Goodbye):
            return []
        leader = self._election.leader
        referral = NotLeader(
            where=leader.workers if leader is not None else "",
            broker=leader.broker if leader is not None else "",
        )
        return [SendToWorker(event.peer, STANDBY_EPOCH, referral)]

    # --- both -----------------------------------------------------------------------------------------------

    def _membership_actions(self, event: BrokerEvent) -> list[Action]:
        membership = self._membership
        match event:
            case zk.SessionConnected():
                return membership.on_connected(event.at)
            case zk.SessionSuspended() | zk.SessionExpired():
                membership.on_interrupted()
            case zk.ChildrenListed():
                return membership.on_children(event) or []
            case zk.NodesRead():
                return membership.on_nodes(event) or []
            case zk.MultiEnded():
                membership.on_verdict(event)
            case events.ProbeEnded():
                membership.on_probe(event.token, event.verdict, event.at)
            case events.Tick():
                return membership.tick(event.at)
            case _:
                pass
        return []

    def _know_session(self, event: BrokerEvent) -> None:
        if isinstance(event, zk.SessionConnected):
            self._session = event.session
            self._session_timeout_s = event.timeout_s
            if self.reign is not None:
                self.reign.state.session_timeout_s = event.timeout_s


def _garbled(why: str) -> Error:
    return Error(code="protocol", why=why[:500])
