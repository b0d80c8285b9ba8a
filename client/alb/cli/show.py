"""``alb tasks``, ``status``, ``workers``, ``brokers``, ``dump``: what there is."""

from __future__ import annotations

import os
import time
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from alb.cli import out
from alb.cli.options import Place, cluster_options, json_option
from alb.cli.short_ids import resolve
from alb.cli.statuses import FAILED_STATUS
from alb.cli.values import AT_MOST, format_duration, format_size
from alb.cli.values import format_clock as _clock
from alb_core import znodes
from alb_core.errors import AlbError, CoordinationError, TaskGone
from alb_core.limits import LOST_WITHOUT_SESSION_S
from alb_core.messages import TaskPage
from alb_core.resources import amount_of
from alb_core.tasks import TaskState
from alb_core.vectors import vector_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alb.api.client import Client
    from alb_core.drains import Drain
    from alb_core.messages import ArrayPage, ClusterPage, TaskLine, WorkerLine, WorkersPage
    from alb_core.tasks import TaskRecord
    from alb_core.znodes import BrokerNode, LeaderNode

WATCH_S: Final = 1.0
STORE_ASKED_S: Final = 1.0
#: A leader that does not answer in this time is listed without its store.
LINES_MAX: Final = 1000
#: Tasks shown without --limit.
NEWLINE: Final = "\n"
NEXT_LINE: Final = f"{NEWLINE}{'':10}"
#: Of a value in the list of what a task is.
_COUNTED: Final = {"arrays_done": "ended arrays"}
#: What people call what the leader counts.


# --- tasks ------------------------------------------------------------------------------------------------


@click.command()
@click.argument("array", required=False)
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in TaskState], case_sensitive=False),
    help="Only these; may be repeated.",
)
@click.option("-a", "--all", "all_", is_flag=True, help="Finished ones too.")
@click.option("--limit", type=AT_MOST, default=LINES_MAX, show_default=True)
@json_option
@cluster_options
def tasks(  # noqa: PLR0913 (one parameter an option)
    place: Place, array: str | None, states: Sequence[str], *, all_: bool, limit: int, as_json: bool
) -> int:
    """List tasks, oldest first: those that have not ended, or those in the states asked for.

    An array has one line; with its id as ARRAY, its tasks are listed. With --user only that user's.
    """
    chosen = [TaskState(state) for state in states]
    if not chosen and not all_:
        chosen = [state for state in TaskState if not state.terminal]
    with place.client() as client:
        lines = _found(client, place, array, chosen, limit)
    more, lines = len(lines) > limit, lines[:limit]
    if as_json:
        out.emit_json([form for form, _ in lines])
        return 0
    columns = ("ID", "STATE", "EXIT", "USER", "WORKER", "NAME", "COMMAND")
    out.emit_table(
        columns,
        [row for _, row in lines],
        empty="no such task waits or runs; -a lists finished ones too",
    )
    if more:
        out.say(f"only the first {limit} are shown; --limit shows more")
    return 0


def _found(
    client: Client, place: Place, array: str | None, states: list[TaskState], limit: int
) -> list[tuple[Any, tuple[str, ...]]]:
    """Return tasks and arrays, or the tasks of one, in these states or any: as JSON has them, and as rows."""
    from alb.cli import array_views as views  # noqa: PLC0415

    wanted = states or list(TaskState)

    if array is not None:
        page = views.find_array(client, resolve(client, array))
        if page is None:
            raise click.BadParameter(f"{array!r} is no array in the table", param_hint="ARRAY")
        live, over = views.list_array(client, page, wanted)
        rows: list[tuple[Any, tuple[str, ...]]] = [(line, _task_row(line)) for line in live]
        return rows + [
            (views.stretch_form(where, each), views.stretch_row(page.array, where, each))
            for where, each in over
        ]
    user = place.user or ""
    apart = (line for line in client.tasks(states=states, user=user) if "." not in line.id)
    arrays = (line for line in client.arrays(user=user) if line.state in wanted)
    found: dict[str, tuple[Any, tuple[str, ...]]] = {
        line.id: (line, _task_row(line)) for line in islice(apart, limit + 1)
    }
    found |= {line.id: (line, views.array_row(line)) for line in islice(arrays, limit + 1)}
    return [found[each] for each in sorted(found)]


def _task_row(line: TaskLine) -> tuple[str, ...]:
    exit_status = "" if line.exit_status is None else str(line.exit_status)
    return (line.id, line.state.value, exit_status, line.user, line.worker, line.name, line.command)


@click.command()
@click.argument("ids", nargs=-1)
@click.option("--indexes", is_flag=True, help="Of arrays, how all their tasks ended.")
@json_option
@cluster_options
def status(place: Place, ids: Sequence[str], *, indexes: bool, as_json: bool) -> int:
    """Show the tasks and arrays IDS; without any, the cluster.

    A task that has left the table is shown as the results store remembers it.
    """
    with place.client() as client:
        if not ids:
            page = client.cluster()
            workers = client.workers()
            if as_json:
                out.emit_json({"cluster": _cluster_form(page), "workers": workers})
            else:
                _show_cluster(page, workers)
            return 0
        from alb.cli import array_views as views  # noqa: PLC0415

        found = [_page(client, resolve(client, text)) for text in dict.fromkeys(ids)]
        if as_json:
            forms = [
                each.task if isinstance(each, TaskPage) else views.array_form(client, each.array)
                for each in found
            ]
            out.emit_json(forms)
            return 0
        for each in found:
            if not isinstance(each, TaskPage):
                views.show_array(client, each, indexes=indexes)
                continue
            _show_task(each.task, each.why, stored=each.stored)
            for use in each.uses:
                busy = f"{use.cpus:.2f} cpus, {format_size(use.memory_bytes)}"
                out.echo(f"uses      {busy}, {use.cpu_s:.1f} s of processor time so far")
            if each.task.incremental or each.stored:
                _show_increments(client, each.task)
    return 0


def _page(client: Client, named: str) -> TaskPage | ArrayPage:
    """Return what is known of a task, or else of an array."""
    from alb.cli.array_views import find_array, why_gone  # noqa: PLC0415

    try:
        return client.task_page(named)
    except TaskGone as gone:
        found = find_array(client, named)
        if found is None:
            raise TaskGone(named, why_gone(client, named, gone)) from gone
        return found


def _cluster_form(page: ClusterPage) -> dict[str, Any]:
    """Return what a page says of the cluster, without what it is as a message."""
    form: dict[str, Any] = msgspec.to_builtins(page)
    return {name: value for name, value in form.items() if name not in ("type", "seq")}


def _show_cluster(page: ClusterPage, workers: Sequence[WorkerLine]) -> None:
    age = format_duration(max(page.now - page.since, 0))
    out.echo(f"leader   {page.broker}, epoch {page.epoch}, for {age}, batch {page.batch}")
    out.echo(f"table    {page.table}")
    out.echo(f"policy   {page.policy}")
    if page.policy_trouble:
        out.echo(f"         {page.policy_trouble}; see alb policy show")
    usable = sum(worker.session and worker.link and worker.drain is None for worker in workers)
    cpus = sum(worker.capacity.cpus for worker in workers)
    reserved = sum(worker.reserved_cpus for worker in workers)
    running = sum(worker.running for worker in workers)
    load = f"{reserved:g} of {cpus:g} cpus reserved, {running} running"
    drained = sum(worker.drain is not None for worker in workers)
    less = f", {drained} drained" if drained else ""
    out.echo(f"workers  {usable} of {len(workers)} usable{less}, {load}")
    _say_unheard(page, workers)
    counts = ", ".join(f"{count} {_COUNTED.get(name, name)}" for name, count in page.counts.items() if count)
    out.echo(f"tasks    {counts or 'none'}")
    if page.counters.get("copies_made"):
        wasted = format_duration(page.counters.get("copies_wasted_ms", 0) / 1000)
        made, won = page.counters["copies_made"], page.counters.get("copies_won", 0)
        out.echo(f"copies   {made} made of stragglers, {won} succeeded first; {wasted} ran in vain")
    if page.store:
        storing = sum(worker.storing for worker in workers)
        behind = f", the output of {storing} that are over is being stored" if storing else ""
        out.echo(f"store    {_store_words(page)}{behind}")
    if page.set_aside:
        out.echo("set aside, because they cannot be read (delete or repair them with zkCli.sh):")
        for line in page.set_aside:
            out.echo(f"  {line}")


def _show_task(record: TaskRecord, why: str, *, stored: bool) -> None:
    command = record.spec.command
    out.echo(f"task      {record.id}")
    words = command if isinstance(command, str) else " ".join(map(_quoted, command))
    out.echo(f"command   {words.replace(NEWLINE, NEXT_LINE)}")
    path = znodes.done_path(record.id) if record.state.terminal else znodes.task_path(record.id)
    if stored:
        out.echo("source    the results store: the task has left the table")
    else:
        out.echo(f"znode     {path}")
    out.echo(f"state     {record.state.value}{' (cancelled, ending)' if _is_ending(record) else ''}")
    if record.state is TaskState.QUEUED and not why:
        why = "for its turn and for room: alb explain tells more"
    if why:
        out.echo(f"waits     {why}")
    out.echo(f"user      {record.user}")
    if record.spec.name:
        out.echo(f"name      {record.spec.name}")
    if record.spec.request.optimize is not None:
        out.echo(f"optimizes {vector_words(record.spec.request.optimize)}")
    out.echo(f"submitted {_clock(record.submitted)}")
    for attempt in record.attempts:
        code = f" {attempt.exit_code}" if attempt.exit_code is not None else ""
        end = f" ({attempt.ended_as}{code})" if attempt.ended_as else ""
        text = f"{attempt.n} on {attempt.worker}, {attempt.state.value}{end}, placed {_clock(attempt.placed)}"
        beside = f", a copy of {attempt.copy_of}" if attempt.copy_of else ""
        out.echo(f"attempt   {text}, epoch {attempt.epoch}{beside}")
        if attempt.demoted:
            out.echo(f"          demoted {_clock(attempt.demoted)}: it runs with what nobody else wants")
    if record.result is not None:
        from alb.cli.endings import show_ending  # noqa: PLC0415

        show_ending(record)


def _show_increments(client: Client, record: TaskRecord) -> None:
    """Show what a task reported last, and its newest checkpoint."""
    from alb.cli.increments import told_checkpoint  # noqa: PLC0415
    from alb_core.increments import LINES_MAX, checkpoint_of, shown  # noqa: PLC0415

    # A checkpoint is recorded again before there are more increments after it.
    count = LINES_MAX + 1 if record.spec.checkpoints else 1
    try:
        found = client.newest_increments(record.id, count)[::-1]
    except AlbError as error:
        out.say(f"what it reported cannot be read: {error}")
        return
    for row in [row for row in found if checkpoint_of(row) is None][:1]:
        told = f"{row.key} = {shown(row.value)[:200]}" if row.key else shown(row.value)[:200]
        out.echo(f"reported  {row.seq} increments, the last at {_clock(row.time)}: {told}")
    for row in [row for row in found if checkpoint_of(row) is not None][:1]:
        out.echo(f"saved     {told_checkpoint(row)}, at {_clock(row.time)}")


def _is_ending(record: TaskRecord) -> bool:
    return record.cancel and not record.state.terminal


def _quoted(word: str) -> str:
    import shlex  # noqa: PLC0415

    return shlex.quote(word)


# --- machines ---------------------------------------------------------------------------------------------


@click.command()
@click.argument("names", nargs=-1)
@click.option("--tasks", "with_tasks", is_flag=True, help="What each runs, and what waits there for room.")
@json_option
@cluster_options
def workers(place: Place, names: Sequence[str], *, with_tasks: bool, as_json: bool) -> int:
    """List workers (all, or NAMES), with what they offer, what is reserved, and how busy they are.

    SPEED is how fast a worker is against an ordinary machine, with integers, memory and floating point where
    that was measured (alb worker --speed says it otherwise), and after x by how much run times of the same
    commands elsewhere correct it.

    COUNTS is what some have in whole units (GPUs, licences), reserved of offered. LOAD is measured. TASKS is
    how many have room there, and after a plus how many wait there for it: short commands are handed over
    ahead. Demoted are those that ran for a quantum while others waited: their processors are the others' now,
    and they run on with what is left over. With --tasks each task has a line instead.
    """
    with place.client() as client:
        page = client.workers_page(names, tasks=with_tasks)
    known = {line.worker for line in page.workers} | page.absent.keys()
    missing = [name for name in names if name not in known]
    if as_json:
        out.emit_json(page.workers)
    else:
        columns: tuple[str, ...] = (
            "WORKER",
            "STATE",
            "TASKS",
            "CPUS",
            "SPEED",
            "MEMORY",
            "NET",
            "COUNTS",
            "LOAD",
            "LABELS",
        )
        absent = [(name, "absent, drained", *[""] * 8) for name in sorted(page.absent)]
        rows = sorted([*map(_worker_row, page.workers), *absent])
        if not any(line.capacity.counts for line in page.workers):
            columns, rows = _without("COUNTS", columns, rows)
        if all(_speed_of(line) == "1" for line in page.workers):
            columns, rows = _without("SPEED", columns, rows)
        empty = "none of them is known" if names else "no worker is registered: start one, `alb worker`"
        if with_tasks and page.workers:
            from alb.cli.held import emit_held  # noqa: PLC0415 (only for who asks)

            emit_held(page)
        else:
            out.emit_table(columns, rows, empty=empty)
        _say_unheard(page, page.workers)
        for name, drain in sorted(_drains(page).items()):
            out.say(f"{name} {_why_drained(drain)}")
        for line in page.workers:
            _say_shut(line)
    if page.left_off:
        out.say(f"{page.left_off} tasks more are not shown: name the workers that you want to see")
    for name in missing:
        out.say(f"there is no worker {name}")
    return FAILED_STATUS if missing else 0


def _say_unheard(page: ClusterPage | WorkersPage, workers: Sequence[WorkerLine]) -> None:
    """Say that a new leader has not heard all workers yet: they look as if they were lost."""
    led_s = page.now - page.since
    unheard = sum(not (line.session and line.link) for line in workers)
    if unheard and page.now and led_s < LOST_WITHOUT_SESSION_S:
        told = "one worker" if unheard == 1 else f"{unheard} workers"
        out.say(f"the leader is new (for {format_duration(max(led_s, 0.0))}) and still waits to hear {told}")


def _say_shut(line: WorkerLine) -> None:
    """Say why a worker is in quarantine, if it is."""
    if line.quarantine is not None:
        until = _clock(line.quarantine.until)
        out.say(f"{line.worker} is given nothing until {until}: {line.quarantine.why}")


def _drains(page: WorkersPage) -> dict[str, Drain]:
    return page.absent | {line.worker: line.drain for line in page.workers if line.drain is not None}


def _why_drained(drain: Drain) -> str:
    text = f"is drained since {_clock(drain.since)} by {drain.by or 'zkCli'}"
    if drain.deadline_s is not None:
        text += f", with {format_duration(drain.deadline_s)} for what runs there"
    return f"{text}: {drain.reason}" if drain.reason else text


def _worker_row(line: WorkerLine) -> tuple[str, ...]:
    offered, load = line.capacity, line.load
    state = {(True, True): "ready", (True, False): "no link", (False, True): "no session"}.get(
        (line.session, line.link), "lost"
    )
    if line.drain is not None:
        drained = "draining" if line.running or line.ahead or line.storing else "drained"
        state = drained if state == "ready" else f"{state}, {drained}"
    if line.quarantine is not None:
        state = "quarantine" if state == "ready" else f"{state}, quarantine"
    return (
        line.worker,
        state,
        _tasks_of(line),
        f"{line.reserved_cpus:g}/{offered.cpus:g}",
        _speed_of(line),
        f"{format_size(line.reserved_memory_bytes)}/{format_size(offered.memory_bytes)}",
        f"{line.reserved_net_bps / 1e6:g}/{offered.net_bps / 1e6:g} Mbit/s" if offered.net_bps else "-",
        _counted(line),
        f"cpu {load.cpu:.0%} mem {load.memory:.0%} net {load.net:.0%}"
        + (f" gpu {load.gpu:.0%}" if offered.gpus else ""),
        ",".join(offered.labels),
    )


def _tasks_of(line: WorkerLine) -> str:
    ahead = f"+{line.ahead}" if line.ahead else ""
    return f"{line.running}{ahead}" + (f", {line.demoted} demoted" if line.demoted else "")


def _speed_of(line: WorkerLine) -> str:
    """Return how fast a worker is: in general, by kind of work where that was measured, and as corrected."""
    speeds = line.capacity.speeds
    kinds = "" if speeds is None else f" ({speeds.integer:g}, {speeds.memory:g}, {speeds.floating:g})"
    corrected = f" x{line.correction:.2g}" if line.correction != 1 else ""
    return f"{line.capacity.speed:g}{kinds}{corrected}"


def _without(
    column: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return a table without a column that says nothing."""
    place = columns.index(column)
    return (*columns[:place], *columns[place + 1 :]), [(*row[:place], *row[place + 1 :]) for row in rows]


def _counted(line: WorkerLine) -> str:
    """Return what is reserved of what a worker has in whole units, GPUs among it."""
    counts = line.capacity.counts
    told = (f"{each.name}={amount_of(line.reserved_counts, each.name)}/{each.amount}" for each in counts)
    return ",".join(told) or "-"


@click.command()
@click.option("--watch", is_flag=True, help="Go on, and write a line whenever something changes.")
@json_option
@cluster_options
def brokers(place: Place, *, watch: bool, as_json: bool) -> int:
    """List brokers and who leads, as ZooKeeper knows them, and how the leader's results store is."""
    with place.client() as client:
        leader, nodes = client.brokers()
        page = _page_of(client, leader)
        if as_json:
            out.emit_json([_broker_form(node, leader, page) for node in nodes])
        else:
            columns = ("BROKER", "ROLE", "EPOCH", "CLIENTS", "HOST", "PID", "VERSION", "STARTED", "STORE")
            rows = [_broker_row(node, leader, page) for node in nodes]
            out.emit_table(columns, rows, empty="no broker is registered: start one, `alb broker`")
        before = _roles(leader, nodes)
        while watch:
            time.sleep(WATCH_S)
            leader, nodes = client.brokers()
            now = _roles(leader, nodes)
            for name in sorted(before.keys() | now.keys()):
                if before.get(name) != now.get(name):
                    _tell_role(name, now.get(name, "gone"), as_json=as_json)
            before = now
    return 0


def _roles(leader: LeaderNode | None, nodes: Sequence[BrokerNode]) -> dict[str, str]:
    return {node.broker: _role(node, leader) for node in nodes}


def _role(node: BrokerNode, leader: LeaderNode | None) -> str:
    leads = leader is not None and leader.incarnation == node.incarnation
    return f"leads (epoch {leader.epoch})" if leads and leader is not None else "standby"


def _tell_role(name: str, role: str, *, as_json: bool) -> None:
    if as_json:
        out.emit_json({"broker": name, "role": role, "time": time.time()})
    else:
        out.echo(f"{time.strftime('%H:%M:%S')}  {name}  {role}")


def _page_of(client: Client, leader: LeaderNode | None) -> ClusterPage | None:
    """Return what the leader says of the cluster; None where it says nothing: who is there is told anyway."""
    if leader is None:
        return None
    try:
        return client.cluster(timeout=STORE_ASKED_S)
    except CoordinationError:
        return None


def _broker_form(node: BrokerNode, leader: LeaderNode | None, page: ClusterPage | None) -> dict[str, Any]:
    leads = leader is not None and leader.incarnation == node.incarnation
    epoch = leader.epoch if leads and leader is not None else None
    fields = {name: getattr(node, name) for name in node.__struct_fields__ if name != "depot_key"}
    fields |= {"leads": leads, "epoch": epoch}
    if page is not None and page.broker == node.broker:
        fields |= {"store": page.store, "unarchived": page.unarchived}
    return fields


def _broker_row(node: BrokerNode, leader: LeaderNode | None, page: ClusterPage | None) -> tuple[str, ...]:
    form = _broker_form(node, leader, page)
    role, epoch = ("leader", str(form["epoch"])) if form["leads"] else ("standby", "")
    store = _store_words(page) if page is not None and "store" in form else ""
    about = (node.broker, role, epoch, node.clients, node.host, str(node.pid), node.version, node.started)
    return (*about, store)


def _store_words(page: ClusterPage) -> str:
    """Say how the results store is."""
    waiting = f", {page.unarchived} finished tasks wait for it" if page.unarchived else ""
    room = f", {format_size(page.store_bytes)}" if page.store_bytes else ""
    return f"{page.store or 'none'}{room}{waiting if page.store else ''}"


# --- operation --------------------------------------------------------------------------------------------


@click.command()
@click.argument("file", required=False)
@click.option("--json", "_as_json", is_flag=True, help="A dump is JSON in any case.")
@cluster_options
def dump(place: Place, file: str | None, _as_json: bool) -> int:  # noqa: FBT001 (click passes it by name)
    """Write the leader's whole state (queue, attempts, workers, counters) as JSON to FILE, or to stdout."""
    with place.client() as client:
        data = client.dump()
    if file in (None, "-"):
        out.write_all(1, data + b"\n")
        return 0
    # Commands and environments of all users are in it: for the caller's eyes only.
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as target:  # noqa: PTH123
        target.write(data + b"\n")
    out.say(f"wrote {len(data) + 1} bytes to {file}")
    return 0
