"""``alb drain`` and ``alb undrain``: take workers out of service, and put them back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from alb.cli import out
from alb.cli.options import Place, cluster_options, json_option
from alb.cli.statuses import NO_STATUS
from alb.cli.values import DURATION, format_clock
from alb_core.errors import CoordinationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alb.api.client import Client
    from alb_core.messages import WorkerLine, WorkersPage

POLL_S: Final = 0.5


@click.command()
@click.argument("workers", nargs=-1, required=True)
@click.option("--reason", default="", help="For whoever wonders; `alb workers` shows it.")
@click.option(
    "--deadline",
    type=DURATION,
    help="After so long, tasks that still run there are ended and run elsewhere. Else they end there.",
)
@click.option("--detach", is_flag=True, help="Do not wait until the workers are empty.")
@json_option
@cluster_options
def drain(  # noqa: PLR0913 (one parameter an option)
    place: Place,
    workers: Sequence[str],
    *,
    reason: str,
    deadline: float | None,
    detach: bool,
    as_json: bool,
) -> int:
    """Give WORKERS nothing new, and wait until they are empty.

    What runs there ends there, or, after --deadline, runs again elsewhere (never what was submitted with
    `--on-lost fail`). The drain stays in force, also when leaders or the workers themselves are started
    again, until `alb undrain`. Draining again changes reason or deadline if they are given. Ctrl-C stops the
    waiting only. Output that is longer than its result holds stays in an empty worker's spool: fetch what you
    want before you remove the machine.

    Exit status: 0 when all are empty (or marked, with --detach); 1 when one was lost before it was empty, or
    somebody else ended its drain.
    """
    names = tuple(dict.fromkeys(workers))
    good, tell = True, out.say if as_json else out.echo  # JSON stands on stdout alone
    with place.client() as client:
        client.drain(names, reason=reason, deadline=deadline)
        if detach:
            for name in names:
                out.say(f"{name} is given nothing new")
        else:
            good = _wait_until_empty(client, names, tell)
        if as_json:
            out.emit_json(client.workers(names))
    return 0 if good else NO_STATUS


def _wait_until_empty(client: Client, names: Sequence[str], tell: Callable[[str], None]) -> bool:
    """Wait, and say what is left whenever that changes; returns whether all became empty while drained."""
    said = dict.fromkeys(names, "")  # what was told last of each that is not empty
    good = True
    try:
        while said:
            page = _ask(client, tuple(said))
            lines = {line.worker: line for line in page.workers}
            for name in list(said):
                end = _end(name, lines.get(name), page, tell, had_tasks=bool(said[name]))
                if end is not None:
                    good = end and good
                    del said[name]
                elif said[name] != (left := _left(lines[name])):
                    said[name] = left
                    out.say(f"{name}: {left}")
            if said:
                time.sleep(POLL_S)
    except KeyboardInterrupt:
        out.say(f"stopped waiting for {', '.join(said)}; the drain stays in force until `alb undrain`")
        raise
    return good


def _end(
    name: str, line: WorkerLine | None, page: WorkersPage, tell: Callable[[str], None], *, had_tasks: bool
) -> bool | None:
    """Say how the waiting for one worker ends, if it does; returns whether that is well, None: wait on."""
    drain = page.absent.get(name) if line is None else line.drain
    if drain is None:
        out.say(f"{name} was put to work again by somebody else")
        return False
    if line is None and had_tasks:
        out.say(
            f"{name} is lost before it was empty: what it ran may still run there, and runs again elsewhere"
        )
        return False
    if line is None:
        tell(f"{name} is drained and not there")
        return True
    if _left(line):
        return None
    tell(f"{name} is drained and empty")
    return True


def _ask(client: Client, names: Sequence[str]) -> WorkersPage:
    """Return what the leader knows of these workers; waits for a leader if there is none."""
    silent = False
    while True:
        try:
            return client.workers_page(names)
        except CoordinationError as error:
            if not silent:
                out.say(f"{error}; waiting on")
            silent = True


def _left(line: WorkerLine) -> str:
    """Return what is left on a worker, for people; empty: nothing."""
    count = line.running + line.ahead + line.foreign + line.storing
    return f"{count} task{'s' if count > 1 else ''} left" if count else ""


@click.command()
@click.argument("workers", nargs=-1, required=True)
@json_option
@cluster_options
def undrain(place: Place, workers: Sequence[str], *, as_json: bool) -> int:
    """Give WORKERS tasks again.

    What else keeps tasks from one, a quarantine or that it is not heard, is said.
    """
    names = tuple(dict.fromkeys(workers))
    with place.client() as client:
        before = client.workers_page(names)
        client.undrain(names)
        after = client.workers_page(names)
    if as_json:
        out.emit_json(after.workers)
        return 0
    drained = before.absent.keys() | {line.worker for line in before.workers if line.drain is not None}
    lines = {line.worker: line for line in after.workers}
    for name in names:
        if name not in drained:
            out.echo(f"{name} was not drained{_but(lines.get(name))}")
        elif but := _but(lines.get(name)):
            out.echo(f"{name} is drained no more{but}")
        else:
            out.echo(f"{name} is given tasks again")
    return 0


def _but(line: WorkerLine | None) -> str:
    """Return what else keeps tasks from a worker, as the end of a sentence; empty: nothing does."""
    if line is None:
        return ", but it is not there"
    if not (line.session and line.link):
        return ", but it is not heard"
    if line.quarantine is not None:
        return f", but in quarantine until {format_clock(line.quarantine.until)}: {line.quarantine.why}"
    return ""
