"""The bytes of transactions: the same as kazoo's own, and answers read as the server means them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kazoo.protocol import serialization as kazoo
from kazoo.security import OPEN_ACL_UNSAFE

from alb_core.io.multi_write import MultiWrite, error_name, full_path
from alb_core.zk import Applied, Check, Create, Delete, Operation, Refused, SetData, Stat, Unknown

PATHS = st.text(min_size=1, max_size=20).map(lambda text: "/" + text.replace("/", "_"))
VERSIONS = st.integers(-1, 2**31 - 1)
OPERATIONS = st.one_of(
    st.builds(Create, path=PATHS, data=st.binary(max_size=50), ephemeral=st.booleans()),
    st.builds(SetData, path=PATHS, data=st.binary(max_size=50), version=VERSIONS),
    st.builds(Delete, path=PATHS, version=VERSIONS),
    st.builds(Check, path=PATHS, version=VERSIONS),
)


def as_kazoo(chroot: str, operation: Operation) -> object:
    """Return kazoo's form of an operation."""
    path = chroot + operation.path
    match operation:
        case Create():
            return kazoo.Create(path, operation.data, OPEN_ACL_UNSAFE, int(operation.ephemeral))
        case SetData():
            return kazoo.SetData(path, operation.data, operation.version)
        case Delete():
            return kazoo.Delete(path, operation.version)
        case Check():
            return kazoo.CheckVersion(path, operation.version)


@given(operations=st.lists(OPERATIONS, max_size=5), chroot=st.sampled_from(["", "/alb"]))
def test_bytes_are_those_of_kazoo(operations: list[Operation], chroot: str) -> None:
    """Whatever the operations, the request has the bytes that kazoo would send."""
    expected = kazoo.Transaction([as_kazoo(chroot, operation) for operation in operations]).serialize()
    assert MultiWrite(chroot, operations).serialize() == bytes(expected)


def test_malformed_operation_fails_in_the_caller() -> None:
    """A version that is none is an error where the transaction is made, not on the connection's thread."""
    with pytest.raises(struct.error):
        MultiWrite("", (SetData("/a", b"", 2**31),))


def header(kind: int, error: int, *, done: bool = False) -> bytes:
    """Return a header of an answer."""
    return struct.pack(">iBi", kind, done, error)


END = header(-1, -1, done=True)
STAT = struct.pack(">qqqqiiiqiiq", 1, 2, 3_000, 4_500, 7, 8, 9, 77, 10, 11, 12)


def test_applied_answer_has_one_entry_an_operation() -> None:
    """Creates, deletes and checks say nothing; each set gives the stat it left."""
    path = b"/alb/tasks/x"
    answer = b"".join(
        (
            b"junk",
            header(13, 0),
            *(header(5, 0), STAT),
            *(header(1, 0), struct.pack(">i", len(path)), path),
            header(2, 0),
            *(header(5, 0), STAT),
            END,
        )
    )
    stat = Stat(version=7, mtime_s=4.5, owner=77)
    assert MultiWrite("", ()).deserialize(answer, 4) == (Applied((None, stat, None, None, stat)),)


def refusal(*errors: int) -> bytes:
    """Return the answer of a transaction whose operations have these error codes."""
    return b"".join(header(-1, error) + struct.pack(">i", error) for error in errors) + END


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        ((0, 0, -110, -2), Refused(2, "NodeExists")),
        ((-103,), Refused(0, "BadVersion")),
        ((0, -101, -2, -2), Refused(1, "NoNode")),
        ((-111, -2), Refused(0, "NotEmpty")),
        ((0, -4711), Refused(1, "error -4711")),
    ],
)
def test_refusal_is_the_first_real_error(errors: tuple[int, ...], verdict: Refused) -> None:
    """Operations before the failing one carry 0, those after it -2: neither is the reason."""
    assert MultiWrite("", ()).deserialize(refusal(*errors), 0) == (verdict,)


def test_refusal_without_a_reason_is_unknown() -> None:
    """An answer that blames nobody proves nothing."""
    (verdict,) = MultiWrite("", ()).deserialize(refusal(0, -2), 0)
    assert isinstance(verdict, Unknown)


def test_error_names_are_those_of_zookeeper() -> None:
    """Kazoo's classes give the names."""
    assert [error_name(code) for code in (-101, -102, -108)] == [
        "NoNode",
        "NoAuth",
        "NoChildrenForEphemerals",
    ]


@pytest.mark.parametrize(
    ("chroot", "path", "full"),
    [("", "/", "/"), ("", "/a", "/a"), ("/alb", "/", "/alb"), ("/alb", "/a/b", "/alb/a/b")],
)
def test_full_path(chroot: str, path: str, full: str) -> None:
    """The root of the chroot has no slash at its end."""
    assert full_path(chroot, path) == full
