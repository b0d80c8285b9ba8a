"""Options that several verbs share, and the client that they lead to."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from alb.cli import out
from alb.cli.values import DURATION

if TYPE_CHECKING:
    from alb.api.client import Client
    from alb.core.notices import AnyNotice

F = TypeVar("F", bound=Callable[..., Any])

zk_option = click.option(
    "--zk", metavar="HOSTS", help="ZooKeeper servers, host:2181,host:2181[/chroot]. Else $ALB_ZK."
)
FIRST_ANSWER_S: Final = 10.0
#: A failover is over by then, also from a leader that hangs (docs/failures.md): who submits meanwhile waits
#: for the next one, and who mistyped an address is not kept for long.

connect_timeout_option = click.option(
    "--connect-timeout",
    type=DURATION,
    default=FIRST_ANSWER_S,
    help=f"How long to wait for ZooKeeper and a leader: {FIRST_ANSWER_S:g} s unless given.",
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
    @connect_timeout_option
    @functools.wraps(verb)
    def wrapped(zk: str | None, user: str | None, connect_timeout: float, **rest: Any) -> Any:
        return verb(place=Place(zk, user, connect_timeout), **rest)

    return wrapped  # type: ignore[return-value]  # click's decorators keep the verb's own form


def nameable_host() -> str:
    """Return this host's name, in the letters that the name of a broker or a worker may have."""
    from alb_core.io.clock import host_name  # noqa: PLC0415

    return re.sub(r"[^A-Za-z0-9_.-]", "-", host_name())[:48]
