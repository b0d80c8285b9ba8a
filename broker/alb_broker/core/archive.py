"""The archive: finished tasks go to the results store before they leave the table; history is read from it.

A finished task's rows are handed over once its result is in the table, and again by the next leader if this
one did not live to see the answer: writing a row twice changes nothing. Retention waits for the answer. A
store that is away holds up nothing else; what waits for it stays in the table.
"""

from __future__ import annotations

import shlex
from functools import partial
from typing import Final

import msgspec

from alb_broker.core.clients import Client
from alb_broker.core.past import more_of
from alb_broker.core.state import State
from alb_broker.core.worker import Worker
from alb_core import ids, rows
from alb_core.messages import Error, HistoryPage, QueryHistory
from alb_core.rows import Span
from alb_core.tasks import Attempt, Result, TaskRecord, TaskState
from alb_core.works import work_of

UNDER_WAY_MAX: Final = 2000
#: Tasks that were handed over and not answered; more wait in the table.
TASKS_AT_ONCE: Final = 200
#: Handed over under one token.
SAMPLE_EVERY_S: Final = 10.0
#: Of workers' loads.
SCAN_ROWS: Final = 200
#: Looked at for one page.
PAGE_BYTES: Final = 1024 * 1024
#: Of a page's rows: each holds its specification.
CLOCKS_DIFFER_S: Final = 86_400.0
#: Ids carry the time of the client that made them; so far it may be from cluster time.


class Archive:
    """Hands over what the results store is to keep, and answers from it.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._sampled_at = state.at

    @property
    def backlog(self) -> int:
        """How many finished tasks the store does not have yet."""
        return self._state.table.unarchived

    # --- handing over ---------------------------------------------------------------------------------------

    def end_turn(self) -> None:
        """Hand over what waits, as much as may be under way."""
        table = self._state.table
        while table.kept and table.archiving < UNDER_WAY_MAX:
            names: list[str] = []
            made: list[rows.Row] = []
            works: dict[tuple[str, str], rows.Work] = {}
            while table.kept and len(names) < TASKS_AT_ONCE:
                done = table.done.get(table.kept.popleft())
                if done is not None and done.record is not None and not done.archived:
                    names.append(done.id)
                    made += rows_of(done.record)
                    _note_work(works, done.record)
            made += works.values()
            if names:
                table.archiving += len(names)
                self._state.store.keep(tuple(made), partial(self._on_written, names), patient=True)

    def tick(self) -> None:
        """Sample the workers' loads."""
        state = self._state
        if state.store.enabled and not state.store.away and state.at - self._sampled_at >= SAMPLE_EVERY_S:
            self._sampled_at = state.at
            now = state.now()
            samples = tuple(_sample(worker, now) for worker in state.workers if worker.link)
            if samples:
                state.store.keep(samples, patient=True)

    def _on_written(self, names: list[str]) -> None:
        """The store has these tasks."""
        table = self._state.table
        table.archiving -= len(names)
        for name in names:
            done = table.done.get(name)
            if done is not None:
                done.archived = True
        self._state.counters["tasks_archived"] += len(names)

    # --- history --------------------------------------------------------------------------------------------

    def ask(self, client: Client, query: QueryHistory) -> None:
        """Answer with a page of finished tasks, the newest first, when the store has answered."""
        state = self._state
        if not state.store.enabled:
            why = "this cluster keeps no history: its brokers have no --store; see alb tasks --all"
            state.tell(client.peer, Error(code="invalid", why=why, seq=query.seq))
            return
        oldest = (ids.first_of(query.since - CLOCKS_DIFFER_S),) if query.since else ()
        newest = (query.cursor,) if query.cursor else ()
        if query.prefix:
            oldest = max(oldest, (query.prefix,))
            newest = newest or (query.prefix + "~",)  # which sorts after all letters of an id
        span = Span(after=oldest, before=newest)
        then = partial(self._on_scanned, client, query)
        state.store.scan(rows.FinishedTask, span, SCAN_ROWS, then, newest_first=True)

    def _on_scanned(self, client: Client, query: QueryHistory, read: tuple[rows.Row, ...], why: str) -> None:
        if why:
            self._state.tell(client.peer, Error(code="error", why=why, seq=query.seq))
            return
        found = [row for row in read if isinstance(row, rows.FinishedTask)]
        self._state.tell(client.peer, _page(query, found))


def rows_of(record: TaskRecord) -> list[rows.Row]:
    """Return what the results store keeps of a finished task: all of it follows from its record."""
    result = record.result
    assert result is not None  # noqa: S101 (it is finished)
    made: list[rows.Row] = [_task_row(record, result)]
    waiting_since = record.submitted
    for attempt in record.attempts:
        made.append(_attempt_row(record, attempt, result, waiting_since))
        waiting_since = attempt.ended or attempt.placed
    for name, stream in (("stdout", result.stdout), ("stderr", result.stderr)):
        tail = stream.tail()
        if tail:
            offset = stream.size_bytes - len(tail)
            made.append(
                rows.Output(task=record.id, attempt=result.attempt, stream=name, offset=offset, data=tail)
            )
    return made


def _note_work(works: dict[tuple[str, str], rows.Work], record: TaskRecord) -> None:
    """Note who did a work well; of tasks with the same specification the last one, whose work is hashed once.

    What came back with a task, also as its large value, can be had only while the table holds it: such works
    are not kept.
    """
    result = record.result
    came_back = record.spec.returns or (result is not None and result.returned)
    if record.state is TaskState.SUCCEEDED and not came_back:
        same = (record.user, record.digest)
        known = works.get(same)
        work = known.work if known is not None else work_of(record.user, record.spec)
        works[same] = rows.Work(work=work, task=record.id)


def _task_row(record: TaskRecord, result: Result) -> rows.FinishedTask:
    spec, request = record.spec, record.spec.request
    return rows.FinishedTask(
        task=record.id,
        user=record.user,
        name=spec.name,
        command=spec.command if isinstance(spec.command, str) else shlex.join(spec.command),
        state=result.state.value,
        exit_code=result.exit_code,
        signal=result.signal,
        why=result.why,
        worker=result.worker,
        attempt=result.attempt,
        crashes=record.crashes,
        submitted=record.submitted,
        finished=result.finished,
        wall_s=result.wall_s,
        cpu_s=result.cpu_s,
        memory_bytes=result.memory_bytes,
        stdout_bytes=result.stdout.size_bytes,
        stderr_bytes=result.stderr.size_bytes,
        cpus=request.cpus,
        request_memory_bytes=request.memory_bytes,
        request_net_bps=request.net_bps,
        labels=",".join(request.labels),
        spec=msgspec.json.encode(spec).decode(),
        digest=record.digest,
        more=more_of(result, record.attempts),
    )


def _attempt_row(
    record: TaskRecord, attempt: Attempt, result: Result, waiting_since: float
) -> rows.PastAttempt:
    delivered = attempt.n == result.attempt
    return rows.PastAttempt(
        task=record.id,
        n=attempt.n,
        worker=attempt.worker,
        incarnation=attempt.incarnation,
        epoch=attempt.epoch,
        placed=attempt.placed,
        ended=attempt.ended,
        cause=attempt.ended_as,
        exit_code=result.exit_code if delivered else attempt.exit_code,
        signal=result.signal if delivered else None,
        wall_s=result.wall_s if delivered else 0.0,
        cpu_s=result.cpu_s if delivered else 0.0,
        memory_bytes=result.memory_bytes if delivered else 0,
        policy=attempt.policy,
        waited_s=max(0.0, attempt.placed - waiting_since),
        candidates=attempt.candidates,
        ahead=attempt.ahead,
        copy_of=attempt.copy_of,
    )


def _sample(worker: Worker, now: float) -> rows.LoadSample:
    load, capacity = worker.load, worker.capacity
    return rows.LoadSample(
        worker=worker.name,
        time=now,
        cpu=load.cpu,
        memory=load.memory,
        net=load.net,
        running=load.running,
        reserved_cpus=round(capacity.cpus - worker.room.cpus, 6),
        capacity_cpus=capacity.cpus,
        capacity_memory_bytes=capacity.memory_bytes,
    )


def _page(query: QueryHistory, found: list[rows.FinishedTask]) -> HistoryPage:
    """Return what was asked of what was found, as much as a message may hold."""
    chosen: list[rows.FinishedTask] = []
    size_bytes, cursor = 0, ""
    for row in found:
        if _suits(row, query):
            size_bytes += rows.weight(row)
            if chosen and size_bytes > PAGE_BYTES:
                break
            chosen.append(row)
        cursor = row.task
    else:
        if len(found) < SCAN_ROWS:
            cursor = ""
    return HistoryPage(seq=query.seq, tasks=tuple(chosen), cursor=cursor)


def _suits(row: rows.FinishedTask, query: QueryHistory) -> bool:
    return (
        row.task.startswith(query.prefix)
        and row.task.endswith(query.ending)
        and (not query.user or row.user == query.user)
        and (not query.states or row.state in query.states)
        and (not query.worker or row.worker == query.worker)
        and (not query.name or row.name == query.name)
        and (not query.since or row.finished >= query.since)
        and (not query.until or row.finished < query.until)
    )
