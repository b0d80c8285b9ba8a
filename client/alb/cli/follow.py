"""``alb wait``, ``alb logs``, ``alb cancel``: verbs about tasks that were submitted before."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED
from concurrent.futures import wait as wait_futures
from typing import TYPE_CHECKING, Final

import click

from alb.cli import out
from alb.cli.attendance import POLL_S, Patience, conclude
from alb.cli.forms import result_form
from alb.cli.options import Place, cluster_options, json_option, resolve
from alb.cli.story import Story
from alb.cli.values import DURATION
from alb_core.tasks import TaskState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alb.api.client import Client

TIMED_OUT_STATUS: Final = 124
QUIET_S: Final = 0.7
#: Without --follow, a running task's output is shown until nothing came for so long.
NOT_WANTED: Final = 2**62
#: An offset behind every stream: nothing is sent of a stream that is read from here on.


@click.command()
@click.argument("ids", nargs=-1, required=True)
@click.option("--any", "any_", is_flag=True, help="Until the first of them has ended.")
@click.option("--timeout", type=DURATION, help="Give up after so long, with exit status 124.")
@json_option
@cluster_options
def wait(place: Place, ids: Sequence[str], *, any_: bool, timeout: float | None, as_json: bool) -> int:
    """Wait until the tasks IDS have ended. Those that have left the table are asked of the results store.

    Exit status: that of the task; of several, the first that is not 0 (--any: of the one that ended first).
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    story = Story(out.say, time.monotonic)
    with place.client(story.tell) as client:
        patience = Patience(client, story, place.connect_timeout)
        futures = [client.attach(resolve(client, text), output=False) for text in dict.fromkeys(ids)]
        pending = set(futures)
        while pending and not (any_ and len(pending) < len(futures)):
            patience.check()
            if deadline is not None and time.monotonic() > deadline:
                out.say(f"{len(pending)} of {len(futures)} tasks have not ended")
                return TIMED_OUT_STATUS
            pending -= wait_futures(pending, POLL_S, FIRST_COMPLETED).done
        ended = [future for future in futures if future not in pending]
        if as_json:
            out.emit_json([result_form(future) for future in ended])
        statuses = [conclude(future) for future in ended]
        return next((status for status in statuses if status), 0)


@click.command()
@click.argument("ids", nargs=-1, required=True)
@json_option
@cluster_options
def cancel(place: Place, ids: Sequence[str], *, as_json: bool) -> int:
    """End the tasks IDS. A task that has ended stays as it is."""
    with place.client() as client:
        chosen = [resolve(client, text) for text in dict.fromkeys(ids)]
        for task_id in chosen:
            client.cancel(task_id)
        if as_json:
            out.emit_json([{"id": task_id, "state": _state(client, task_id).value} for task_id in chosen])
        else:
            for task_id in chosen:
                state = _state(client, task_id)
                word = "cancellation noted" if not state.terminal else state.value
                out.echo(f"{task_id} {word}")
    return 0


def _state(client: Client, task_id: str) -> TaskState:
    return client.task(task_id).state
