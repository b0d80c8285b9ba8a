"""The worker's link to the leader: who leads, since which epoch, and whether it knows us.

Owns the fence: the highest epoch heard of. What an older leader says is refused here, once, for everybody.
Knows nothing of attempts; the greeting that lists them is made by its owner.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import Final

from alb_core import limits, zk, znodes
from alb_core.draws import Draws
from alb_core.messages import NotLeader, Register, Registered
from alb_core.notes import Level, Note
from alb_worker.core.actions import ConnectLeader, ConnectOutput, DisconnectLeader, SendToLeader, WorkerAction
from alb_worker.core.events import LeaderSaid, LinkClosed, LinkOpened

REREAD_S: Final = 5.0
#: ``/leader`` is read this often even if its watch is silent,
REREAD_UNREGISTERED_S: Final = 1.0
#: and this often while no leader knows us.
REREAD_GAP_S: Final = 0.2
#: Never more often than this, whatever hints arrive.
STALE_S_MAX: Final = 30.0
#: A lagging ZooKeeper server may show an older leader for a moment; so long only a table that went back does.
REGISTER_DELAY_S_MAX: Final = 8.0
#: Register is sent again after 1, 2, 4 and then every 8 seconds, each up to a quarter more at random.
REGISTER_TRIES: Final = 4
#: Unanswered ones, after which the link itself is made anew: it may be half open.


class LinkState(enum.Enum):
    """How far the worker has got with the leader."""

    NONE = "none"  #: No leader is known.
    CONNECTING = "connecting"  #: The shell tries to reach it.
    REGISTERING = "registering"  #: Register is sent until it is answered.
    REGISTERED = "registered"  #: The leader knows us; heartbeats go both ways.
    CLOSED = "closed"  #: The worker ends; leaders do not matter any more.


_UNLINKED: Final = frozenset({LinkState.NONE, LinkState.CLOSED})
_REGISTERED: Final = LinkState.REGISTERED
#: Asked with every message: looked up in its class it costs thirty times as much.


class Fence:
    """The highest epoch heard of. Epochs compare only within one table."""

    __slots__ = ("epoch", "table")

    def __init__(self) -> None:
        self.table = ""
        self.epoch = 0

    def raise_to(self, table: str, epoch: int) -> bool:
        """Obey this leader from now on, as ``/leader`` names it; return whether the table is another one."""
        another = table != self.table
        if another or epoch > self.epoch:
            self.table, self.epoch = table, epoch
        return another

    def refuses(self, table: str, epoch: int) -> str | None:
        """Return why a message must be dropped (the trigger for the log), or None.

        A message cannot move the worker to another table: only ``/leader`` can.
        """
        if table != self.table:
            return "other_table"
        return "stale_epoch" if epoch < self.epoch else None


class LeaderLink:
    """The state of the link.

    Args:
        greeting: Makes the Register message of this moment.
        tokens: Numbers for requests to ZooKeeper, unique within the process.
        draws: Spreads the registrations of many workers.
    """

    def __init__(self, greeting: Callable[[], Register], tokens: Iterator[int], draws: Draws) -> None:
        self._greeting = greeting
        self._tokens = tokens
        self._draws = draws
        self.fence = Fence()
        self.state = LinkState.NONE
        self.endpoint = ""
        self.heartbeat_s = limits.HEARTBEAT_S
        self._term: tuple[str, int] | None = None
        #: Table and epoch of the leader that registered us last.
        self._trouble = ""
        #: What was logged last of the present link, so that the log says it once.
        self._heard_at = 0.0
        self._beat_at = 0.0
        #: When the next heartbeat is due.
        self._register_at = 0.0
        self._registers = 0
        #: Sent since the link was made, without an answer.
        self._followed_at = float("-inf")
        #: When a NotLeader was last believed: brokers that point at each other must not make us spin.
        self._token = 0
        self._read_at = float("-inf")
        self._connected = False
        self._watching = False
        self._stale_since: float | None = None
        #: Since when every read of ``/leader`` named an older epoch of our table; None: the last did not.
        self.went_back = ""
        #: What an older table was recognised by; empty: it was not. Nobody can lead us then.

    # --- who leads ----------------------------------------------------------------------------------------

    def expects(self, token: int) -> bool:
        """Tell whether an answer with this token is for us."""
        return token == self._token

    def on_session_connected(self, at: float) -> list[WorkerAction]:
        """Read ``/leader`` anew: the watches of before are gone."""
        self._connected = True
        self._watching = False
        return self._read(at)

    def on_session_disconnected(self) -> None:
        """Go on with the leader that is known."""
        self._connected = False
        self._token = 0

    def on_node_changed(self, event: zk.NodeChanged) -> list[WorkerAction]:
        """Read ``/leader`` when it changed."""
        if event.path != znodes.LEADER:
            return []
        self._watching = False
        return self._read(event.at)

    def on_nodes_read(self, event: zk.NodesRead) -> list[WorkerAction]:
        """Follow the leader that ``/leader`` names, unless it is older than the one we obey."""
        self._token = 0
        if event.nodes is None or self.state is LinkState.CLOSED:
            return []
        self._watching = True
        node = event.nodes[0]
        if node is None:
            return []
        try:
            leader = znodes.decode(znodes.LeaderNode, node.path, node.data)
        except znodes.UnreadableNode as error:
            return [Note("leader_unreadable", {"why": str(error)}, Level.ERROR)]
        return self._consider(event.at, leader)

    def _consider(self, at: float, leader: znodes.LeaderNode) -> list[WorkerAction]:
        known = (self.fence.table, self.fence.epoch)
        found = (leader.table, leader.epoch)
        if leader.table == self.fence.table and leader.epoch < self.fence.epoch:
            return self._doubt(at, leader)
        self._stale_since = None
        self.fence.raise_to(leader.table, leader.epoch)
        if found == known and (leader.workers == self.endpoint or self.state is LinkState.REGISTERED):
            return []
        note = Note("leader_found", {"leader": leader.broker, "epoch": leader.epoch, "table": leader.table})
        return [note, *self._connect(at, leader.workers)]

    def _doubt(self, at: float, leader: znodes.LeaderNode) -> list[WorkerAction]:
        """Drop a leader that is older than the one we obey; one that stays leads a table that went back."""
        fields = {
            "trigger": "stale_epoch",
            "leader": leader.broker,
            "epoch": leader.epoch,
            "current": self.fence.epoch,
        }
        if self.registered:
            self._stale_since = None
            return [Note("message_dropped", fields, Level.DEBUG)]
        if self._stale_since is None:
            self._stale_since = at
            return [Note("message_dropped", fields, Level.WARNING)]
        if at - self._stale_since >= STALE_S_MAX:
            self.went_back = (
                f"the table went back from epoch {self.fence.epoch} to {leader.epoch}: ZooKeeper lost data, "
                "or was restored and needs new-table.sh; a new life serves what is there"
            )
        return []

    def _read(self, at: float) -> list[WorkerAction]:
        if not self._connected or self.state is LinkState.CLOSED:
            return []
        self._token = next(self._tokens)
        self._read_at = at
        return [zk.ReadNodes(token=self._token, paths=(znodes.LEADER,), watch=not self._watching)]

    def _read_soon(self, at: float) -> list[WorkerAction]:
        due = not self._token and at >= self._read_at + REREAD_GAP_S
        return self._read(at) if due else []

    # --- the link -----------------------------------------------------------------------------------------

    @property
    def registered(self) -> bool:
        """Whether the leader listens to us."""
        return self.state is _REGISTERED

    def on_opened(self, event: LinkOpened) -> list[WorkerAction]:
        """Introduce ourselves; a link that came back may end at a leader that forgot us."""
        if event.endpoint != self.endpoint or self.state in _UNLINKED:
            return []
        self.state = LinkState.REGISTERING
        self._trouble = ""
        return self._register(event.at)

    def on_closed(self, event: LinkClosed) -> list[WorkerAction]:
        """Ask ZooKeeper who leads; attempts go on, the shell goes on trying."""
        if event.endpoint != self.endpoint or self.state in _UNLINKED:
            return []
        self.state = LinkState.CONNECTING
        actions = self._read_soon(event.at)
        trouble = "leader_unreachable" if event.refused else "leader_unlinked"
        if trouble != self._trouble:
            self._trouble = trouble
            actions.insert(0, Note(trouble, {"endpoint": self.endpoint}, Level.WARNING))
        return actions

    def close(self) -> list[WorkerAction]:
        """Have nothing more to do with any leader."""
        self.state = LinkState.CLOSED
        return [DisconnectLeader()]

    def on_tick(self, at: float) -> list[WorkerAction]:
        """Do what is due: registering, a look at ``/leader``, a new link to a leader that fell silent."""
        actions: list[WorkerAction] = []
        if self.registered and at - self._heard_at > limits.MISSED_HEARTBEATS * self.heartbeat_s:
            silent_s = round(at - self._heard_at, 1)
            actions.append(Note("leader_silent", {"endpoint": self.endpoint, "silent_s": silent_s}))
            actions += [*self._read_soon(at), *self._connect(at, self.endpoint)]
        elif self.state is LinkState.REGISTERING and at >= self._register_at:
            again = self._registers >= REGISTER_TRIES
            actions += self._connect(at, self.endpoint) if again else self._register(at)
        if at >= self._read_at + (REREAD_S if self.registered else REREAD_UNREGISTERED_S):
            actions += self._read_soon(at)
        return actions

    def beat_due(self, at: float) -> bool:
        """Tell whether a heartbeat must be sent now, and take it as sent."""
        if not self.registered or at < self._beat_at:
            return False
        self._beat_at = at + self.heartbeat_s
        return True

    def _connect(self, at: float, endpoint: str) -> list[WorkerAction]:
        self.state = LinkState.CONNECTING
        if endpoint != self.endpoint:
            self._trouble = ""
        self.endpoint = endpoint
        self._registers = 0
        self._register_at = self._heard_at = at
        return [ConnectLeader(endpoint=endpoint)]

    def _register(self, at: float) -> list[WorkerAction]:
        delay_s = min(limits.RESEND_S * 2**self._registers, REGISTER_DELAY_S_MAX)
        self._register_at = at + delay_s * (1 + self._draws.below(250) / 1000)
        self._registers += 1
        return [SendToLeader(message=self._greeting())]

    # --- what the leader says -----------------------------------------------------------------------------

    def admit(self, event: LeaderSaid) -> Note | None:
        """Hold a frame to the fence; a newer epoch raises it.

        Returns:
            Why its orders must be dropped, or None: they are to be obeyed.
        """
        trigger = self.fence.refuses(event.table, event.epoch)
        if trigger is not None:
            return Note(
                "message_dropped",
                {
                    "trigger": trigger,
                    "message": type(event.messages[0]).__name__ if event.messages else "",
                    "messages": len(event.messages),
                    "epoch": event.epoch,
                    "current": self.fence.epoch,
                },
                Level.WARNING,
            )
        self._heard_at = event.at
        self.fence.epoch = event.epoch
        return None

    def on_another_term(self, event: LeaderSaid) -> list[WorkerAction]:
        """Register again where the broker at the other end of a living link has a new epoch."""
        if self.state is not _REGISTERED or self._term == (event.table, event.epoch):
            return []
        self.state = LinkState.REGISTERING
        self._registers = 0
        return self._register(event.at)

    def on_registered(self, event: LeaderSaid, message: Registered) -> tuple[bool, list[WorkerAction]]:
        """Take note that the leader knows us.

        Returns:
            Whether it is another leader than the one before, and what to do.
        """
        term = (event.table, event.epoch)
        another = term != self._term
        self._term = term
        self.state = LinkState.REGISTERED
        self.heartbeat_s = max(message.heartbeat_s, 0.05)
        self._beat_at = event.at + self.heartbeat_s
        fields = {"leader": message.broker, "epoch": event.epoch}
        return another, [Note("leader_registered", fields), ConnectOutput(endpoint=message.output)]

    def on_not_leader(self, at: float, message: NotLeader) -> list[WorkerAction]:
        """Look for the leader elsewhere: where the broker says, and in ZooKeeper."""
        if self.state in _UNLINKED:
            return []
        if self.registered:
            # The link may stay up, and the broker may lead again: it hears of us until we find another.
            self.state = LinkState.REGISTERING
            self._registers = 0
            self._register_at = at + limits.RESEND_S
        elsewhere = message.where and message.where != self.endpoint
        if elsewhere and at >= self._followed_at + limits.RESEND_S:
            self._followed_at = at
            return [*self._read_soon(at), *self._connect(at, message.where)]
        return self._read_soon(at)
