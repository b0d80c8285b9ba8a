"""The inputs of one array: in which nodes they lie, and the few that are in memory.

A node ``inputs-<position of its first line>`` holds neighbouring lines, as many as fit. Only the last node of
an array that still grows changes; it is in memory, and so are the nodes at the cursor. The rest is read when
it is needed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from alb_core import limits, zk, znodes

NODE_BYTES: Final = 128 * 1024
#: Of one node: some of them fit into a batch, and one line always does (a character takes six bytes at most).
_QUOTES: Final = 3
#: What JSON adds to a line.


class Inputs:
    """Where the inputs of an array are.

    Args:
        array: The array's id.
        firsts: The positions with which its nodes begin, sorted.
    """

    __slots__ = ("_array", "_loaded", "_tail_bytes", "asked", "firsts", "size_bytes", "total")

    def __init__(self, array: str, firsts: Sequence[int] = (), total: int = 0) -> None:
        self._array: Final = array
        self.firsts: Final = list(firsts)
        self.total = total  #: How many inputs there are.
        self.size_bytes = len(self.firsts) * NODE_BYTES // 4
        #: Of all of them: as this leader counted, or, of those that it found, about.
        self.asked: set[int] = set()  #: Nodes that are being read.
        self._loaded: Final[dict[int, list[str]]] = {}  #: By first position.
        self._tail_bytes = 0  #: Size of the last node, where it is loaded and may grow.

    def __bool__(self) -> bool:
        return bool(self.firsts)

    def add(self, lines: Sequence[str]) -> list[tuple[int, zk.Operation]]:
        """Append lines.

        Returns:
            The writes, in their order: each with the total after it.
        """
        writes: list[tuple[int, zk.Operation]] = []
        rest = list(lines)
        while rest:
            first, node = self._growing()
            fresh = not node
            taken = 0
            while taken < len(rest) and len(node) < limits.ARRAY_CHUNK:
                size = _size(rest[taken])
                if node and self._tail_bytes + size > NODE_BYTES:
                    break
                node.append(rest[taken])
                self._tail_bytes += size
                self.size_bytes += size
                taken += 1
            del rest[:taken]
            self.total = first + len(node)
            if not taken:  # the last node is full: begin another one
                self._begin()
                continue
            path, data = znodes.inputs_path(self._array, first), znodes.encode_list(node)
            writes.append((self.total, zk.Create(path, data) if fresh else zk.SetData(path, data)))
        return writes

    def _growing(self) -> tuple[int, list[str]]:
        """Return the last node, if it has room; else a new one."""
        if not self.firsts:
            self._begin()
        first = self.firsts[-1]
        node = self._loaded.get(first)
        if node is None or len(node) >= limits.ARRAY_CHUNK:
            self._begin()
            first = self.firsts[-1]
            node = self._loaded[first]
        return first, node

    def _begin(self) -> None:
        if not self.firsts or self.firsts[-1] != self.total:
            self.firsts.append(self.total)
        self._loaded[self.total] = []
        self._tail_bytes = 0

    def at(self, position: int) -> str | None:
        """Return an input; None: its node is not in memory."""
        if not self.firsts:
            return None
        first = self.node_of(position)
        node = self._loaded.get(first)
        return node[position - first] if node is not None and position - first < len(node) else None

    def node_of(self, position: int) -> int:
        """Return the first position of the node that holds a position."""
        return self.firsts[max(0, bisect_right(self.firsts, position) - 1)]

    def has(self, first: int) -> bool:
        """Tell whether the node that begins at a position is in memory."""
        return first in self._loaded

    def load(self, first: int, lines: list[str]) -> None:
        """Keep what was read."""
        self.asked.discard(first)
        self._loaded.setdefault(first, lines)

    def drop_before(self, position: int, *, written: int, growing: bool) -> None:
        """Forget what is not needed any more, or not yet.

        Args:
            position: The cursor.
            written: How many inputs are in the table: nodes with later ones could not be read again yet.
            growing: The last node is needed to append to it.
        """
        if not self.firsts:
            return
        here = max(0, bisect_right(self.firsts, position) - 1)
        kept = {*self.firsts[here : here + 2], *(self.firsts[-1:] if growing else ())}
        if written < self.total:
            kept.update(self.firsts[max(0, bisect_right(self.firsts, written) - 1) :])
        for first in [each for each in self._loaded if each not in kept]:
            del self._loaded[first]

    def nodes_between(self, begin: int, end: int) -> list[int]:
        """Return the nodes that hold the positions of a range."""
        if not self.firsts or begin >= min(end, self.total):
            return []
        lowest = bisect_right(self.firsts, begin) - 1
        return [first for first in self.firsts[max(0, lowest) :] if first < end]


def _size(line: str) -> int:
    """Return at least what a line takes in JSON."""
    size = len(line.encode()) + _QUOTES
    if '"' in line or "\\" in line or not line.isprintable():
        size += 5 * sum(1 for each in line if each in '"\\' or ord(each) < 32)
    return size
