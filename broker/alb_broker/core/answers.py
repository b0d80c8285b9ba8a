"""Answers to questions: tasks, workers, the cluster, the dump."""

from __future__ import annotations

import shlex
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from alb_broker.core.archive import Archive
from alb_broker.core.clearance import Clearance
from alb_broker.core.clients import Client
from alb_broker.core.dump import dump
from alb_broker.core.explaining import explain
from alb_broker.core.holdings import with_holdings
from alb_broker.core.id_finder import IdFinder
from alb_broker.core.policy_desk import policy_trouble
from alb_broker.core.row_reader import RowReader
from alb_broker.core.state import State
from alb_broker.core.stored_answers import StoredAnswers
from alb_broker.core.task import Task
from alb_core.bounds import NO_BOUNDS, settled
from alb_core.messages import (
    AttemptId,
    ClusterPage,
    DumpPage,
    Error,
    Message,
    QueryCluster,
    QueryDump,
    QueryHistory,
    QueryIncrements,
    QueryOutput,
    QueryRows,
    QueryTask,
    QueryTasks,
    QueryWorkers,
    TaskLine,
    TaskPage,
    TasksPage,
    WorkersPage,
)
from alb_core.tasks import NO_TIME, TaskRecord, TaskState

PAGE_MAX: Final = 1000
COMMAND_SHOWN: Final = 120
DUMP_PAGE_BYTES: Final = 1024 * 1024
DUMP_AGAIN_S: Final = 5.0
#: A repeated question within this is answered with the same dump.
DUMP_KEPT_S: Final = 60.0
LISTING_KEPT_S: Final = 60.0


class _Listing(msgspec.Struct, frozen=True):
    """A list that a client reads page by page."""

    at: float
    #: Own clock, when it was made.
    question: QueryTasks
    #: Without what differs from page to page.
    ids: list[str]
    #: Sorted.


class Answers:
    """Answers what clients ask.

    Args:
        state: The reign's parts.
        archive: What is in the results store of finished tasks.
        stored: What is there of their output and increments.
        clearance: What leaves it; it knows its size.
    """

    def __init__(self, state: State, archive: Archive, stored: StoredAnswers, clearance: Clearance) -> None:
        self._state: Final = state
        self._archive: Final = archive
        self._stored: Final = stored
        self._clearance: Final = clearance
        self._rows: Final = RowReader(state)
        self._ids: Final = IdFinder(state)
        self._unlisted: dict[bytes, QueryTasks] = {}  #: The newest such question of each client.
        self._dumps: dict[
            bytes, tuple[float, bytes]
        ] = {}  #: When it was made (own clock), what a client reads.
        self._listings: dict[bytes, _Listing] = {}  #: What each client is reading page by page.

    def tick(self) -> None:
        """Answer what waited; forget dumps and lists that nobody can still be reading."""
        self._ids.tick()
        if self._state.recollected and self._unlisted:
            unlisted, self._unlisted = self._unlisted, {}
            for peer, query in unlisted.items():
                self._list(peer, query)
        old = [peer for peer, (at, _) in self._dumps.items() if self._state.at - at > DUMP_KEPT_S]
        for peer in old:
            del self._dumps[peer]
        stale = [peer for peer, made in self._listings.items() if self._state.at - made.at > LISTING_KEPT_S]
        for peer in stale:
            del self._listings[peer]

    def handlers(self) -> dict[type[Message], Callable[[Client, Any], None]]:
        """Return which message is answered by what."""
        return {
            QueryTasks: self._on_tasks,
            QueryWorkers: self._on_workers,
            QueryCluster: self._on_cluster,
            QueryDump: self._on_dump,
            QueryHistory: self._archive.ask,
            QueryIncrements: self._stored.ask_increments,
            QueryOutput: self._stored.ask_output,
            QueryRows: self._rows.ask,
            **self._ids.handlers(),
        }

    def _on_tasks(self, client: Client, query: QueryTasks) -> None:
        """List tasks; what asks for finished ones waits until their records were read after a takeover."""
        live_only = bool(query.states) and not any(state.terminal for state in query.states)
        if self._state.recollected or live_only:
            self._list(client.peer, query)
        else:
            self._unlisted[client.peer] = query

    def _list(self, peer: bytes, query: QueryTasks) -> None:
        """Answer with a page; the ids of a long list are found once, with its first page."""
        listing = self._listing(peer, query)
        most = max(1, min(query.limit, PAGE_MAX))
        lines: list[TaskLine] = []
        position = bisect_right(listing, query.cursor)
        while position < len(listing) and len(lines) < most:
            record = self._record(listing[position])
            if record is not None and (not query.states or record.state in query.states):
                lines.append(task_line(record))
            position += 1
        more = position < len(listing)
        if not more:
            self._listings.pop(peer, None)
        cursor = listing[position - 1] if more else ""
        self._state.tell(peer, TasksPage(seq=query.seq, tasks=tuple(lines), cursor=cursor))

    def _listing(self, peer: bytes, query: QueryTasks) -> list[str]:
        question = msgspec.structs.replace(query, seq=0, cursor="", limit=0)
        kept = self._listings.get(peer)
        if kept is not None and query.cursor and kept.question == question:
            return kept.ids
        made = _Listing(self._state.at, question, sorted(self._matching(query)))
        self._listings[peer] = made
        return made.ids

    def _matching(self, query: QueryTasks) -> Iterator[str]:
        """Return the ids of the tasks that a query asks for, in any order."""
        table = self._state.table

        def suits(each: Task | TaskRecord) -> bool:
            return (
                each.id.startswith(query.prefix)
                and (not query.user or each.user == query.user)
                and (not query.states or each.state in query.states)
            )

        if query.ids:
            wanted = dict.fromkeys(query.ids[:PAGE_MAX])
            live = [table.live[task_id] for task_id in wanted if task_id in table.live]
            done = [table.done[task_id] for task_id in wanted if task_id in table.done]
        else:
            live, done = list(table.live.values()), list(table.done.values())
        yield from (task.id for task in live if suits(task))
        yield from (each.id for each in done if each.record is not None and suits(each.record))

    def _record(self, task_id: str) -> TaskRecord | None:
        """Return a task as it is now, or None where it is not in the table any more."""
        table = self._state.table
        task, done = table.live.get(task_id), table.done.get(task_id)
        if task is not None:
            return task.record()
        return done.record if done is not None else None

    def tell_task(self, client: Client, query: QueryTask, record: TaskRecord, why: str = "") -> None:
        """Answer with everything about one task, and why it waits if it does."""
        uses = tuple(
            use
            for attempt in record.attempts
            if (worker := self._state.workers.find(attempt.worker, attempt.incarnation)) is not None
            and (use := worker.uses.get(AttemptId(record.id, attempt.n))) is not None
        )
        told = explain(self._state, record, why) if query.explain else None
        page = TaskPage(seq=query.seq, task=record, why=why, uses=uses, explanation=told)
        self._state.tell(client.peer, page)

    def tell_past_task(self, client: Client, query: QueryTask, record: TaskRecord) -> None:
        """Answer with what the results store remembers of a task."""
        told = explain(self._state, record, "") if query.explain else None
        self._state.tell(client.peer, TaskPage(seq=query.seq, task=record, stored=True, explanation=told))

    def _on_workers(self, client: Client, query: QueryWorkers) -> None:
        workers = self._state.workers
        wanted = set(query.names)
        chosen = [worker for worker in workers if not wanted or worker.name in wanted]
        chosen.sort(key=lambda worker: worker.name)
        lines, left_off = tuple(worker.line() for worker in chosen), 0
        if query.tasks:
            lines, left_off = with_holdings(self._state, chosen)
        absent = {
            name: drain
            for name, drain in workers.drains.items()
            if name not in workers.by_name and (not wanted or name in wanted)
        }
        page = WorkersPage(
            seq=query.seq,
            workers=lines,
            absent=absent,
            left_off=left_off,
            now=self._state.now(),
            since=self._state.clock.claimed,
        )
        self._state.tell(client.peer, page)

    def _on_cluster(self, client: Client, query: QueryCluster) -> None:
        page = cluster_page(self._state, self._archive, self._clearance, query.seq)
        self._state.tell(client.peer, page)

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


def cluster_page(state: State, archive: Archive, clearance: Clearance, seq: int) -> ClusterPage:
    """Return the state of the cluster as its leader sees it."""
    table = state.table
    counts = {kind.value: table.counts[kind] for kind in TaskState if not kind.terminal}
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
        counts={**counts, "done": len(table.done), **state.arrays.states()},
        counters=dict(state.counters),
        set_aside=tuple(f"{state.whole(path)}: {why}" for path, why in sorted(table.set_aside.items())[:100]),
        store=(state.store.away or "ok") if state.store.enabled else "",
        unarchived=archive.backlog,
        store_bytes=clearance.size_bytes,
        bounds=settled(NO_BOUNDS, 0, state.limits),
        time_limit_s=state.limits.time_limit_s,
        policy_trouble=policy_trouble(state),
    )


def task_line(record: TaskRecord) -> TaskLine:
    """Return a task as lists show it."""
    command = record.spec.command
    words = command if isinstance(command, str) else shlex.join(command)
    result, shown = record.result, record.shown()
    return TaskLine(
        id=record.id,
        state=record.state,
        user=record.user,
        name=record.spec.name,
        command=words[:COMMAND_SHOWN],
        worker=shown.worker if shown is not None else "",
        attempt=shown.n if shown is not None else 0,
        submitted=record.submitted,
        finished=result.finished if result is not None else NO_TIME,
        exit_status=result.exit_status() if result is not None else None,
        why=result.why if result is not None else "",
    )
