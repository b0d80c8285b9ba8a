"""``alb wait``, ``alb cancel``: verbs about tasks and arrays that were submitted before."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_futures
from typing import TYPE_CHECKING, Any

import click

from alb.api.array import ArrayFuture
from alb.cli import out
from alb.cli.array_views import find_array, first_failure
from alb.cli.attendance import POLL_S, Patience, conclude
from alb.cli.forms import result_form
from alb.cli.options import Place, cluster_options, json_option
from alb.cli.progress import Progress, state_words
from alb.cli.short_ids import resolve
from alb.cli.statuses import TIMED_OUT_STATUS
from alb.cli.story import Story
from alb.cli.values import DURATION
from alb_core.errors import TaskGone
from alb_core.tasks import TaskState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alb.api.client import Client
    from alb.api.future import TaskFuture


@click.command()
@click.argument("ids", nargs=-1, required=True)
@click.option("--any", "any_", is_flag=True, help="Until the first of them has ended.")
@click.option("--timeout", type=DURATION, help="Give up after so long, with exit status 124.")
@click.option("-q", "--quiet", is_flag=True, help="Do not tell how far an array is.")
@json_option
@cluster_options
def wait(  # noqa: PLR0913 (one parameter an option)
    place: Place, ids: Sequence[str], *, any_: bool, timeout: float | None, quiet: bool, as_json: bool
) -> int:
    """Wait until the tasks and arrays IDS have ended. Tasks that left the table are asked of the store.

    Exit status: that of the task, or of the first index of an array that did not end well; of several IDS,
    the first that is not 0 (--any: of the one that ended first).
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    progress = Progress(wanted=not quiet)
    story = Story(progress.say, time.monotonic)
    with place.client(story.tell) as client:
        patience = Patience(client, story, place.connect_timeout)
        futures = [_follow(client, resolve(client, text)) for text in dict.fromkeys(ids)]
        pending: set[Future[Any]] = set(futures)
        while pending and not (any_ and len(pending) < len(futures)):
            patience.check()
            if deadline is not None and time.monotonic() > deadline:
                progress.say(f"{len(pending)} of {len(futures)} tasks have not ended")
                return TIMED_OUT_STATUS
            pending -= wait_futures(pending, POLL_S, FIRST_COMPLETED).done
            arrays = [future for future in pending if isinstance(future, ArrayFuture)]
            progress.update(arrays[0].line if arrays else None)
        progress.close()
        ended = [future for future in futures if future not in pending]
        if as_json:
            out.emit_json([_form(future) for future in ended])
        statuses = [_conclude(client, future) for future in ended]
        return next((status for status in statuses if status), 0)


def _follow(client: Client, named: str) -> TaskFuture | ArrayFuture:
    """Return the future of a task or an array."""
    if find_array(client, named) is not None:
        return client.attach_array(named, results=False)
    return client.attach(named, output=False)


def _form(future: TaskFuture | ArrayFuture) -> Any:
    return future.result() if isinstance(future, ArrayFuture) else result_form(future)


def _conclude(client: Client, future: TaskFuture | ArrayFuture) -> int:
    """Say how it ended, where its exit status alone does not, and return that status."""
    if not isinstance(future, ArrayFuture):
        return conclude(future)
    line = future.result()
    if line.state is not TaskState.SUCCEEDED:
        why = f" ({line.why})" if line.why else ""
        out.say(f"array {line.id}: {line.state.value}, {state_words(line)}{why}")
    return first_failure(client, line.id)


@click.command()
@click.argument("ids", nargs=-1, required=True)
@json_option
@cluster_options
def cancel(place: Place, ids: Sequence[str], *, as_json: bool) -> int:
    """End the tasks and arrays IDS; of an array some, as in ARRAY.5-10,20. What has ended stays so."""
    with place.client() as client:
        chosen = [_parts(client, text) for text in dict.fromkeys(ids)]
        for named, indexes in chosen:
            client.cancel(named, indexes or None)
        if as_json:
            forms = [
                {"id": _words(named, indexes), "state": _state(client, named, indexes).value}
                for named, indexes in chosen
            ]
            out.emit_json(forms)
            return 0
        for named, indexes in chosen:
            state = _state(client, named, indexes)
            word = "cancellation noted" if not state.terminal else state.value
            out.echo(f"{_words(named, indexes)} {word}")
    return 0


def _parts(client: Client, text: str) -> tuple[str, str]:
    """Return a task or array, and which indexes of it are meant; empty: all."""
    head, dot, indexes = text.partition(".")
    named = resolve(client, head)
    if dot and not indexes:
        raise click.BadParameter(f"{text!r} names no index: write {head} or {head}.5-10,20")
    return named, indexes


def _words(named: str, indexes: str) -> str:
    return f"{named}.{indexes}" if indexes else named


def _state(client: Client, named: str, indexes: str) -> TaskState:
    if indexes:
        return client.array_line(named).state
    try:
        return client.task(named).state
    except TaskGone:
        found = find_array(client, named)
        if found is None:
            raise
        return found.array.state
