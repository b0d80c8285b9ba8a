"""Where an analysis gets its rows: a results store by its URL, the leader, or a dump.

By URL is the better way for many tasks: the rows come straight from the database, and the leader, which
places everybody's tasks meanwhile, has no work with them. Through the leader nothing but ZooKeeper's address
is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import msgspec

from alb_core import ids
from alb_core.errors import ConfigError, CoordinationError
from alb_core.messages import WorkerLine
from alb_core.rows import FinishedTask, LoadSample, PastAttempt, Row, Span, key_of
from alb_core.tasks import TaskRecord

if TYPE_CHECKING:
    from alb.api.client import Client

Place: TypeAlias = tuple[str | float, ...]
Read: TypeAlias = "Callable[[type[Row], Place], tuple[Sequence[Row], bool]]"
#: Reads a page: rows of a family, in the order of their keys, after a place; and whether there are more.

PAGE_ROWS: Final = 2_000
#: Of a database, at once in memory: each holds its specification.
EARLIER_S: Final = 86_400.0
#: A task that ended in time may have been submitted so much before: ids tell only when it was made.


def from_client(client: Client) -> Read:
    """Read through the leader."""
    return client.rows


def from_store(url: str, table: str) -> Read:
    """Read from a results store.

    Args:
        url: As brokers have it.
        table: The cluster's table; empty: that of the only cluster in it.

    Raises:
        ConfigError: There is no such store, or one must say which cluster's.
        CoordinationError: It does not answer.
    """
    from alb_broker.store.interface import StoreError, StoreUnavailable  # noqa: PLC0415 (as below)
    from alb_broker.store.opening import open_store  # noqa: PLC0415 (databases' libraries are slow to import)

    try:
        _check_file(url)
        store = open_store(url, table)
        tables = store.tables()
        if table and table not in tables:
            raise ConfigError(
                f"--table: no cluster of the id {table[:40]!r} has written here; {_listed(tables)}"
            )
        if not table:
            table = _only(tables)
            store = open_store(url, table)
    except StoreUnavailable as error:
        raise StoreSilent(error.why) from error
    except StoreError as error:
        raise ConfigError(f"the results store: {error.why}") from error

    def read(family: type[Row], after: Place) -> tuple[Sequence[Row], bool]:
        try:
            rows = store.scan(family, Span(after=after), PAGE_ROWS)
        except StoreError as error:
            raise StoreSilent(error.why) from error
        return rows, len(rows) == PAGE_ROWS

    return read


class StoreSilent(CoordinationError):
    """Raised when a results store does not answer. Retrying helps once it is there again."""

    def __init__(self, why: str) -> None:
        super().__init__(why)


def _check_file(url: str) -> None:
    """Refuse a file that is not there: SQLite would make it."""
    scheme, _, path = url.partition(":///")
    if scheme.partition("+")[0] == "sqlite" and not Path(path.partition("?")[0]).is_file():
        raise ConfigError(f"there is no results store {path}; is it the URL that the brokers have?")


def _only(tables: Sequence[str]) -> str:
    if not tables:
        raise ConfigError("nobody has written into this results store yet")
    if len(tables) > 1:
        raise ConfigError(
            "several clusters share this results store; say with --table whose history is meant "
            f"(alb status shows it); {_listed(tables)}"
        )
    return tables[0]


def _listed(tables: Sequence[str]) -> str:
    return f"there are: {', '.join(tables[:10]) or 'none'}{' …' if len(tables) > 10 else ''}"


def rows(read: Read, since: float) -> Iterator[Row]:
    """Return tasks and attempts that were submitted not more than a day before a time, and samples since.

    Args:
        read: Where from.
        since: Cluster time; 0: everything.
    """
    begin: Place = (ids.first_of(since - EARLIER_S),) if since else ()
    for family in (FinishedTask, PastAttempt):
        yield from _pages(read, family, begin)
    yield from _samples(read, since)


def _pages(read: Read, family: type[Row], after: Place) -> Iterator[Row]:
    more = True
    while more:
        found, more = read(family, after)
        yield from found
        if found:
            after = cast("Place", key_of(found[-1]))


def _samples(read: Read, since: float) -> Iterator[Row]:
    """Skip, worker by worker, what is too old: samples sort by worker, then by time."""
    after: Place = ()
    more = True
    while more:
        found, more = read(LoadSample, after)
        for row in found:
            assert isinstance(row, LoadSample)  # noqa: S101 (what was asked for)
            if row.time < since:
                after, more = (row.worker, since), True
                break
            after = (row.worker, row.time)
            yield row


class _Dump(msgspec.Struct, frozen=True):
    """What is read of a dump."""

    now: float
    queue: tuple[TaskRecord, ...]
    running: tuple[TaskRecord, ...]
    workers: tuple[WorkerLine, ...] = ()


def from_dump(data: bytes) -> tuple[list[Row], float]:
    """Return what a leader's dump tells, as rows, and its time. It holds no finished tasks.

    Raises:
        ConfigError: It is no dump.
    """
    try:
        dump = msgspec.json.decode(data, type=_Dump)
    except msgspec.DecodeError as error:
        raise ConfigError(f"this is no dump of a leader, which alb dump writes: {error}") from error
    made: list[Row] = []
    for record in (*dump.queue, *dump.running):
        made.append(_unfinished(record, dump.now))
        made += _attempts(record, dump.now)
    made += [_sample(line, dump.now) for line in dump.workers]
    return made, dump.now


def _unfinished(record: TaskRecord, now: float) -> FinishedTask:
    """Return a task that goes on as if it ended now; its state says that it did not."""
    import shlex  # noqa: PLC0415

    newest = record.shown() if record.state.value == "RUNNING" else None
    spec, request = record.spec, record.spec.request
    return FinishedTask(
        task=record.id,
        user=record.user,
        name=spec.name,
        command=spec.command if isinstance(spec.command, str) else shlex.join(spec.command),
        state=record.state.value,
        exit_code=None,
        signal=None,
        why="",
        worker=newest.worker if newest else "",
        attempt=newest.n if newest else 0,
        crashes=record.crashes,
        submitted=record.submitted,
        finished=now,
        wall_s=max(0.0, now - newest.placed) if newest else 0.0,
        cpu_s=0.0,
        memory_bytes=0,
        stdout_bytes=0,
        stderr_bytes=0,
        cpus=request.cpus,
        request_memory_bytes=request.memory_bytes,
        request_net_bps=request.net_bps,
        labels=",".join(request.labels),
        spec=msgspec.json.encode(spec).decode(),
        digest=record.digest,
    )


def _attempts(record: TaskRecord, now: float) -> Iterator[PastAttempt]:
    since = record.submitted
    for attempt in record.attempts:
        yield PastAttempt(
            task=record.id,
            n=attempt.n,
            worker=attempt.worker,
            incarnation=attempt.incarnation,
            epoch=attempt.epoch,
            placed=attempt.placed,
            ended=attempt.ended or now,
            cause=attempt.ended_as or attempt.state.value,
            exit_code=None,
            signal=None,
            wall_s=0.0,
            cpu_s=0.0,
            memory_bytes=0,
            policy=attempt.policy,
            waited_s=max(0.0, attempt.placed - since),
            candidates=attempt.candidates,
            ahead=attempt.ahead,
            copy_of=attempt.copy_of,
        )
        since = attempt.ended or attempt.placed


def _sample(line: WorkerLine, now: float) -> LoadSample:
    return LoadSample(
        worker=line.worker,
        time=now,
        cpu=line.load.cpu,
        memory=line.load.memory,
        net=line.load.net,
        running=line.load.running,
        reserved_cpus=line.reserved_cpus,
        capacity_cpus=line.capacity.cpus,
        capacity_memory_bytes=line.capacity.memory_bytes,
    )
