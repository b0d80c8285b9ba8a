"""Ids as people write them: a few digits, from the beginning of the id or, better, from its end.

An id begins with the time of its making, so those of one minute begin alike. It ends at random: four digits
tell a task from some hundred others.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final

import click

from alb_core import ids
from alb_core.errors import InvalidTask, TaskGone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alb.api.client import Client

SHOWN: Final = 3
#: Of the ids that begin or end alike.
PAST_PAGES: Final = 50
#: Of the results store, 200 tasks each: an ending is looked for in these, the newest. No store has an index
#: of endings, and who asks for what is older has its id from a list.


def resolve(client: Client, text: str) -> str:
    """Return the one task or array whose id begins or ends with a text: in the table, else in history.

    The index of a task of an array follows the id of that, or its beginning or end, after a dot.

    Raises:
        click.BadParameter: It is nothing that an id could begin or end with.
        TaskGone: None does.
        InvalidTask: Several do.
    """
    if ids.is_task_id(text):
        return text
    head, dot, index = text.partition(".")
    if not ids.is_part(head) or (dot and not index.isdigit()):
        raise click.BadParameter(
            f"{text!r} is no task id: those have 32 lower-case hex digits, of which the last few will do"
        )
    if dot:
        return f"{resolve(client, head)}.{index}"
    found = {each.id: each.state.value if each.state else "ended" for each in client.named(text)}
    where = "in the table"
    if not found:
        with suppress(InvalidTask):  # there is no results store
            found = dict(islice(_past(client, text), SHOWN + 1))
            where = f"in the table, or the newest {PAST_PAGES * 200:,} in history,"
    if not found:
        raise TaskGone("", f"no task {where} has an id that begins or ends with {text!r}")
    if len(found) > 1:
        some = ", ".join(f"{name} ({state})" for name, state in list(found.items())[:SHOWN])
        more = " …" if len(found) > SHOWN else ""
        raise InvalidTask("", f"several ids begin or end with {text!r}; write more of the end: {some}{more}")
    return next(iter(found))


def _past(client: Client, text: str) -> Iterator[tuple[str, str]]:
    """Yield the finished tasks that are named so, with their states; of arrays' tasks the array is meant."""
    seen = set()
    begun, ended = client.history(prefix=text), client.history(ending=text, pages=PAST_PAGES)
    for found in (begun, ended):
        for row in found:
            if "." not in row.task and row.task not in seen:
                seen.add(row.task)
                yield row.task, row.state
