"""The dump: a leader's whole state as one JSON document, for analysis after a hand-over or on request."""

from __future__ import annotations

import msgspec

from alb_broker.core.state import State
from alb_core.arrays import ArrayLine
from alb_core.messages import WorkerLine
from alb_core.tasks import TaskRecord, TaskState


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A client's link in the dump."""

    user: str
    follower: str
    watching: int
    unacknowledged: int


class Dump(msgspec.Struct, frozen=True, kw_only=True):
    """The document."""

    why: str
    broker: str
    incarnation: str
    version: str
    epoch: int
    batch: int
    table: str
    now: float
    #: Cluster time.
    since: float
    #: Cluster time of the claim.
    policy: str
    policy_failures: int
    counters: dict[str, int]
    held: tuple[TaskRecord, ...]
    queue: tuple[TaskRecord, ...]
    running: tuple[TaskRecord, ...]
    stories: dict[str, tuple[str, ...]]
    #: The last transitions of running tasks.
    arrays: tuple[ArrayLine, ...]
    #: Those that go on.
    done: int
    workers: tuple[WorkerLine, ...]
    clients: tuple[Waiting, ...]
    set_aside: dict[str, str]
    pending_groups: int
    flight: str
    #: Where the newest transaction stands.


def dump(state: State, why: str) -> bytes:
    """Return the state as JSON, indented for people.

    Args:
        state: The reign's parts.
        why: What the dump is for.
    """
    live = state.table.live.values()
    document = Dump(
        why=why,
        broker=state.node.broker,
        incarnation=state.node.incarnation,
        version=state.node.version,
        epoch=state.epoch,
        batch=state.ledger.committed,
        table=state.claim.table,
        now=state.now(),
        since=state.clock.claimed,
        policy=state.placer.name,
        policy_failures=state.placer.failures,
        counters=dict(state.counters),
        held=tuple(task.record() for task in live if task.state is TaskState.HELD),
        queue=tuple(task.record() for task in live if task.state is TaskState.QUEUED),
        running=tuple(task.record() for task in live if task.state is TaskState.RUNNING),
        stories={task.id: task.story for task in live if task.state is TaskState.RUNNING},
        arrays=tuple(state.arrays.line(array) for array in state.arrays.going.values()),
        done=len(state.table.done),
        workers=tuple(worker.line() for worker in state.workers),
        clients=tuple(
            Waiting(
                user=client.user,
                follower=client.follower,
                watching=len(client.watching),
                unacknowledged=len(client.unacknowledged),
            )
            for client in state.clients
        ),
        set_aside=dict(state.table.set_aside),
        pending_groups=state.ledger.pending,
        flight=state.ledger.flight.value,
    )
    return msgspec.json.format(msgspec.json.encode(document), indent=1)
