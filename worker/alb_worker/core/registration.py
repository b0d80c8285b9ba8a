"""The worker's ephemeral node in ZooKeeper: made, watched, made again; never taken from a newer incarnation.

Knows nothing of leaders and attempts. A claim is one transaction; whether it worked is decided by reading the
node again and comparing its owner with the session, because an answer can be lost and an old node can linger.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

from alb_core import zk, znodes
from alb_core.notes import Level, Note
from alb_worker.core.actions import WorkerAction

RETRY_S: Final = 0.5
#: Pause before a read or a claim that failed is tried again.
RECHECK_S: Final = 10.0
#: The node is read this often even if no watch fires: a lost watch must not hide a lost node.


class Standing(enum.Enum):
    """What the worker knows of its node."""

    AWAY = "away"  #: There is no usable session.
    LOOKING = "looking"  #: The node is being read, or will be after a pause.
    CLAIMING = "claiming"  #: A transaction that makes the node is under way.
    HELD = "held"  #: The node carries our incarnation and hangs on our session.
    REPLACED = "replaced"  #: A newer incarnation holds the node: this one must end.
    LEFT = "left"  #: We deleted the node, or are about to.


class Registration:
    """The state of the worker's node.

    Args:
        node: What the node shall hold.
        tokens: Numbers for requests to ZooKeeper, unique within the process.
    """

    def __init__(self, node: znodes.WorkerNode, tokens: Iterator[int]) -> None:
        self._node = node
        self._path = znodes.worker_path(node.worker)
        self._data = znodes.encode(node)
        self._tokens = tokens
        self._token = 0
        #: Of the request under way; answers with another token are of the past.
        self._session = 0
        self._connected = False
        self._established = False
        #: The node was ours at some time; from then on another incarnation in it is a newer one.
        self._version = -1
        #: Data version of the node as last read.
        self._trouble = ""
        #: Why the last claim failed, so that the log says it once.
        self._again_at = 0.0
        #: When to read the node again, in monotonic seconds.
        self.standing = Standing.AWAY

    @property
    def connected(self) -> bool:
        """Whether there is a usable session."""
        return self._connected

    def expects(self, token: int) -> bool:
        """Tell whether an answer with this token is for us."""
        return token == self._token

    def on_connected(self, event: zk.SessionConnected) -> list[WorkerAction]:
        """Look at the node: a new session has none, an old one may have lost it unseen."""
        self._session = event.session
        self._connected = True
        return self._look(event.at)

    def on_disconnected(self) -> None:
        """Wait for the session to come back, or for the next one."""
        self._connected = False
        self._token = 0
        if self.standing not in (Standing.REPLACED, Standing.LEFT):
            self.standing = Standing.AWAY

    def on_node_changed(self, event: zk.NodeChanged) -> list[WorkerAction]:
        """Look at what became of the node."""
        return self._look(event.at) if event.path == self._path else []

    def on_nodes_read(self, event: zk.NodesRead) -> list[WorkerAction]:
        """Decide by what the node holds."""
        self._token = 0
        self._again_at = event.at + RETRY_S
        if event.nodes is None:
            return []
        found = event.nodes[0]
        if found is None:
            return self._claim()
        return self._judge(event.at, found)

    def on_multi_ended(self, event: zk.MultiEnded) -> list[WorkerAction]:
        """Read the node after a claim, whatever its verdict: only the node tells whose it is."""
        self._token = 0
        if self.standing is Standing.LEFT:
            return []
        if isinstance(event.verdict, zk.Applied):
            self._established = True
            return self._look(event.at)
        self.standing = Standing.LOOKING
        self._again_at = event.at + RETRY_S
        why = event.verdict.error if isinstance(event.verdict, zk.Refused) else "outcome unknown"
        if why == self._trouble:
            return []
        self._trouble = why
        return [Note("registration_delayed", {"path": self._path, "why": why}, Level.WARNING)]

    def on_tick(self, at: float) -> list[WorkerAction]:
        """Read the node again when that is due."""
        if not self._token and at >= self._again_at:
            return self._look(at)
        return []

    def leave(self) -> list[WorkerAction]:
        """Delete our node; nothing where it is not known to be ours (it ends with the session)."""
        held = self.standing is Standing.HELD
        self.standing = Standing.LEFT
        if not held:
            return []
        self._token = next(self._tokens)
        return [zk.Multi(self._token, (zk.Delete(self._path, self._version),))]

    @property
    def leaving(self) -> bool:
        """Whether the deletion of our node is under way."""
        return self.standing is Standing.LEFT and self._token != 0

    def _look(self, at: float) -> list[WorkerAction]:
        if not self._connected or self.standing in (Standing.REPLACED, Standing.LEFT):
            return []
        if self.standing is not Standing.HELD:
            self.standing = Standing.LOOKING
        self._token = next(self._tokens)
        self._again_at = at + RECHECK_S
        return [zk.ReadNodes(token=self._token, paths=(self._path,), watch=True, sync=True)]

    def _judge(self, at: float, found: zk.NodeRead) -> list[WorkerAction]:
        node = _decoded(found)
        holder = node.incarnation if node is not None else ""
        self._version = found.stat.version
        if holder == self._node.incarnation:
            self._established = True
            if found.stat.owner != self._session:
                return self._claim(over=found)
            self._again_at = at + RECHECK_S
            return self._hold()
        if not holder and found.stat.owner == self._session:
            self._again_at = at + RETRY_S  # what we wrote cannot be read: writing it again would not help
            return []
        if self._established and node is not None:
            self.standing = Standing.REPLACED
            return [self._replaced_by(node)]
        return self._claim(over=found)

    def _replaced_by(self, node: znodes.WorkerNode) -> Note:
        why = (
            f"a newer worker on {_host(node)} (pid {node.pid}) took the name {node.worker}: this one ends "
            "its commands, and exits with 3; give each worker its own --name. Supervisors that start both "
            "again let them take it from each other for ever"
        )
        fields = {"path": self._path, "incarnation": node.incarnation, "why": why}
        return Note("worker_replaced", fields, Level.ERROR)

    def _hold(self) -> list[WorkerAction]:
        if self.standing is Standing.HELD:
            return []
        self.standing = Standing.HELD
        self._trouble = ""
        return [Note("worker_registered", {"path": self._path, "session": f"{self._session:#x}"})]

    def _claim(self, over: zk.NodeRead | None = None) -> list[WorkerAction]:
        """Make the node; an old one goes in the same transaction: it neither blocks us nor vanishes later."""
        self.standing = Standing.CLAIMING
        self._token = next(self._tokens)
        create = zk.Create(self._path, self._data, ephemeral=True)
        if over is None:
            return [zk.Multi(self._token, (create,))]
        return [
            self._taken_over(over),
            zk.Multi(self._token, (zk.Delete(self._path, over.stat.version), create)),
        ]

    def _taken_over(self, over: zk.NodeRead) -> Note:
        fields = {"path": self._path, "session": f"{over.stat.owner:#x}"}
        node = _decoded(over)
        if node is None or node.capacity.host == self._node.capacity.host:
            return Note("registration_taken_over", fields)
        # Nearly always the worker was moved. Who is alive there ends now, and this line tells why.
        why = (
            f"a worker on {_host(node)} (pid {node.pid}) had the name {node.worker}: if it lives, it ends "
            "its commands, and itself; two that live need a --name each"
        )
        return Note("registration_taken_over", fields | {"why": why}, Level.WARNING)


def _decoded(found: zk.NodeRead) -> znodes.WorkerNode | None:
    """Return what a node holds; None where it cannot be read: then it is nobody's."""
    try:
        return znodes.decode(znodes.WorkerNode, found.path, found.data)
    except znodes.UnreadableNode:
        return None


def _host(node: znodes.WorkerNode) -> str:
    return node.capacity.host or "an unknown host"
