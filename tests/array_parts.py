"""Builders for tests of arrays in the broker: submissions by small numbers, and what is written of them."""

from __future__ import annotations

from typing import Any

import msgspec
from tests.broker_parts import CLAIMED_S, TRUE, W1, Desks, outcome, task_id, to_worker

from alb_broker.core.array import Array
from alb_broker.core.array_inputs import Inputs
from alb_broker.core.array_progress import Progress
from alb_core import codec, ids, zk, znodes
from alb_core.arrays import ArrayRecord, ArraySpec, Stretch, Stride, total_of
from alb_core.messages import AttemptEnded, AttemptId, Message, Run, SubmitArray
from alb_core.spec import TaskSpec, digest
from alb_core.tasks import TaskState

ID = task_id(1)
ECHO = TaskSpec(command=("echo", "{#}", "{}"))


def array_spec(*strides: Stride, task: TaskSpec = TRUE, **fields: Any) -> ArraySpec:
    """Return what an array runs."""
    return ArraySpec(task=task, strides=strides, **fields)


def record(spec: ArraySpec, **fields: Any) -> ArrayRecord:
    """Return an array as the table holds it."""
    wire = codec.encode_array(spec)
    standard = {
        "id": ID,
        "user": "ann",
        "digest": digest(wire),
        "spec": spec,
        "submitted": CLAIMED_S,
        "total": total_of(spec.strides),
    }
    return ArrayRecord(**{**standard, **fields})


def make_array(spec: ArraySpec, *, written: bool = True, **fields: Any) -> Array:
    """Return an array as the leader holds it, without inputs."""
    made = record(spec, **fields)
    return Array(Progress(made), codec.encode_array(spec), Inputs(made.id), written=written)


def submit_array(spec: ArraySpec, *lines: str, number: int = 1, **fields: Any) -> SubmitArray:
    """Return a submission."""
    wire = msgspec.Raw(codec.encode_array(spec))
    return SubmitArray(id=task_id(number), spec=wire, inputs=lines, **fields)


def leader(*messages: Message, cpus: float = 0.0, **fields: Any) -> Desks:
    """Return a leader with a client, perhaps a worker, and what the client said written."""
    each = Desks(**fields)
    each.greet("ann", "bob")
    if cpus:
        each.join(cpus=cpus)
    each.client(*messages)
    each.commit()
    each.turn()
    return each


def children(each: Desks) -> list[int]:
    """Return the indexes of the live tasks of arrays, in the order in which they were made."""
    return [int(name.rpartition(".")[2]) for name in each.state.table.live if ids.array_of(name)]


def finish(each: Desks, *indexes: int, exit_code: int = 0, commit: bool = True) -> list[Any]:
    """Let tasks of array 1 that run end; returns what leaves."""
    actions: list[Any] = []
    for index in indexes:
        task = each.state.table.live[f"{ID}.{index}"]
        attempt = AttemptId(task.id, task.attempts[-1].n)
        actions += each.worker(AttemptEnded(attempt=attempt, outcome=outcome(exit_code)))
    return actions + each.turn() if commit else actions


def ordered(actions: list[Any]) -> list[str]:
    """Return the tasks that worker 1 is told to run."""
    return [message.attempt.task for message in to_worker(W1, actions) if isinstance(message, Run)]


def nodes(each: Desks) -> dict[str, bytes]:
    """Return what the commits so far left in ZooKeeper."""
    found: dict[str, bytes] = {}
    for write in each.written:
        if isinstance(write, zk.Delete):
            found.pop(write.path)
        elif isinstance(write, zk.Create):
            assert write.path not in found
            found[write.path] = write.data
        elif isinstance(write, zk.SetData):
            assert write.path in found
            found[write.path] = write.data
    return found


def kept(each: Desks, number: int = 1) -> ArrayRecord:
    """Return an array as ZooKeeper has it."""
    path = znodes.array_path(task_id(number))
    return znodes.decode_array(path, nodes(each)[path])


def ends(each: Desks, chunk: int = 0) -> list[Stretch]:
    """Return how positions of array 1 ended, as ZooKeeper has it."""
    path = znodes.ends_path(ID, chunk)
    return znodes.decode_ends(path, nodes(each)[path])


def stretch(first: int, count: int, state: TaskState = TaskState.SUCCEEDED, status: int = 0) -> Stretch:
    """Return neighbouring positions that ended alike."""
    return Stretch(first, count, state, status)
