"""Options that several verbs share, and the client that they lead to."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from alb.cli import out
from alb.cli.values import DURATION

if TYPE_CHECKING:
    from alb.api.client import Client
    from alb.core.notices import AnyNotice
    from alb_core.messages import TaskLine

F = TypeVar("F", bound=Callable[..., Any])
L = TypeVar("L")

AMBIGUOUS_SHOWN: Final = 3
#: Of the ids that a too short one begins.

zk_option = click.option(
    "--zk", metavar="HOSTS", help="ZooKeeper servers, host:2181,host:2181[/chroot]. Else $ALB_ZK."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON.")


class Place:
    """Where the cluster is, who asks, and how long to wait for a first answer.

    Args:
        zk: ZooKeeper servers; None: ``$ALB_ZK``.
        user: None: the login name.
        connect_timeout: In seconds.
    """

    def __init__(self, zk: str | None, user: str | None, connect_timeout: float) -> None:
        self.zk = zk
        self.user = user
        self.connect_timeout = connect_timeout

    @contextmanager
    def client(
        self, on_notice: Callable[[AnyNotice], None] | None = None, **settings: int
    ) -> Iterator[Client]:
        """Open a client for the time of a block, with further settings of it.

        Where nobody listens to its notices, it is said what takes long.
        """
        from alb.api.client import Client  # noqa: PLC0415 (after the arguments were understood)
        from alb.api.waits import Waits  # noqa: PLC0415

        hear = Waits(out.say).hear if on_notice is None else on_notice
        with Client(
            self.zk, user=self.user, timeout=self.connect_timeout, on_notice=hear, **settings
        ) as client:
            yield client


def cluster_options(verb: F) -> F:
    """Give a verb ``--zk --user --connect-timeout``; it gets them as `place`."""

    @zk_option
    @click.option("--user", help="Whose tasks. Else $ALB_USER or the login name.")
    @click.option(
        "--connect-timeout",
        type=DURATION,
        default=5.0,
        help="How long to wait for ZooKeeper and the leader: 5 s unless given.",
    )
    @functools.wraps(verb)
    def wrapped(zk: str | None, user: str | None, connect_timeout: float, **rest: Any) -> Any:
        return verb(place=Place(zk, user, connect_timeout), **rest)

    return wrapped  # type: ignore[return-value]  # click's decorators keep the verb's own form


def nameable_host() -> str:
    """Return this host's name, in the letters that the name of a broker or a worker may have."""
    from alb_core.io.clock import host_name  # noqa: PLC0415

    return re.sub(r"[^A-Za-z0-9_.-]", "-", host_name())[:48]


def resolve(client: Client, text: str) -> str:
    """Return the one task or array whose id begins with a text: in the table, else in history.

    The index of a task of an array follows the id of that, or its beginning, after a dot.

    Raises:
        click.BadParameter: None does, or several do.
    """
    from alb_core import ids  # noqa: PLC0415
    from alb_core.errors import InvalidTask  # noqa: PLC0415

    if ids.is_task_id(text):
        return text
    head, dot, index = text.partition(".")
    if not head or set(head) - set("0123456789abcdef") or (dot and not index.isdigit()):
        raise click.BadParameter(
            f"{text!r} is no task id: those have 32 lower-case hex digits, or less if unique"
        )
    if dot:
        return f"{resolve(client, head)}.{index}"
    found = {line.id: line.state.value for line in _some(client.arrays(prefix=text))}
    found |= {line.id: line.state.value for line in _some(_apart(client.tasks(prefix=text)))}
    where = "in the table"
    if not found:
        with suppress(InvalidTask):  # there is no results store
            past = (row for row in client.history(prefix=text) if "." not in row.task)
            found = {row.task: row.state for row in _some(past)}
            where = "in the table or in history"
    if not found:
        raise click.BadParameter(f"no task {where} has an id that begins with {text!r}")
    if len(found) > 1:
        some = ", ".join(f"{name} ({state})" for name, state in list(found.items())[:AMBIGUOUS_SHOWN])
        more = " …" if len(found) > AMBIGUOUS_SHOWN else ""
        raise click.BadParameter(f"{text!r} begins several ids: {some}{more}")
    return next(iter(found))


def _some(lines: Iterable[L]) -> Iterator[L]:
    return islice(lines, AMBIGUOUS_SHOWN + 1)


def _apart(lines: Iterator[TaskLine]) -> Iterator[TaskLine]:
    """Leave out the tasks of arrays: of those the array is meant."""
    return (line for line in lines if "." not in line.id)
