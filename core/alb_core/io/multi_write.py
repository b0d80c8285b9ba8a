"""The transaction request of ZooKeeper, for kazoo's connection: operations to bytes, answer to verdict.

kazoo's own ``TransactionRequest`` builds a tuple, a byte array and a header object for every operation. The
broker's group commit sends nothing else, so this one packs the records of ``zookeeper.jute`` directly.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from kazoo.exceptions import EXCEPTIONS

from alb_core.zk import Applied, Create, Delete, Operation, Refused, SetData, Stat, Unknown, Verdict

_CREATE: Final = 1
_DELETE: Final = 2
_SET_DATA: Final = 5
_CHECK: Final = 13
_ERROR: Final = -1

_INT: Final = struct.Struct(">i")
_HEADER: Final = struct.Struct(">iBi")
#: Type of an operation, "done", error: before each operation, both ways.
_HEADER_AND_LENGTH: Final = struct.Struct(">iBii")
#: The header, and the length of the path that follows it.
_END: Final = _HEADER.pack(-1, 1, -1)


def _text(text: bytes) -> bytes:
    return _INT.pack(len(text)) + text


_OPEN_ACL: Final = _INT.pack(1) + _INT.pack(31) + _text(b"world") + _text(b"anyone")
_PERSISTENT_END: Final = _OPEN_ACL + _INT.pack(0)
_EPHEMERAL_END: Final = _OPEN_ACL + _INT.pack(1)

STAT: Final = struct.Struct(">8x8x8xqi4x4xq4x4x8x")
#: Of a znode's stat only the mtime, the data version and the ephemeral owner.
STAT_BYTES: Final = STAT.size


def full_path(chroot: str, path: str) -> str:
    """Return the absolute path of a path that is relative to the chroot (``/x`` or the empty text)."""
    return (chroot or "/") if path == "/" else chroot + path


def read_stat(buffer: bytes, offset: int) -> Stat:
    """Read a stat record."""
    mtime, version, owner = STAT.unpack_from(buffer, offset)
    return Stat(version=version, mtime_s=mtime / 1000, owner=owner)


class MultiWrite:
    """One transaction, in the form of a kazoo request.

    Args:
        chroot: Prefix of every path.
        operations: What to apply, all or nothing.
    """

    type = 14
    plain = True
    #: Its answer arms no watch and ends nothing.

    def __init__(self, chroot: str, operations: Sequence[Operation]) -> None:
        self._bytes = _encode(chroot, operations)

    def serialize(self) -> bytes:
        """Return the request without its header."""
        return self._bytes

    def deserialize(self, buffer: bytes, offset: int) -> tuple[Verdict]:
        """Read the answer. A tuple of one, because kazoo walks over what a transaction returns."""
        return (_decode(buffer, offset),)


def _encode(chroot: str, operations: Sequence[Operation]) -> bytes:
    parts: list[bytes] = []
    for operation in operations:
        path = full_path(chroot, operation.path).encode()
        if isinstance(operation, Create):
            data = operation.data
            parts += (
                _HEADER_AND_LENGTH.pack(_CREATE, 0, -1, len(path)),
                path,
                _INT.pack(len(data)),
                data,
                _EPHEMERAL_END if operation.ephemeral else _PERSISTENT_END,
            )
        elif isinstance(operation, SetData):
            data = operation.data
            parts += (
                _HEADER_AND_LENGTH.pack(_SET_DATA, 0, -1, len(path)),
                path,
                _INT.pack(len(data)),
                data,
                _INT.pack(operation.version),
            )
        else:
            kind = _DELETE if isinstance(operation, Delete) else _CHECK
            parts += (
                _HEADER_AND_LENGTH.pack(kind, 0, -1, len(path)),
                path,
                _INT.pack(operation.version),
            )
    parts.append(_END)
    return b"".join(parts)


def _decode(buffer: bytes, offset: int) -> Verdict:
    stats: list[Stat | None] = []
    while True:
        kind, done, _ = _HEADER.unpack_from(buffer, offset)
        offset += _HEADER.size
        if done:
            return Applied(tuple(stats))
        if kind == _ERROR:
            return _decode_refusal(buffer, offset - _HEADER.size)
        if kind == _CREATE:
            (length,) = _INT.unpack_from(buffer, offset)
            offset += _INT.size + length
            stats.append(None)
        elif kind == _SET_DATA:
            stats.append(read_stat(buffer, offset))
            offset += STAT_BYTES
        else:
            stats.append(None)


def _decode_refusal(buffer: bytes, offset: int) -> Verdict:
    """Find the operation that failed: those before it have error 0, those after it -2."""
    index = 0
    while True:
        _, done, error = _HEADER.unpack_from(buffer, offset)
        if done:
            return Unknown("the server refused a transaction without naming an operation")
        if error not in (0, -2):
            return Refused(index, error_name(error))
        offset += _HEADER.size + _INT.size
        index += 1


def error_name(code: int) -> str:
    """Return ZooKeeper's name of an error code: ``NoNode``, ``BadVersion``, …."""
    return EXCEPTIONS[code].__name__.removesuffix("Error") if code in EXCEPTIONS else f"error {code}"
