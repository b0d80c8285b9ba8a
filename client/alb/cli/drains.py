"""``alb drain`` and ``alb undrain``: take workers out of service, and put them back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from alb.cli import out
from alb.cli.options import Place, cluster_options, json_option
from alb.cli.values import DURATION
from alb_core.errors import CoordinationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alb.api.client import Client
    from alb_core.messages import WorkerLine

POLL_S: Final = 0.5
INTERRUPTED_STATUS: Final = 130
UNDRAINED_STATUS: Final = 1
#: Somebody else ended the drain that is waited for.


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
    again, until `alb undrain`. Ctrl-C stops the waiting only. Output that is longer than its result holds
    stays in an empty worker's spool: fetch what you want before you remove the machine.

    Exit status: 0 when all are empty (or marked, with --detach), 1 when somebody else ended a drain.
    """
    names = tuple(dict.fromkeys(workers))
    with place.client() as client:
        client.drain(names, reason=reason, deadline=deadline)
        if detach:
            for name in names:
                out.say(f"{name} is given nothing new")
        elif not _wait_until_empty(client, names):
            return UNDRAINED_STATUS
        if as_json:
            out.emit_json(client.workers(names))
    return 0


def _wait_until_empty(client: Client, names: Sequence[str]) -> bool:
    """Wait, and say what is left whenever that changes; returns whether all became empty while drained."""
    said = dict.fromkeys(names, "")  # what was told last of each that is not empty
    try:
        while said:
            lines = _ask(client, tuple(said))
            undrained = [name for name, line in lines.items() if line.drain is None]
            if undrained:
                out.say(f"{undrained[0]} was put to work again by somebody else")
                return False
            for name in list(said):
                if _tell(name, lines.get(name), said):
                    del said[name]
            if said:
                time.sleep(POLL_S)
    except KeyboardInterrupt:
        out.say(f"stopped waiting for {', '.join(said)}; the drain stays in force until `alb undrain`")
        raise
    return True


def _ask(client: Client, names: Sequence[str]) -> dict[str, WorkerLine]:
    """Return the workers that the leader knows of these; waits for a leader if there is none."""
    silent = False
    while True:
        try:
            return {line.worker: line for line in client.workers(names)}
        except CoordinationError as error:
            if not silent:
                out.say(f"{error}; waiting on")
            silent = True


def _tell(name: str, line: WorkerLine | None, said: dict[str, str]) -> bool:
    """Tell what is left on a worker, if that is news; returns whether nothing is."""
    left = _left(line)
    if not left:
        out.echo(f"{name} is drained and {'empty' if line is not None else 'gone'}")
    elif left != said[name]:
        said[name] = left
        out.say(f"{name}: {left}")
    return not left


def _left(line: WorkerLine | None) -> str:
    """Return what is left on a worker, for people; empty: nothing."""
    if line is None:
        return ""
    count = line.running + line.ahead
    return f"{count} task{'s' if count > 1 else ''} left" if count else ""


@click.command()
@click.argument("workers", nargs=-1, required=True)
@json_option
@cluster_options
def undrain(place: Place, workers: Sequence[str], *, as_json: bool) -> int:
    """Give WORKERS tasks again."""
    names = tuple(dict.fromkeys(workers))
    with place.client() as client:
        client.undrain(names)
        if as_json:
            out.emit_json(client.workers(names))
        else:
            for name in names:
                out.echo(f"{name} is not drained")
    return 0
