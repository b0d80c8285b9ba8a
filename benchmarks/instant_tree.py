"""A ZooKeeper in memory that answers at once and believes everything: for cores that are measured alone.

It keeps data and versions, which a broker's core compares. Nobody else writes, so nothing is ever refused.
"""

from __future__ import annotations

from alb_core import zk, znodes

MTIME_S = 1_700_000_000.0


class InstantTree:
    """The tree of one new cluster."""

    def __init__(self) -> None:
        self._nodes = {path: (data, 0) for path, data in znodes.first_nodes("bench").items()}
        self._children: dict[str, set[str]] = {}

    def answer(self, request: zk.Request, at: float) -> zk.SessionEvent:
        """Return ZooKeeper's answer to a request."""
        match request:
            case zk.Multi(token, operations):
                stats = tuple(self._apply(operation) for operation in operations)
                return zk.MultiEnded(at=at, token=token, verdict=zk.Applied(stats))
            case zk.ReadNodes():
                return zk.NodesRead(at=at, token=request.token, nodes=tuple(map(self._read, request.paths)))
            case zk.ListChildren():
                names = tuple(sorted(self._children.get(request.path, ())))
                return zk.ChildrenListed(at=at, token=request.token, names=names)

    def create(self, path: str, data: bytes) -> None:
        """Make a node that somebody else made."""
        self._apply(zk.Create(path, data))

    def _apply(self, operation: zk.Operation) -> zk.Stat | None:
        path = operation.path
        match operation:
            case zk.Create():
                self._nodes[path] = (operation.data, 0)
                parent, _, name = path.rpartition("/")
                self._children.setdefault(parent, set()).add(name)
            case zk.SetData():
                self._nodes[path] = (operation.data, self._nodes[path][1] + 1)
                return _stat(self._nodes[path][1])
            case zk.Delete():
                del self._nodes[path]
                parent, _, name = path.rpartition("/")
                self._children[parent].discard(name)
            case zk.Check():
                pass
        return None

    def _read(self, path: str) -> zk.NodeRead | None:
        found = self._nodes.get(path)
        return None if found is None else zk.NodeRead(path=path, data=found[0], stat=_stat(found[1]))


def _stat(version: int) -> zk.Stat:
    return zk.Stat(version=version, mtime_s=MTIME_S)
