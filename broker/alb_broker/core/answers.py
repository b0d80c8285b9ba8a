"""Answers to questions: tasks, workers, the cluster, the dump; and the change of policy."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Any, Final

from alb_broker.core.clients import Client
from alb_broker.core.dump import dump
from alb_broker.core.ledger import Lane
from alb_broker.core.state import State
from alb_core import zk, znodes
from alb_core.messages import (
    ClusterPage,
    Done,
    DumpPage,
    Error,
    Message,
    QueryCluster,
    QueryDump,
    QueryTask,
    QueryTasks,
    QueryWorkers,
    SetPolicy,
    TaskLine,
    TaskPage,
    TasksPage,
    WorkersPage,
)
from alb_core.tasks import TaskRecord, TaskState
from alb_core.znodes import PolicyNode

PAGE_MAX: Final = 1000
COMMAND_SHOWN: Final = 120
DUMP_PAGE_BYTES: Final = 1024 * 1024
DUMP_AGAIN_S: Final = 5.0
#: A repeated question within this is answered with the same dump.
DUMP_KEPT_S: Final = 60.0


class Answers:
    """Answers what clients ask.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._unlisted: dict[bytes, QueryTasks] = {}  #: The newest such question of each client.
        self._dumps: dict[
            bytes, tuple[float, bytes]
        ] = {}  #: When it was made (own clock), what a client reads.

    def tick(self) -> None:
        """Answer what waited for records; forget dumps that nobody can still be reading."""
        if self._state.recollected and self._unlisted:
            unlisted, self._unlisted = self._unlisted, {}
            for peer, query in unlisted.items():
                self._list(peer, query)
        old = [peer for peer, (at, _) in self._dumps.items() if self._state.at - at > DUMP_KEPT_S]
        for peer in old:
            del self._dumps[peer]

    def handlers(self) -> dict[type[Message], Callable[[Client, Any], None]]:
        """Return which message is answered by what."""
        return {
            QueryTasks: self._on_tasks,
            QueryWorkers: self._on_workers,
            QueryCluster: self._on_cluster,
            QueryDump: self._on_dump,
            SetPolicy: self._on_policy,
        }

    def _on_tasks(self, client: Client, query: QueryTasks) -> None:
        """List tasks; what asks for finished ones waits until their records were read after a takeover."""
        live_only = bool(query.states) and not any(state.terminal for state in query.states)
        if self._state.recollected or live_only:
            self._list(client.peer, query)
        else:
            self._unlisted[client.peer] = query

    def _list(self, peer: bytes, query: QueryTasks) -> None:
        most = max(1, min(query.limit, PAGE_MAX))
        chosen = heapq.nsmallest(most + 1, self._matching(query), key=lambda record: record.id)
        page = chosen[:most]
        cursor = page[-1].id if len(chosen) > most else ""
        lines = tuple(task_line(record) for record in page)
        self._state.tell(peer, TasksPage(seq=query.seq, tasks=lines, cursor=cursor))

    def _matching(self, query: QueryTasks) -> Iterator[TaskRecord]:
        for record in self._records(query):
            if (
                record.id > query.cursor
                and record.id.startswith(query.prefix)
                and (not query.states or record.state in query.states)
                and (not query.user or record.user == query.user)
            ):
                yield record

    def _records(self, query: QueryTasks) -> Iterator[TaskRecord]:
        table = self._state.table
        if query.ids:
            for task_id in query.ids[:PAGE_MAX]:
                task, done = table.live.get(task_id), table.done.get(task_id)
                if task is not None:
                    yield task.record()
                elif done is not None and done.record is not None:
                    yield done.record
            return
        for task in table.live.values():
            yield task.record()
        for done in table.done.values():
            if done.record is not None:
                yield done.record

    def tell_task(self, client: Client, query: QueryTask, record: TaskRecord) -> None:
        """Answer with everything about one task."""
        self._state.tell(client.peer, TaskPage(seq=query.seq, task=record))

    def _on_workers(self, client: Client, query: QueryWorkers) -> None:
        lines = tuple(worker.line() for worker in sorted(self._state.workers, key=lambda w: w.name))
        self._state.tell(client.peer, WorkersPage(seq=query.seq, workers=lines))

    def _on_cluster(self, client: Client, query: QueryCluster) -> None:
        self._state.tell(client.peer, cluster_page(self._state, query.seq))

    def _on_dump(self, client: Client, query: QueryDump) -> None:
        state = self._state
        made = self._dumps.get(client.peer)
        if query.cursor == 0 and (made is None or state.at - made[0] > DUMP_AGAIN_S):
            made = self._dumps[client.peer] = (state.at, dump(state, "asked for by a client"))
        if made is None:
            why = "this dump is no longer kept; begin again"
            state.tell(client.peer, Error(code="gone", why=why, seq=query.seq))
            return
        data = made[1]
        begin = max(0, query.cursor)
        end = begin + DUMP_PAGE_BYTES
        more = end < len(data)
        page = DumpPage(seq=query.seq, data=data[begin:end], cursor=end if more else 0)
        self._state.tell(client.peer, page)

    def _on_policy(self, client: Client, request: SetPolicy) -> None:
        state = self._state
        if request.policy not in state.placer.policies:
            known = ", ".join(sorted(state.placer.policies))
            why = f"there is no policy {request.policy[:40]!r} on broker {state.node.broker}; known: {known}"
            state.tell(client.peer, Error(code="invalid", why=why, seq=request.seq))
            return
        state.ledger.write(
            Lane.RESULTS,
            znodes.POLICY,
            (zk.SetData(znodes.POLICY, znodes.encode(PolicyNode(policy=request.policy))),),
            (state.client(client.peer, Done(seq=request.seq)),),
        )
        state.note("policy_asked", policy=request.policy, by=client.user)  # the watch on the node brings it


def cluster_page(state: State, seq: int) -> ClusterPage:
    """Return the state of the cluster as its leader sees it."""
    table = state.table
    counts = {kind.value: table.counts[kind] for kind in (TaskState.QUEUED, TaskState.RUNNING)}
    return ClusterPage(
        seq=seq,
        broker=state.node.broker,
        epoch=state.epoch,
        batch=state.ledger.committed,
        table=state.claim.table,
        policy=state.placer.name,
        since=state.clock.claimed,
        now=state.now(),
        session_timeout_s=state.session_timeout_s,
        counts={**counts, "done": len(table.done)},
        counters=dict(state.counters),
        set_aside=tuple(f"{path}: {why}" for path, why in sorted(table.set_aside.items())[:100]),
    )


def task_line(record: TaskRecord) -> TaskLine:
    """Return a task as lists show it."""
    command = record.spec.command
    shown = command if isinstance(command, str) else " ".join(command)
    newest = record.attempts[-1] if record.attempts else None
    result = record.result
    return TaskLine(
        id=record.id,
        state=record.state,
        user=record.user,
        name=record.spec.name,
        command=shown[:COMMAND_SHOWN],
        worker=newest.worker if newest is not None else "",
        attempt=newest.n if newest is not None else 0,
        submitted=record.submitted,
        finished=result.finished if result is not None else 0.0,
        exit_status=result.exit_status() if result is not None else None,
        why=result.why if result is not None else "",
    )
