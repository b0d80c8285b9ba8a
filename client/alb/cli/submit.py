"""``alb submit``: run a command on the cluster as if it ran here."""

from __future__ import annotations

import os
import time
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any

import click

from alb.cli import out
from alb.cli.attendance import POLL_S, Attendance, Patience, Pump
from alb.cli.forms import result_form
from alb.cli.options import Place, cluster_options, json_option
from alb.cli.story import Story
from alb.cli.values import BANDWIDTH, DURATION, SETTING, SIZE

if TYPE_CHECKING:
    from alb.api.client import Client
    from alb.api.future import TaskFuture


@click.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.option(
    "-c",
    "--cpus",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    help="Processors; may be a fraction.",
)
@click.option("--mem", "memory", type=SIZE, default=0, help="Memory to reserve, for example 4G.")
@click.option(
    "--net", type=BANDWIDTH, default=0, help="Bandwidth to reserve, for example 100M (bits per second)."
)
@click.option(
    "-t", "--time-limit", "--time", type=DURATION, help="Wall-clock limit: 90, 10m, 1h30m, HH:MM:SS."
)
@click.option("--grace", type=DURATION, default=5.0, help="Between TERM and KILL at the limit.")
@click.option("-p", "--priority", type=click.IntRange(-(2**31), 2**31 - 1), default=0, help="Higher first.")
@click.option("--env", type=SETTING, multiple=True, help="KEY=VALUE, or KEY to copy it from here.")
@click.option("-D", "--cwd", help="Directory on the worker. Else a fresh one.")
@click.option("-J", "--name", default="", help="A name for people.")
@click.option("--label", "labels", multiple=True, help="The worker must carry it: KEY or KEY=VALUE.")
@click.option(
    "--on-lost", type=click.Choice(["rerun", "fail"]), default="rerun", help="If its worker is lost."
)
@click.option(
    "--id",
    "task_id",
    help="32 hex digits of your own; as long as the table keeps it, the same id is the same task.",
)
@click.option("--detach", is_flag=True, help="Print the id once the task is accepted, and leave.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors.")
@json_option
@cluster_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def submit(
    place: Place, command: tuple[str, ...], *, detach: bool, quiet: bool, as_json: bool, **options: Any
) -> int:
    """Run COMMAND on the cluster; its output and exit status come back.

    One argument is a shell command line, several are a program and its arguments.

    Exit status: the command's own; 128+N killed by signal N; 124 time limit; 125 alb failed; 126 not
    executable; 127 not found; 130 cancelled by a second Ctrl-C.
    """
    options["env"] = _environment(options["env"])
    options["id"] = options.pop("task_id")
    what = command[0] if len(command) == 1 else command
    story = Story(_silence if quiet else out.say, time.monotonic)
    with place.client(story.tell) as client:
        patience = Patience(client, story, place.connect_timeout)
        if detach:
            future = client.submit(what, output=False, moves=True, **options)
            return _leave(client, future, patience, story, as_json=as_json)
        if as_json:
            future = client.submit(what, moves=True, **options)
            status = Attendance(client, future, patience, story).attend()
            out.emit_json(result_form(future))
            return status
        stream = client.stream(what, moves=True, **options)
        return Attendance(client, stream, patience, story, Pump(stream, out.DESCRIPTORS)).attend()


def _leave(client: Client, future: TaskFuture, patience: Patience, story: Story, *, as_json: bool) -> int:
    """Wait until the task is accepted, and print its id."""
    while story.placed is None and not future.done():
        patience.check()
        wait({future}, POLL_S)
    if future.done():
        future.result()
    client.detach(future)
    if as_json:
        out.emit_json({"id": future.id})
    else:
        out.echo(future.id)
    return 0


def _silence(_line: str) -> None:
    """Say nothing."""


def _environment(settings: tuple[tuple[str, str | None], ...]) -> dict[str, str]:
    env: dict[str, str] = {}
    for key, value in settings:
        here = os.environ.get(key) if value is None else value
        if here is None:
            raise click.BadParameter(f"{key} is not set here; write {key}=VALUE", param_hint="--env")
        env[key] = here
    return env
