"""Group commit: what waits to be written, the one transaction in flight, and what may be said after it.

The ledger owns the order of writes, the fence (``check(/epoch)``), the chain (``set(/commit)`` with the
version that it knew), and the rule *commit, then speak*. It does not know what a task is: its groups are
operations on paths, and the actions that they release.

States of the transaction in flight::

    none --next_batch--> sent --Applied--> none
                         sent --Refused--> none, group by group; or DEPOSED where the fence or chain broke
                         sent --Unknown--> doubtful --reconnected, same session--> asked
                         asked --/commit is mine--> none (applied)
                         asked --/commit has the old version--> sent (the same bytes again)
                         asked --anything else--> DEPOSED
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Final, Protocol

import msgspec

from alb_broker.core.actions import Action
from alb_core import limits, zk, znodes
from alb_core.znodes import CommitNode

OPERATION_OVERHEAD_BYTES: Final = 64
#: What a path-less operation costs on ZooKeeper's wire, rounded up.


FOLDED_OPERATIONS: Final = 3
#: What is folded takes about so many operations.
GOOD_BATCH: Final = 250
#: Groups. Less waits while there is more to take: each batch costs everybody a frame and a wake-up,
GATHERING_TURNS: Final = 4
#: but only so many turns, lest who says much that writes nothing keeps all others waiting.
RETENTION_SHARE: Final = 400
#: Of a batch's operations, kept for deletions while others queue up: barriers wait for deletions too.


class Lane(enum.IntEnum):
    """Which writes go first when there is more than one batch."""

    RESULTS = 0  #: Results, cancels, placements of tasks that are in the table.
    SUBMISSIONS = 1  #: New tasks, round robin by user.
    RETENTION = 2  #: Deletions.


RESULTS: Final = Lane.RESULTS
#: Where nearly all is written: looked up in its class it costs thirty times as much.


class Folded(Protocol):
    """Something whose nodes many groups of a batch change, and that are written once a batch."""

    @property
    def size_bytes(self) -> int:
        """About what that adds to a batch."""

    def fold(self, changes: Sequence[Any]) -> list[zk.Operation]:
        """Return the writes that these changes, of all groups of the batch, make together."""

    def settle(self) -> None:
        """What was folded last is in ZooKeeper."""


class Group(msgspec.Struct, eq=False, gc=False):
    """The writes of one event, never split across transactions, and what they release."""

    seq: int
    key: str
    #: What the writes are about (a task id): groups of one key keep their order.
    operations: tuple[zk.Operation, ...]
    releases: tuple[Action, ...]
    lane: Lane = RESULTS
    user: str = ""
    #: Who submits it, in the lane of submissions.
    folded: Folded | None = None
    changes: tuple[Any, ...] = ()
    #: What it changes of that.


OPERATIONS: Final = attrgetter("operations")
RELEASES: Final = attrgetter("releases")
PATH: Final = attrgetter("path")
DATA: Final = attrgetter("data")
#: Of all groups of a batch and of all their operations: read in C, for each task makes two and three of them.


class _Cargo:
    """What groups write together: walked through once, for the bounds of a batch and for its making.

    Args:
        groups: In their order.
        folds: Whether any of them may change what is folded.
    """

    __slots__ = ("folded", "groups", "operations", "paths")

    def __init__(self, groups: list[Group], *, folds: bool) -> None:
        self.groups: Final = groups
        self.operations: Final = list(chain.from_iterable(map(OPERATIONS, groups)))
        self.paths: Final = list(map(PATH, self.operations))
        self.folded: Final = _folded(groups) if folds else {}  #: Each with its changes in their order.

    def fits(self) -> bool:
        """Tell whether that is no more than a batch may have."""
        count = len(self.operations) + FOLDED_OPERATIONS * len(self.folded)
        if count > limits.BATCH_OPERATIONS_MAX:
            return False
        written = sum(map(len, self.paths)) + sum(map(len, map(DATA, self.operations)))
        written += sum(each.size_bytes for each in self.folded) if self.folded else 0
        return OPERATION_OVERHEAD_BYTES * len(self.operations) + written <= limits.BATCH_BYTES_MAX

    def merged(self) -> list[zk.Operation]:
        """Return the writes, those to one node merged into the last: a batch touches each node once."""
        if len(set(self.paths)) == len(self.paths):
            return self.operations  # nearly always
        return _merge(self.operations)


class Batch(msgspec.Struct, eq=False):
    """One transaction."""

    number: int
    token: int
    groups: list[Group]
    operations: tuple[zk.Operation, ...]
    folded: tuple[Folded, ...] = ()
    #: What its groups change together.
    _keys: set[str] | None = None

    def covers(self, key: str) -> bool:
        """Tell whether any of its writes are about this; most batches are never asked."""
        if self._keys is None:
            self._keys = {group.key for group in self.groups}
        return key in self._keys


class Failure(msgspec.Struct, frozen=True):
    """A group that was refused although the fence held: somebody else changed the nodes; or one behind it."""

    group: Group
    error: str


class Flight(enum.Enum):
    """Where the newest transaction stands."""

    NONE = "none"  #: Nothing is under way.
    SENT = "sent"  #: ZooKeeper has not answered.
    DOUBTFUL = "doubtful"  #: The connection broke before the answer.
    ASKED = "asked"  #: ``/commit`` is being read to find out.


class Ledger:
    """The pending writes of one leader, in one epoch.

    Args:
        epoch: The leader's epoch.
        fence: Data version that ``/epoch`` got from its claim.
        chain: Data version that ``/commit`` got from its claim.
    """

    def __init__(self, *, epoch: int, fence: int, chain: int) -> None:
        self.epoch = epoch
        self.fence = fence
        self.chain = chain  #: Version of ``/commit`` that the next batch expects.
        self.committed = 0  #: Number of the newest batch known to be in the table.
        self.deposed = ""  #: Why the ledger may never write again; empty: it may.
        self.flight = Flight.NONE
        self.batch: Batch | None = None  #: The transaction in flight; None exactly when flight is NONE.
        self._seq = 0
        self._results: deque[Group] = deque()
        self._submissions: dict[str, deque[Group]] = {}
        self._retention: deque[Group] = deque()
        self._one_by_one: deque[Group] = deque()  #: Groups of a refused batch, each tried alone.
        self._waiting: dict[str, Group] = {}
        #: Per key: the newest of its groups that wait, so that later ones line up behind it.
        self._folds = False  #: Some of what waits may change what is folded.
        self._barriers: deque[tuple[int, int, tuple[Action, ...]]] = deque()
        #: (last group that it follows, batch that it needs, actions): what was said without writing.
        self._hurried = False  #: A barrier wants a commit now, not at the next heartbeat.
        self.pending = 0  #: Groups that wait for a batch.
        self._gathered = 0  #: Turns, one after another, in which a small batch was kept back.

    # --- taking in ------------------------------------------------------------------------------------------

    def write(  # noqa: PLR0913, PLR0917 (what a group is made of)
        self,
        lane: Lane,
        key: str,
        operations: tuple[zk.Operation, ...],
        releases: tuple[Action, ...] = (),
        user: str = "",
        folded: tuple[Folded, tuple[Any, ...]] | None = None,
    ) -> None:
        """Queue the writes of one event, and what may be done once they are in the table.

        Args:
            lane: Its urgency. A group follows earlier ones of its key, whatever its lane.
            key: What it is about.
            operations: Never split across transactions.
            releases: Actions to return when the transaction is applied.
            user: Who submits, for the round robin of the submissions lane.
            folded: What many events change, and the changes of this one.
        """
        self._seq = seq = self._seq + 1
        waiting = self._waiting.get(key)
        if waiting is not None:
            lane, user = waiting.lane, waiting.user
        self._waiting[key] = group = Group(seq, key, operations, releases, lane, user)
        if folded is not None:
            group.folded, group.changes = folded
            self._folds = True
        queue = self._results if lane is RESULTS else self._queue(lane, user)
        queue.append(group)
        self.pending += 1

    def say(self, *actions: Action, hurry: bool = True) -> None:
        """Queue actions that write nothing: they follow all that was written before, or an empty commit.

        Args:
            actions: What to return then.
            hurry: Whether to commit at once for it, not only with the next heartbeat's commit.
        """
        # Not the batch in flight: it may have been applied before another broker took over,
        # and this would be said after.
        needs = self.committed + (1 if self.flight is Flight.NONE else 2)
        self._barriers.append((self._seq, needs, actions))
        self._hurried = self._hurried or hurry

    def _queue(self, lane: Lane, user: str) -> deque[Group]:
        """Return the queue of a lane, for submissions that of a user."""
        if lane is RESULTS:
            return self._results
        if lane is Lane.RETENTION:
            return self._retention
        queue = self._submissions.get(user)
        if queue is None:
            queue = self._submissions[user] = deque()
        return queue

    # --- giving out -----------------------------------------------------------------------------------------

    @property
    def urgent(self) -> int:
        """Groups that wait and that somebody waits for: all but deletions."""
        return self.pending - len(self._retention)

    @property
    def may_commit(self) -> bool:
        """Whether a batch may leave now."""
        return self.flight is Flight.NONE and not self.deposed

    def holds(self, key: str) -> bool:
        """Tell whether writes of a key wait, or are under way."""
        if key in self._waiting or any(group.key == key for group in self._one_by_one):
            return True
        return self.batch is not None and self.batch.covers(key)

    def wants_commit(self) -> bool:
        """Tell whether a batch should leave now."""
        return self.may_commit and (self.pending > 0 or (self._hurried and bool(self._barriers)))

    def ripens(self, *, more: bool) -> bool:
        """Tell, at the end of a turn, whether a batch should leave now.

        Args:
            more: Messages are at hand, which the next turn takes: a small batch waits for them.
        """
        if not self.wants_commit():
            return False
        if more and self.pending < GOOD_BATCH and self._gathered < GATHERING_TURNS:
            self._gathered += 1
            return False
        return True

    def next_batch(self, token: int, time: float) -> zk.Multi:
        """Form the next transaction from what waits (perhaps nothing: an empty commit).

        Args:
            token: For the answer.
            time: Cluster time, written into ``/commit``.
        """
        if not self.may_commit:
            raise AssertionError(f"a batch may not leave: {self.flight}, {self.deposed}")
        cargo = self._gather()
        number = self.committed + 1
        commit = znodes.encode(CommitNode(epoch=self.epoch, batch=number, time=time))
        operations = (
            *self._fence_operations(),
            zk.SetData(znodes.COMMIT, commit, self._chain_version()),
            *_fold(cargo.folded),  # first: some of the other writes make children of these nodes
            *cargo.merged(),
        )
        self.batch = Batch(number, token, cargo.groups, operations, tuple(cargo.folded))
        self.flight = Flight.SENT
        self._hurried = False
        self._gathered = 0
        return zk.Multi(token, operations)

    def _fence_operations(self) -> tuple[zk.Operation, ...]:
        return (zk.Check(znodes.EPOCH, self.fence),)

    def _chain_version(self) -> int:
        return self.chain

    def _gather(self) -> _Cargo:
        """Take groups in the order of their lanes until the batch is full."""
        if self._one_by_one:
            group = self._one_by_one.popleft()
            self.pending -= 1
            return _Cargo([group], folds=True)
        if self.pending <= limits.BATCH_OPERATIONS_MAX:
            submitted = chain.from_iterable(self._submissions.values())
            cargo = _Cargo([*self._results, *submitted, *self._retention], folds=self._folds)
            if cargo.fits():  # nearly always: then nobody asks who goes first
                return self._take_all(cargo)
        groups: list[Group] = []
        room = _Room()
        room.keep_back(min(len(self._retention), RETENTION_SHARE))
        self._take(self._results, groups, room)
        self._take_round_robin(groups, room)
        room.give_back()
        self._take(self._retention, groups, room)
        return _Cargo(groups, folds=self._folds)

    def _take_all(self, cargo: _Cargo) -> _Cargo:
        """Take all that waits in the lanes; only where several users submit it matters whose turn it is."""
        folds, self._folds = self._folds, False
        if len(self._submissions) == 1 and (alone := next(iter(self._submissions.values()))):
            alone.clear()
        elif self._submissions:
            groups = list(self._results)
            self._take_round_robin(groups, _Room())
            cargo = _Cargo([*groups, *self._retention], folds=folds)
        self._results.clear()
        self._retention.clear()
        self._waiting.clear()
        self.pending = 0
        return cargo

    def _take(self, queue: deque[Group], groups: list[Group], room: _Room) -> None:
        while queue and room.admits(queue[0]):
            groups.append(self._pop(queue))

    def _take_round_robin(self, groups: list[Group], room: _Room) -> None:
        """Take one group of each user in turn; the users that went first go last the next time."""
        users = deque(self._submissions)
        while users:
            user = users.popleft()
            queue = self._submissions[user]
            if not queue:
                del self._submissions[user]
                continue
            if not room.admits(queue[0]):
                break
            groups.append(self._pop(queue))
            if len(self._submissions) == 1:
                self._take(queue, groups, room)
                break
            self._submissions[user] = self._submissions.pop(user)
            users.append(user)

    def _pop(self, queue: deque[Group]) -> Group:
        group = queue.popleft()
        if self._waiting[group.key] is group:
            del self._waiting[group.key]
        self.pending -= 1
        return group

    # --- learning the outcome -------------------------------------------------------------------------------

    def on_verdict(self, token: int, verdict: zk.Verdict) -> tuple[list[Action], list[Failure]]:
        """Take the answer to a batch.

        Returns:
            The actions that are released now, and the groups that cannot be applied.
        """
        if self.batch is None or token != self.batch.token or self.flight is not Flight.SENT:
            return [], []
        match verdict:
            case zk.Applied(stats):
                stat = stats[len(self._fence_operations())]
                return self._applied(stat.version if stat else self.chain + 1), []
            case zk.Refused(index, error):
                return [], self._refused(index, error)
            case zk.Unknown():
                self.flight = Flight.DOUBTFUL
        return [], []

    def on_reconnected(self, token: int) -> zk.ReadNodes | None:
        """The session is usable again, and the same one: ask what became of a doubtful batch."""
        if self.flight not in (Flight.DOUBTFUL, Flight.ASKED):
            return None
        self.flight = Flight.ASKED
        return zk.ReadNodes(token=token, paths=(znodes.COMMIT,), sync=True)

    def on_commit_read(self, node: zk.NodeRead | None) -> tuple[list[Action], zk.Multi | None]:
        """Decide a doubtful batch by what ``/commit`` holds.

        Returns:
            The actions released where it was applied; or the same transaction, to be sent again.
        """
        if self.flight is not Flight.ASKED or self.batch is None:
            return [], None
        found = _read_commit(node)
        if node is not None and found == (self.epoch, self.batch.number):
            return self._applied(node.stat.version), None
        if node is not None and node.stat.version == self.chain:
            self.flight = Flight.SENT
            return [], zk.Multi(self.batch.token, self.batch.operations)
        self.deposed = "another broker wrote /commit"
        return [], None

    def _applied(self, chain: int) -> list[Action]:
        if self.batch is None:
            raise AssertionError("no batch is in flight")
        self.chain = chain
        self.committed = self.batch.number
        released = _releases(self.batch.groups)
        for folded in self.batch.folded:
            folded.settle()
        self.batch = None
        self.flight = Flight.NONE
        self._release_barriers(released)
        return released

    def _release_barriers(self, released: list[Action]) -> None:
        if not self._barriers:
            return
        oldest = self._oldest_waiting()
        while self._barriers and self._barriers[0][0] < oldest and self._barriers[0][1] <= self.committed:
            released.extend(self._barriers.popleft()[2])

    def _oldest_waiting(self) -> int:
        queues = (self._results, self._retention, self._one_by_one, *self._submissions.values())
        return min((queue[0].seq for queue in queues if queue), default=self._seq + 1)

    def _refused(self, index: int, error: str) -> list[Failure]:
        if self.batch is None:
            raise AssertionError("no batch is in flight")
        if index <= len(self._fence_operations()):
            self.deposed = f"the fence held this broker back: {error}"
            return []
        groups = self.batch.groups
        self.batch = None
        self.flight = Flight.NONE
        if len(groups) == 1:
            followers = self._take_out(groups[0].key)
            return [Failure(group, error) for group in (groups[0], *followers)]
        # In the order in which they were written: barriers follow the oldest group that waits.
        self._one_by_one.extend(sorted(groups, key=lambda group: group.seq))
        self.pending += len(groups)
        return []

    def _take_out(self, key: str) -> list[Group]:
        """Give up what waits behind a failed group of the same key: it was written for what did not come."""
        followers = [group for group in self._one_by_one if group.key == key]
        for group in followers:
            self._one_by_one.remove(group)
        newest = self._waiting.pop(key, None)
        if newest is not None:
            queue = self._queue(newest.lane, newest.user)
            later = [group for group in queue if group.key == key]
            for group in later:
                queue.remove(group)
            followers += later
        self.pending -= len(followers)
        return followers


class _Room:
    """What is left of a batch's bounds."""

    __slots__ = ("_bytes", "_folded", "_fresh", "_kept_back", "_operations")

    def __init__(self) -> None:
        self._operations = limits.BATCH_OPERATIONS_MAX
        self._bytes = limits.BATCH_BYTES_MAX
        self._kept_back = 0
        self._folded: set[int] = set()  #: What is written already, whatever else changes it.
        self._fresh = True

    def keep_back(self, operations: int) -> None:
        """Leave room for so many operations until they are given back."""
        self._kept_back = operations
        self._operations -= operations

    def give_back(self) -> None:
        """Use what was kept back."""
        self._operations += self._kept_back
        self._kept_back = 0

    def admits(self, group: Group) -> bool:
        """Take the group's size off, or tell that it does not fit. An empty batch admits any group."""
        operations, size = len(group.operations), _size(group.operations)
        folded = group.folded
        if folded is not None and id(folded) not in self._folded:
            operations, size = operations + FOLDED_OPERATIONS, size + folded.size_bytes
        operations, size = self._operations - operations, self._bytes - size  # what would be left
        if (operations < 0 or size < 0) and not self._fresh:
            return False
        self._operations, self._bytes, self._fresh = operations, size, False
        if folded is not None:
            self._folded.add(id(folded))
        return True


def _size(operations: Sequence[zk.Operation]) -> int:
    written = sum(map(len, map(PATH, operations))) + sum(map(len, map(DATA, operations)))
    return OPERATION_OVERHEAD_BYTES * len(operations) + written


def _releases(groups: list[Group]) -> list[Action]:
    """Return what these groups release, in their order."""
    return list(chain.from_iterable(map(RELEASES, groups)))


def _folded(groups: list[Group]) -> dict[Folded, list[Any]]:
    """Return what these groups change together, each with its changes in their order."""
    found: dict[Folded, list[Any]] = {}
    for group in groups:
        if group.folded is not None:
            found.setdefault(group.folded, []).extend(group.changes)
    return found


def _fold(changed: dict[Folded, list[Any]]) -> list[zk.Operation]:
    return [write for folded, changes in changed.items() for write in folded.fold(changes)]


def _merge(operations: list[zk.Operation]) -> list[zk.Operation]:
    """Return these writes, those to one node joined to one."""
    merged: dict[str, zk.Operation] = {}
    for operation in operations:
        path = operation.path
        earlier = merged.get(path)
        if earlier is None:
            merged[path] = operation
            continue
        joined = _join(earlier, operation)
        if joined is None:
            del merged[path]
        else:
            merged[path] = joined
    return list(merged.values())


def _join(earlier: zk.Operation, later: zk.Operation) -> zk.Operation | None:
    """Return the one operation that does what both did in turn; None: nothing is left to do."""
    match earlier, later:
        case zk.Create(), zk.SetData():
            return zk.Create(later.path, later.data, earlier.ephemeral)
        case zk.Create(), zk.Delete():
            return None
        case zk.Delete(), zk.Create():
            return zk.SetData(later.path, later.data)
        case _:
            return later


def _read_commit(node: zk.NodeRead | None) -> tuple[int, int] | None:
    if node is None:
        return None
    try:
        commit = znodes.decode(CommitNode, znodes.COMMIT, node.data)
    except znodes.UnreadableNode:
        return None
    return commit.epoch, commit.batch
