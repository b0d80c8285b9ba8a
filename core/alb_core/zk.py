"""What a core asks of ZooKeeper and what comes back, as values.

The kazoo session (``alb_core.io.zookeeper``) and the simulator's model carry these out; one contract
test holds both to the same behaviour.
"""

from __future__ import annotations

from typing import ClassVar, Final, TypeAlias

import msgspec


class Create(msgspec.Struct, frozen=True, gc=False):
    """Create a node; fails where it exists or its parent does not."""

    path: str
    data: bytes
    ephemeral: bool = False


class SetData(msgspec.Struct, frozen=True, gc=False):
    """Replace a node's data; version -1 matches any."""

    path: str
    data: bytes
    version: int = -1


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Delete a node; version -1 matches any."""

    data: ClassVar[bytes] = b""  #: It writes none.
    path: str
    version: int = -1


class Check(msgspec.Struct, frozen=True, gc=False):
    """Succeed only where the node has this data version."""

    data: ClassVar[bytes] = b""  #: It writes none.
    path: str
    version: int


Operation: TypeAlias = Create | SetData | Delete | Check


class Stat(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What ZooKeeper knows of a node."""

    version: int
    mtime_s: float
    #: The server's wall clock at the last change, in seconds since 1970.
    owner: int = 0
    #: Session that an ephemeral node belongs to, else 0.


NO_STAT: Final = Stat(version=-1, mtime_s=0.0)
#: Of a node whose stat was not read.


class NodeRead(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One node as it was read."""

    path: str
    data: bytes
    stat: Stat


class Applied(msgspec.Struct, frozen=True, gc=False):
    """The transaction was applied. One entry an operation: a Stat for SetData, else None."""

    stats: tuple[Stat | None, ...]


class Refused(msgspec.Struct, frozen=True, gc=False):
    """The transaction was refused whole; nothing changed."""

    index: int
    #: The first operation that failed.
    error: str
    #: ``NoNode``, ``NodeExists``, ``BadVersion``, ``NotEmpty``, or another name of ZooKeeper's.


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """The connection broke: the transaction may or may not have been applied, or may be later."""

    why: str = ""


Verdict: TypeAlias = Applied | Refused | Unknown


# --- requests: actions of a core, carried out in the order in which they were given ------------------------
# Every request has a token that the core chose; the answer carries it. Tokens of a former session may still
# come back: a core ignores the ones it does not expect.


class Multi(msgspec.Struct, frozen=True, gc=False):
    """Apply the operations as one transaction. Answer: MultiEnded."""

    token: int
    operations: tuple[Operation, ...]


class ReadNodes(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Read nodes, many at once. Answer: NodesRead."""

    token: int
    paths: tuple[str, ...]
    watch: bool = False
    #: Report the next change (creation and deletion too) of each as one NodeChanged.
    sync: bool = False
    #: Catch up with the ensemble's leader first.
    stats: bool = True
    #: False: the asker looks at data only, and every node may come with `NO_STAT`.


class ListChildren(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """List a node's children. Answer: ChildrenListed."""

    token: int
    path: str
    watch: bool = False
    #: Report the next change of the list as one ChildrenChanged.


Request: TypeAlias = Multi | ReadNodes | ListChildren

# --- events: what the session tells a core -----------------------------------------------------------------


class SessionConnected(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The session is usable, for the first time or again. Watches of before are gone: list and read anew."""

    at: float
    #: Monotonic seconds of this process, as in every event.
    session: int
    #: Another id than before: the old session is over, and with it all that hung on it.
    timeout_s: float
    #: What the server granted.


class SessionSuspended(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The connection is gone; the session may live or not. Requests under way now end Unknown."""

    at: float


class SessionExpired(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The ensemble ended the session. The shell opens a new one by itself; SessionConnected follows."""

    at: float


class MultiEnded(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Answer to Multi."""

    at: float
    token: int
    verdict: Verdict


class NodesRead(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Answer to ReadNodes: in the order asked, None where there is no node; or None: unknown, ask again."""

    at: float
    token: int
    nodes: tuple[NodeRead | None, ...] | None


class ChildrenListed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Answer to ListChildren: names, sorted; None: unknown or no such node, ask again."""

    at: float
    token: int
    names: tuple[str, ...] | None


class NodeChanged(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A watched node was changed, created or deleted. The watch is spent."""

    at: float
    path: str


class ChildrenChanged(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The children of a watched node changed. The watch is spent."""

    at: float
    path: str


SessionEvent: TypeAlias = (
    SessionConnected
    | SessionSuspended
    | SessionExpired
    | MultiEnded
    | NodesRead
    | ChildrenListed
    | NodeChanged
    | ChildrenChanged
)
