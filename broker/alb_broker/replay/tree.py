"""ZooKeeper as one broker alone sees it, on a day without faults: every request is applied at once.

It owns the nodes. Nobody else writes, so no transaction can be refused and no watch ever tells anything new:
a refusal is a defect of the core, and ends the replay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

from alb_core import zk
from alb_core.errors import ReplayBroken


class Tree:
    """The nodes.

    Args:
        nodes: Data by path, parents first.
        mtime_s: The time of every change, in seconds since 1970: cluster time begins there.
    """

    def __init__(self, nodes: Mapping[str, bytes], mtime_s: float) -> None:
        self._mtime_s: Final = mtime_s
        self._data: dict[str, bytes] = {}
        self._versions: dict[str, int] = {}
        self._children: dict[str, dict[str, None]] = {"/": {}}
        for path, data in nodes.items():
            self.create(path, data)

    def create(self, path: str, data: bytes) -> None:
        """Create a node, whose parent must exist."""
        parent, _, name = path.rpartition("/")
        siblings = self._children.get(parent or "/")
        if siblings is None:  # a task is a leaf: it gets a list of children when it has the first
            if parent not in self._data:
                raise ReplayBroken(f"{path} has no parent")
            siblings = self._children[parent] = {}
        if path in self._data:
            raise ReplayBroken(f"{path} exists already")
        siblings[name] = None
        self._data[path] = data
        self._versions[path] = 0

    def apply(self, request: zk.Request, at: float) -> zk.SessionEvent:
        """Apply a request, and return its answer.

        Args:
            request: What to do.
            at: Time stamp of the answer.

        Raises:
            ReplayBroken: A transaction does not fit the tree.
        """
        match request:
            case zk.Multi():
                stats = tuple([self._operate(operation) for operation in request.operations])
                return zk.MultiEnded(at=at, token=request.token, verdict=zk.Applied(stats))
            case zk.ReadNodes():
                nodes = tuple([self._read(path) for path in request.paths])
                return zk.NodesRead(at=at, token=request.token, nodes=nodes)
            case zk.ListChildren():
                names = tuple(sorted(self._children.get(request.path, ())))
                found = names if request.path in self._data else None
                return zk.ChildrenListed(at=at, token=request.token, names=found)
            case _:
                assert_never(request)

    def _operate(self, operation: zk.Operation) -> zk.Stat | None:
        kind = type(operation)
        if kind is zk.Create:
            self.create(operation.path, operation.data)
            return None
        path = operation.path
        version = self._versions.get(path)
        if version is None or operation.version not in (-1, version):  # type: ignore[union-attr]
            raise ReplayBroken(f"{kind.__name__} of {path} does not fit: its version is {version}")
        if isinstance(operation, zk.SetData):
            self._data[path] = operation.data
            self._versions[path] = version + 1
            return zk.Stat(version=version + 1, mtime_s=self._mtime_s)
        if isinstance(operation, zk.Delete):
            if self._children.get(path):
                raise ReplayBroken(f"{path} cannot be deleted: it has children")
            parent, _, name = path.rpartition("/")
            del self._data[path], self._versions[path], self._children[parent or "/"][name]
            self._children.pop(path, None)
        return None

    def _read(self, path: str) -> zk.NodeRead | None:
        data = self._data.get(path)
        if data is None:
            return None
        return zk.NodeRead(
            path=path, data=data, stat=zk.Stat(version=self._versions[path], mtime_s=self._mtime_s)
        )
