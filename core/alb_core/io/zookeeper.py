"""ZooKeeper: the session that brokers and workers keep, and the short visits of everybody else.

A visit opens a session, asks, and closes it: making the tree of a new cluster, or finding out who leads.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from alb_core import znodes
from alb_core.errors import CoordinationError, ZooKeeperUnreachable
from alb_core.io.clock import monotonic, new_id
from alb_core.io.session import Session
from alb_core.zk import (
    ChildrenListed,
    Create,
    ListChildren,
    Multi,
    MultiEnded,
    NodeRead,
    NodesRead,
    ReadNodes,
    Refused,
    Request,
    SessionConnected,
    SessionEvent,
    SessionSuspended,
)
from alb_core.znodes import BrokerNode, LeaderNode, MetaNode, WorkerNode

__all__ = ["Session", "bootstrap", "read_cluster", "visit"]

VISIT_SESSION_S: Final = 4.0
#: Session timeout of a visit: it ends by itself so long after a visitor was killed.
GOODBYE_S: Final = 0.5
#: How long a visitor waits for ZooKeeper to confirm that the session is closed.
REMIND_S: Final = 5.0
#: Who waits for an answer is told so often that there is none yet.


class Visit:
    """A session with somebody who waits for each answer.

    Args:
        hosts: ``host:port,host:port``.
        chroot: Prefix of every path.
        within_s: Time for the whole visit.
        on_wait: Called every `REMIND_S` seconds as long as there is no answer.
    """

    def __init__(
        self, hosts: str, chroot: str, within_s: float, on_wait: Callable[[], None] = lambda: None
    ) -> None:
        self._hosts = hosts
        self._within_s = within_s
        self._deadline = monotonic() + within_s
        self._on_wait = on_wait
        self._connected = False
        self._events: queue.SimpleQueue[SessionEvent] = queue.SimpleQueue()
        self._session = Session(hosts, chroot, VISIT_SESSION_S, self._events.put)
        self._session.start()

    def close(self) -> None:
        """End the session."""
        self._session.stop(GOODBYE_S)

    def wait_connected(self) -> None:
        """Wait until requests can be answered."""
        while not self._connected:
            self._next()

    def create(self, nodes: Mapping[str, bytes]) -> None:
        """Try to create nodes, all or none; read whether they are there.

        Raises:
            CoordinationError: We are not allowed to, or for another reason never can.
        """
        answer = self._ask(Multi(0, tuple(Create(path, data) for path, data in nodes.items())))
        refusal = answer.verdict if isinstance(answer, MultiEnded) else None
        if isinstance(refusal, Refused) and refusal.error not in ("NodeExists", "NoNode"):
            raise CoordinationError(
                f"ZooKeeper refuses to create {list(nodes)[refusal.index]}: {refusal.error}"
            )

    def read(self, paths: Sequence[str]) -> tuple[NodeRead | None, ...]:
        """Read nodes, past any loss of the connection."""
        while True:
            answer = self._ask(ReadNodes(token=0, paths=tuple(paths)))
            if isinstance(answer, NodesRead) and answer.nodes is not None:
                return answer.nodes
            self.wait_connected()

    def list(self, path: str) -> tuple[str, ...]:
        """List the children of a node, past any loss of the connection; none where there is no such node."""
        while True:
            answer = self._ask(ListChildren(token=0, path=path))
            if isinstance(answer, ChildrenListed) and answer.names is not None:
                return answer.names
            if self.read([path]) == (None,):
                return ()

    def _ask(self, request: Request) -> SessionEvent:
        self._session.request(request)
        while True:
            event = self._next()
            if isinstance(event, MultiEnded | NodesRead | ChildrenListed):
                return event

    def _next(self) -> SessionEvent:
        while True:
            left_s = max(self._deadline - monotonic(), 0)
            with suppress(queue.Empty):
                event = self._events.get(timeout=min(left_s, REMIND_S))
                break
            if left_s <= REMIND_S:
                raise ZooKeeperUnreachable(
                    f"no ZooKeeper server answered within {self._within_s:g} s (tried {self._hosts}): "
                    "check that it runs and that --zk or ALB_ZK names it"
                )
            self._on_wait()
        if isinstance(event, SessionConnected | SessionSuspended):
            self._connected = isinstance(event, SessionConnected)
        return event


@contextmanager
def visit(
    hosts: str, chroot: str, within_s: float, on_wait: Callable[[], None] = lambda: None
) -> Iterator[Visit]:
    """Open a short session, and close it after the block.

    Args:
        hosts: ``host:port,host:port``.
        chroot: Prefix of every path.
        within_s: Time for the whole visit.
        on_wait: Called every `REMIND_S` seconds as long as there is no answer.

    Raises:
        ZooKeeperUnreachable: No server answered in time.
    """
    visitor = Visit(hosts, chroot, within_s, on_wait)
    try:
        visitor.wait_connected()
        yield visitor
    finally:
        visitor.close()


def bootstrap(
    hosts: str,
    chroot: str,
    *,
    within_s: float = 30.0,
    cluster: str = "alb",
    on_wait: Callable[[], None] = lambda: None,
) -> MetaNode:
    """Make what is missing of the tree that a cluster needs, and return what the tree is.

    Everybody may do it at any time, also at once.

    Args:
        hosts: ``host:port,host:port``.
        chroot: Where the cluster lives, for example ``/alb``; made too.
        within_s: Time to wait for ZooKeeper.
        cluster: Name of the cluster, for a new tree.
        on_wait: Called every `REMIND_S` seconds as long as there is no answer.

    Raises:
        ZooKeeperUnreachable: No server answered in time.
        CoordinationError: ZooKeeper does not let us create the tree.
        UnreadableNode: ``/meta`` is none of ours.
    """
    with visit(hosts, "", within_s, on_wait) as visitor:
        chroot = chroot.rstrip("/")
        for end in (*(i for i, letter in enumerate(chroot) if letter == "/" and i), len(chroot)):
            if chroot and visitor.read([chroot[:end]]) == (None,):
                visitor.create({chroot[:end]: b""})
        nodes = {chroot + path: data for path, data in znodes.first_nodes(new_id(), cluster).items()}
        while True:
            found = visitor.read(list(nodes))
            missing = {path: nodes[path] for path, node in zip(nodes, found, strict=True) if node is None}
            if not missing:
                meta = found[0]
                assert meta is not None  # noqa: S101 (nothing is missing)
                return znodes.decode(MetaNode, znodes.META, meta.data)
            visitor.create(missing)


def read_cluster(
    hosts: str, chroot: str, within_s: float = 10.0
) -> tuple[LeaderNode | None, list[BrokerNode], list[WorkerNode]]:
    """Find out who leads, and which brokers and workers there are.

    Args:
        hosts: ``host:port,host:port``.
        chroot: Where the cluster lives.
        within_s: Time to wait for ZooKeeper.

    Returns:
        The leader's node or None, the brokers and the workers, each sorted by name. What cannot be read is
        left out.

    Raises:
        ZooKeeperUnreachable: No server answered in time.
    """
    with visit(hosts, chroot, within_s) as visitor:
        brokers = [znodes.broker_path(name) for name in visitor.list(znodes.BROKERS)]
        workers = [znodes.worker_path(name) for name in visitor.list(znodes.WORKERS)]
        leader, *rest = visitor.read([znodes.LEADER, *brokers, *workers])
    leaders = _decoded(LeaderNode, [leader])
    return (
        leaders[0] if leaders else None,
        _decoded(BrokerNode, rest[: len(brokers)]),
        _decoded(WorkerNode, rest[len(brokers) :]),
    )


def _decoded(form: type[znodes.Node], nodes: Sequence[NodeRead | None]) -> list[znodes.Node]:
    found: list[znodes.Node] = []
    for node in nodes:
        if node is None:
            continue
        try:
            found.append(znodes.decode(form, node.path, node.data))
        except znodes.UnreadableNode:
            continue
    return found
