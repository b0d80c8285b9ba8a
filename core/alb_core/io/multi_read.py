"""Reading much at once: multiRead of ZooKeeper 3.6 (opcode 22), which kazoo lacks, and long listings.

A server that does not know it answers ``Unimplemented``; ``alb_core.io.session`` then reads one by one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from kazoo.exceptions import NoNodeError
from kazoo.protocol.serialization import GetChildren

from alb_core.io.multi_write import STAT_BYTES, full_path, read_stat
from alb_core.zk import NO_STAT, NodeRead

_GET_DATA: Final = 4
_ERROR: Final = -1
_INT: Final = struct.Struct(">i")
_HEADER: Final = struct.Struct(">iBi")
_HEADER_AND_LENGTH: Final = struct.Struct(">iBii")
_END: Final = _HEADER.pack(-1, 1, -1)
_NO_WATCH: Final = b"\0"


class MultiRead:
    """Many reads, in the form of a kazoo request.

    Args:
        chroot: Prefix of every path.
        paths: The nodes, relative to the chroot.
        stats: Whether their stats are wanted.
    """

    type = 22

    def __init__(self, chroot: str, paths: Sequence[str], *, stats: bool = True) -> None:
        self._chroot = chroot
        self._paths = paths
        self._stats = stats

    def serialize(self) -> bytes:
        """Return the request without its header."""
        parts: list[bytes] = []
        for path in self._paths:
            encoded = full_path(self._chroot, path).encode()
            parts += (_HEADER_AND_LENGTH.pack(_GET_DATA, 0, -1, len(encoded)), encoded, _NO_WATCH)
        parts.append(_END)
        return b"".join(parts)

    def deserialize(self, buffer: bytes, offset: int) -> list[NodeRead | None]:
        """Read the answer: one entry a path, None where there is no node.

        A node that exists but may not be read (its ACL was changed) comes with empty data, which is no form
        of ours: whoever asked sets it aside, and the others of the chunk are not lost with it.
        """
        nodes: list[NodeRead | None] = []
        for path in self._paths:
            kind, _, error, length = _HEADER_AND_LENGTH.unpack_from(buffer, offset)
            offset += _HEADER_AND_LENGTH.size
            if kind == _ERROR:  # then the error comes again, in place of a length
                nodes.append(None if error == NoNodeError.code else _unreadable(path))
                continue
            end = offset + length if length > 0 else offset  # -1: a node whose data is null
            stat = read_stat(buffer, end) if self._stats else NO_STAT
            nodes.append(NodeRead(path=path, data=buffer[offset:end], stat=stat))
            offset = end + STAT_BYTES
        return nodes


class ListNames(GetChildren):  # type: ignore[misc]  # kazoo ships no types
    """kazoo's request for a node's children; a takeover reads a hundred thousand names of its answers."""

    @classmethod
    def deserialize(cls, buffer: bytes, offset: int) -> list[str]:
        """Read the answer."""
        (count,) = _INT.unpack_from(buffer, offset)
        offset += _INT.size
        names: list[str] = []
        for _ in range(count):
            (length,) = _INT.unpack_from(buffer, offset)
            offset += _INT.size + length
            names.append(buffer[offset - length : offset].decode())
        return names


def _unreadable(path: str) -> NodeRead:
    return NodeRead(path=path, data=b"", stat=NO_STAT)
