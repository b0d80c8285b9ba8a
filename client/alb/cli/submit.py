"""``alb submit``: run a command on the cluster as if it ran here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from alb.cli import out
from alb.cli.array_words import Given
from alb.cli.attendance import POLL_S, Attendance, Patience, Pump
from alb.cli.forms import result_form
from alb.cli.options import Place, cluster_options, json_option
from alb.cli.outputs import tell_missing
from alb.cli.returns import bring_back
from alb.cli.standard_input import given_stdin
from alb.cli.story import Story
from alb.cli.submit_options import (
    execution_options,
    failure_options,
    file_options,
    identity_options,
    kind_options,
    limit_options,
    repetition_options,
    resource_options,
    retry_options,
    start_options,
    watching_options,
)
from alb.cli.values import format_clock
from alb.cli.workflow import resolved
from alb.core.notices import TaskPlaced
from alb_core.kinds import COMMAND_KIND
from alb_core.tasks import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable

    from alb.api.client import Client
    from alb.api.future import TaskFuture
    from alb.api.options import Command
    from alb.core.notices import AnyNotice
    from alb_core.messages import TaskLine


@click.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@resource_options
@limit_options
@execution_options
@failure_options
@retry_options
@start_options
@identity_options
@repetition_options
@file_options
@kind_options
@watching_options
@json_option
@cluster_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def submit(  # noqa: PLR0913 (one parameter an option)
    place: Place,
    command: tuple[str, ...],
    task_id: str | None,
    lines: BinaryIO | None,
    indexes: str | None,
    *,
    at_once: int | None,
    max_fails: int | None,
    keep_order: bool,
    return_dir: str,
    incremental: bool,
    increments: bool,
    detach: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Run COMMAND on the cluster; its output and exit status come back.

    One argument is a shell command line, several are a program and its arguments. With --array there is a
    task for each index, with --each-line for each line of a file, and with `COMMAND ::: a b c` for each word
    after the colons: all of them one array (alb tasks, status, wait, attach, cancel, retry know its id). In
    COMMAND {#} stands for the index and {} for the line or word, which comes last where there is no {};
    without COMMAND each one is a shell command line of its own. With --binary COMMAND is the arguments of the
    program that is shipped.

    Exit status: the command's own; 128+N killed by signal N; 124 time limit; 125 alb itself failed, wrong
    usage included; 126 not executable; 127 not found; 130 cancelled by a second Ctrl-C. Of many tasks, that
    of the first line or index that failed.
    """
    say = out.silence if quiet else out.say
    options["stdin"] = given_stdin(options["stdin"], lines)
    given = Given(command, indexes, lines, task_id, at_once, max_fails, keep_order=keep_order)
    given.check(incremental=incremental, increments=increments)
    how: dict[str, Any] = {"detach": detach, "as_json": as_json, "return_dir": return_dir}
    if lines is not None and incremental:
        return _run_lines(place, command, options, lines, say, how)
    if given.many:
        from alb.cli.array import run_array  # noqa: PLC0415 (a single task starts without it)

        return run_array(place, given.wanted(quiet=quiet, **how), options)
    how |= {"incremental": incremental, "increments": increments, "quiet": quiet}
    return _run_one(place, _what(command, options), options, task_id, say, how)


def _run_one(  # noqa: PLR0913, PLR0917 (what was asked for)
    place: Place,
    what: Command,
    options: dict[str, Any],
    task_id: str | None,
    say: Callable[[str], None],
    how: dict[str, Any],
) -> int:
    """Run a single command."""
    as_json, return_dir = how["as_json"], how["return_dir"]
    story = Story(say, time.monotonic)
    with place.client(story.tell) as client:
        patience = Patience(client, story, place.connect_timeout)
        options["after"] = resolved(client, options["after"])
        earlier = _earlier(client, what, options, say) if how["incremental"] else None
        if how["detach"] and earlier is not None:
            return _print_id(earlier.id, as_json=as_json)
        if how["detach"]:
            future = client.submit(what, id=task_id, output=False, moves=True, **options)
            return _leave(client, future, patience, story, as_json=as_json)
        if as_json:
            if earlier is not None:
                future = client.attach(earlier.id)
            else:
                future = client.submit(what, id=task_id, moves=True, **options)
            status = Attendance(client, future, patience, story, joined=earlier is not None).attend()
            return _give_json(future, return_dir, status, skipped=earlier is not None)
        if earlier is not None:
            stream = client.attach_stream(earlier.id, moves=True)
        else:
            stream = client.stream(what, id=task_id, moves=True, **options)
        with _reporting(client, stream.id, wanted=how["increments"]):
            pump = Pump(stream, out.DESCRIPTORS)
            status = Attendance(client, stream, patience, story, pump, joined=earlier is not None).attend()
        tell_missing(stream)
        return bring_back(stream, return_dir, status, quiet=how["quiet"])


def _what(command: tuple[str, ...], options: dict[str, Any]) -> Command:
    """Return what is to be run: a shell's line, words, or the arguments of a program that comes along."""
    if options["binary"]:
        return command
    if not command and options["kind"] != COMMAND_KIND:
        return (options["kind"],)
    if not command:
        raise click.UsageError("which COMMAND? give a shell command line, or a program and its arguments")
    return command[0] if len(command) == 1 else command


@contextmanager
def _reporting(client: Client, task_id: str, *, wanted: bool) -> Iterator[None]:
    """Tell what a task reports, for the time of a block."""
    if not wanted:
        yield
        return
    from alb.cli.increments import Reporter  # noqa: PLC0415 (only who asks for it pays)

    reporter = Reporter(client, task_id)
    reporter.start()
    try:
        yield
    finally:
        reporter.finish()


def _earlier(client: Client, what: Command, options: Any, say: Callable[[str], None]) -> TaskLine | None:
    """Return a task that did the same well, or waits or runs, and say so."""
    (found,) = client.find_earlier([what], **options)
    if found is not None and found.state is TaskState.SUCCEEDED:
        say(f"skipped: task {found.id} did this well, {format_clock(found.finished)}; here is its output")
    elif found is not None:
        say(f"not run twice: task {found.id} does this, it is {found.state.value}")
    elif not client.cluster().store:
        say("the cluster has no results store: finished tasks count only while they are in its table")
    return found


def _run_lines(  # noqa: PLR0913, PLR0917 (what was asked for)
    place: Place,
    template: tuple[str, ...],
    options: dict[str, Any],
    lines: BinaryIO,
    say: Callable[[str], None],
    how: dict[str, Any],
) -> int:
    from alb.cli.batch import CAPTURE_BYTES, Batch  # noqa: PLC0415 (a single task starts without it)

    batch = Batch(template, options, say=say, **how)
    story = Story(say, time.monotonic)

    def hear(notice: AnyNotice) -> None:
        batch.hear(notice)
        if not isinstance(notice, TaskPlaced):  # the story is of one task; here are many
            story.tell(notice)

    with place.client(hear, capture_bytes=CAPTURE_BYTES) as client:
        options["after"] = resolved(client, options["after"])
        return batch.run(client, Patience(client, story, place.connect_timeout), lines)


def _leave(client: Client, future: TaskFuture, patience: Patience, story: Story, *, as_json: bool) -> int:
    """Wait until the task is accepted, and print its id."""
    while story.placed is None and not future.done():
        patience.check()
        wait({future}, POLL_S)
    if future.done():
        future.result()
    client.detach(future)
    return _print_id(future.id, as_json=as_json)


def _give_json(future: TaskFuture, return_dir: str, status: int, *, skipped: bool) -> int:
    """Write a task's result, unless we leave before it is there."""
    if not future.done():
        return status
    status = bring_back(future, return_dir, status, quiet=True)
    out.emit_json(result_form(future, skipped=skipped))
    return status


def _print_id(task_id: str, *, as_json: bool) -> int:
    with out.told_anyway(f"task {task_id} was accepted, and goes on"):
        if as_json:
            out.emit_json({"id": task_id})
        else:
            out.echo(task_id)
    return 0
