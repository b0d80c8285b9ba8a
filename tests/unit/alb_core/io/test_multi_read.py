"""The bytes of multiRead, which kazoo does not know, and what its answer says."""

from __future__ import annotations

import struct

from alb_core.io.multi_read import MultiRead
from alb_core.zk import NodeRead, Stat

STAT = struct.pack(">qqqqiiiqiiq", 1, 2, 3_000, 4_500, 7, 8, 9, 77, 10, 11, 12)
END = struct.pack(">iBi", -1, 1, -1)


def test_request_is_a_list_of_unwatched_reads() -> None:
    """Each path is a getData record behind a header; a header that says so ends them."""
    assert MultiRead("/alb", ["/", "/a"]).serialize() == b"".join(
        (
            struct.pack(">iBi", 4, 0, -1) + struct.pack(">i", 4) + b"/alb" + b"\0",
            struct.pack(">iBi", 4, 0, -1) + struct.pack(">i", 6) + b"/alb/a" + b"\0",
            END,
        )
    )


def found(data: bytes | None) -> bytes:
    """Return the answer for a node."""
    size = struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data
    return struct.pack(">iBi", 4, 0, 0) + size + STAT


def failed(error: int) -> bytes:
    """Return the answer for a read that failed."""
    return struct.pack(">iBi", -1, 0, error) + struct.pack(">i", error)


def test_answer_keeps_the_order() -> None:
    """Data, none, null: a node, no node, and a node without data, each at its place."""
    answer = b"head" + found(b"data") + failed(-101) + found(None) + END
    stat = Stat(version=7, mtime_s=4.5, owner=77)
    assert MultiRead("/alb", ["/a", "/b", "/c"]).deserialize(answer, 4) == [
        NodeRead(path="/a", data=b"data", stat=stat),
        None,
        NodeRead(path="/c", data=b"", stat=stat),
    ]


def test_unreadable_node_is_not_taken_for_a_missing_one() -> None:
    """A node that exists but may not be read comes empty: it must not count as gone, nor spoil its chunk."""
    (node,) = MultiRead("", ["/a"]).deserialize(failed(-102) + END, 0)
    assert node == NodeRead(path="/a", data=b"", stat=Stat(version=-1, mtime_s=0.0))
