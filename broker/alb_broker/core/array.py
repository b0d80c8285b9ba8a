"""One array as the leader holds it: how far it is, how far ZooKeeper has it, its live tasks, its followers.

Many tasks of an array end in one batch, and its nodes are written once for all of them: each end is a change
that rides in the group of its task, and the ledger asks for the writes of all changes that are in the batch
(`Array.fold`). So the nodes always say exactly what the transactions so far did.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from alb_broker.core.array_inputs import Inputs
from alb_broker.core.array_progress import Change, Draft, Progress
from alb_broker.core.spec_forms import SpecForms, forms_of
from alb_broker.core.task import Task, Watcher
from alb_core import limits, zk, znodes
from alb_core.arrays import (
    PLACE_OF_INDEX,
    ArrayLine,
    ArrayRecord,
    Stride,
    child_id,
    child_spec,
    state_of,
    without_start,
)
from alb_core.places import Places
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskRecord, TaskState

COMMAND_SHOWN: Final = 120
RECORD_BYTES: Final = 512
#: Of an array's node, about so many besides its specification.
ENDS_BYTES: Final = 4 * 1024
#: Of what is written of its chunks in a batch, mostly; at worst it is some 30 KiB each.
EXPECTED_MAX: Final = 1000
#: Tasks of one array that somebody waits for and that are not made yet.


class Follower(msgspec.Struct):
    """A client that wants to hear of an array."""

    results: bool = False
    #: Of each of its tasks.
    told: float = float("-inf")
    #: Own clock, when it was told last.
    dirty: bool = False
    #: Something changed since.


class Array:
    """One array.

    Args:
        progress: How far it is, in the table and now.
        wire: Its specification, encoded.
        inputs: Where its inputs are.
        written: It is in ZooKeeper.
    """

    __slots__ = (
        "_draft",
        "_shared",
        "acknowledged",
        "broken",
        "changed",
        "expected",
        "fed",
        "followers",
        "id",
        "in_table",
        "inputs",
        "leaving",
        "live",
        "live_bytes",
        "now",
        "opening",
        "path",
        "places",
        "size_bytes",
        "takes_inputs",
        "unmarked",
        "user",
        "whole_chunks",
        "wire",
        "written",
    )

    def __init__(self, progress: Progress, wire: bytes, inputs: Inputs, *, written: bool) -> None:
        record = progress.record
        self.id: Final = record.id
        self.user: Final = record.user
        self.path: Final = znodes.array_path(record.id)
        self.wire: Final = wire
        self.places: Final = Places(record.spec.strides)  #: Each of its tasks asks where it is.
        self.inputs: Final = inputs
        self.takes_inputs: Final = bool(inputs) or not record.whole or not record.spec.strides
        self.now: Final = progress  #: With all that was decided, written or not.
        self.written: Final = Progress(record, {chunk: ends.copy() for chunk, ends in progress.ends.items()})
        #: As ZooKeeper has it, or as it is to be made there.
        self.in_table = written  #: ZooKeeper has it.
        self.whole_chunks: Final[set[int]] = set()
        #: Chunks that are over: only ZooKeeper has them.
        self._draft: Draft | None = None  #: As ZooKeeper will have it when the batch in flight is applied.
        self._shared = self._child_forms()
        self.size_bytes: Final = len(wire) + RECORD_BYTES + ENDS_BYTES  #: What it adds to a batch.
        self.live: Final[dict[str, Task]] = {}  #: Its tasks without a result.
        self.live_bytes = 0  #: Of their specifications.
        self.unmarked: Final[set[str]] = set()  #: Of a cancelled array, live tasks not cancelled yet.
        self.expected: Final[dict[int, dict[bytes, Watcher]]] = {}
        #: Who waits for tasks that are not made yet, by position.
        self.followers: Final[dict[bytes, Follower]] = {}
        self.acknowledged = False  #: A client knows how it ended; not persisted.
        self.changed = False  #: Since the followers were told.
        self.opening = 0  #: Groups in the lane of submissions: nothing is made before they are applied.
        self.fed = 0.0  #: Own clock, when its client was last there with inputs to come.
        self.broken = ""  #: Why its nodes must be looked at before more is made; empty: they are well.
        self.leaving = False  #: Its nodes are being deleted.

    def _child_forms(self) -> SpecForms | None:
        """Return the forms of the specification that all tasks share; None: each has its own."""
        task = without_start(self.spec)
        words = (task.command,) if isinstance(task.command, str) else task.command
        if self.takes_inputs or any(PLACE_OF_INDEX in word for word in words):
            return None
        return forms_of(task)

    @property
    def record(self) -> ArrayRecord:
        """Its record, as it is now."""
        return self.now.record

    @property
    def spec(self) -> TaskSpec:
        """What its tasks run, and what it waits for itself."""
        return self.record.spec.task

    @property
    def submitted(self) -> float:
        """Cluster time of its acceptance."""
        return self.record.submitted

    @property
    def held_by(self) -> str:
        """Who holds it; empty: nobody."""
        return self.record.held_by

    @property
    def released(self) -> bool:
        """Whether somebody released it, should it have been submitted to be held."""
        return self.record.released

    @property
    def not_before(self) -> float:
        """Cluster time before which it does not start."""
        return self.record.not_before

    @property
    def met(self) -> tuple[int, ...]:
        """Places of its dependencies that came true."""
        return self.record.met

    @property
    def strides(self) -> tuple[Stride, ...]:
        """Its indexes."""
        return self.record.spec.strides

    @property
    def running(self) -> int:
        """How many of its tasks are placed."""
        return sum(task.state is TaskState.RUNNING for task in self.live.values())

    @property
    def state(self) -> TaskState:
        """Where it stands."""
        return state_of(self.record, self.running)

    def position(self, task_id: str) -> int | None:
        """Return the position of one of its tasks; None: it has no such task."""
        position = self.places.position_of(int(task_id.rpartition(".")[2]))
        return position if position is not None and position < self.now.total else None

    def child(self, position: int, at: float) -> Task | None:
        """Return a new task for a position; None: its input is not in memory.

        Args:
            position: Which.
            at: Cluster time.
        """
        text = self.inputs.at(position) if self.takes_inputs else None
        if self.takes_inputs and text is None:
            return None
        record = self.record
        index = self.places.index_at(position)
        spec = child_spec(self.spec, index, text)
        made = TaskRecord(
            id=child_id(self.id, index),
            state=TaskState.QUEUED,
            user=self.user,
            digest=record.digest,
            spec=spec,
            submitted=at,
        )
        extra = 2 * len(text) if text is not None else 0
        return Task(made, len(self.wire) + RECORD_BYTES + extra, self._shared)

    def take(self, task: Task) -> None:
        """One of its tasks lives."""
        if task.id not in self.live:
            self.live_bytes += task.size_bytes
        self.live[task.id] = task

    def drop(self, task_id: str) -> bool:
        """One of its tasks lives no more; returns whether it did."""
        task = self.live.pop(task_id, None)
        if task is None:
            return False
        self.live_bytes -= task.size_bytes
        self.unmarked.discard(task_id)
        return True

    def line(self, why: str = "") -> ArrayLine:
        """Return the array as lists and its followers see it.

        Args:
            why: What keeps it, where something does.
        """
        record = self.record
        command = self.spec.command
        shown = command if isinstance(command, str) else " ".join(command)
        running = self.running
        return ArrayLine(
            id=self.id,
            user=self.user,
            state=state_of(record, running),
            total=record.total,
            whole=record.whole,
            cursor=record.cursor,
            counts=record.counts,
            running=running,
            name=self.spec.name,
            command=shown[:COMMAND_SHOWN],
            submitted=record.submitted,
            finished=record.finished,
            why=record.why or why,
        )

    # --- what the ledger asks -------------------------------------------------------------------------------

    def fold(self, changes: Sequence[Change]) -> list[zk.Operation]:
        """Return the writes that these changes make together; they count once `settle` is called."""
        base = self.written
        draft = self._draft = Draft(base)
        for change in changes:
            draft.apply(change)
        data = znodes.encode(draft.record)
        writes: list[zk.Operation] = [
            zk.SetData(self.path, data) if self.in_table else zk.Create(self.path, data)
        ]
        for chunk, ends in draft.touched.items():
            path = znodes.ends_path(self.id, chunk)
            data = znodes.encode_list(list(ends.stretches(chunk)))
            writes.append(zk.SetData(path, data) if chunk in base.ends else zk.Create(path, data))
        return writes

    def settle(self) -> None:
        """What was folded last is in ZooKeeper."""
        draft = self._draft
        if draft is None:
            return
        self._draft = None
        self.in_table = True
        for chunk in draft.settle():
            self.now.ends.pop(chunk, None)
            self.whole_chunks.add(chunk)
        if self.written.record.finished:
            self.whole_chunks.update(self.written.ends)
            self.written.ends.clear()
            self.now.ends.clear()

    def nodes(self) -> list[str]:
        """Return the nodes that must be there, apart from chunks that are whole."""
        return [self.path, *(znodes.ends_path(self.id, chunk) for chunk in self.written.ends)]

    def nodes_below(self) -> list[str]:
        """Return all nodes below the array's own."""
        chunks = (*self.whole_chunks, *self.written.ends)
        return [
            *(znodes.ends_path(self.id, chunk) for chunk in chunks),
            *(znodes.inputs_path(self.id, first) for first in self.inputs.firsts),
        ]

    def forget_node(self, path: str) -> None:
        """A node below the array's own is being deleted."""
        name = path.rpartition("/")[2]
        if name.startswith(znodes.ENDS):
            self.whole_chunks.discard(int(name.removeprefix(znodes.ENDS)))
        else:
            self.inputs.firsts.remove(int(name.removeprefix(znodes.INPUTS)))


def window_of(array: Array, arrays: int) -> tuple[int, int]:
    """Return how many live tasks an array may have, and how many bytes of them.

    Args:
        array: The array.
        arrays: How many arrays go on.
    """
    tasks = min(limits.ARRAY_WINDOW, max(1, limits.ARRAYS_WINDOW // max(1, arrays)))
    size = min(limits.ARRAY_WINDOW_BYTES, limits.ARRAYS_WINDOW * RECORD_BYTES // max(1, arrays))
    at_once = array.record.spec.at_once
    return (min(tasks, at_once) if at_once else tasks), size
