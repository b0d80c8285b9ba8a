"""``alb hold`` and ``alb release``: keep tasks and arrays from going on, and let them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from alb.cli import out
from alb.cli.options import Place, cluster_options, json_option
from alb.cli.short_ids import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alb.api.client import Client


@click.command()
@click.argument("ids", nargs=-1, required=True)
@json_option
@cluster_options
def hold(place: Place, ids: Sequence[str], *, as_json: bool) -> int:
    """Keep the tasks and arrays IDS, which wait, from being placed until `alb release`.

    A task that runs already is not held: `alb cancel` ends it. Of an array, what is not made yet is held;
    tasks of it that are in the table go on, and can be held by their own ids.
    """
    return _tell(place, ids, "held", lambda client, chosen: client.hold(chosen), as_json=as_json)


@click.command()
@click.argument("ids", nargs=-1, required=True)
@json_option
@cluster_options
def release(place: Place, ids: Sequence[str], *, as_json: bool) -> int:
    """Let the tasks and arrays IDS go on that were held, by `alb hold` or since their submission.

    Whatever else they wait for, other tasks or a time, they go on waiting for.
    """
    return _tell(place, ids, "released", lambda client, chosen: client.release(chosen), as_json=as_json)


def _tell(
    place: Place,
    ids: Sequence[str],
    word: str,
    ask: Callable[[Client, Sequence[str]], None],
    *,
    as_json: bool,
) -> int:
    with place.client() as client:
        chosen = [resolve(client, text) for text in dict.fromkeys(ids)]
        ask(client, chosen)
    if as_json:
        out.emit_json([{"id": task_id} for task_id in chosen])
    else:
        for task_id in chosen:
            out.echo(f"{task_id} {word}")
    return 0
