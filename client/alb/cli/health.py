"""``alb health``: whether one broker or one worker does its part; for health checks and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from alb.cli import out
from alb.cli.options import Place, cluster_options, json_option, nameable_host
from alb.cli.statuses import NO_STATUS
from alb_core.config import expand_name
from alb_core.errors import CoordinationError
from alb_core.ids import is_name

if TYPE_CHECKING:
    from alb.api.client import Client

GREETING_S: Final = 2.0
#: A broker's loop answers at once; one that loads a large table is not healthy yet.


@click.command()
@click.argument("role", type=click.Choice(["broker", "worker"]))
@click.argument("name", envvar="ALB_NAME")
@json_option
@cluster_options
def health(place: Place, role: str, name: str, *, as_json: bool) -> int:
    """Tell whether the broker or worker NAME does its part; NAME may come from $ALB_NAME.

    A broker is healthy when its ZooKeeper session lives, its loop answers, and it leads or knows who does. A
    worker is healthy when its session lives and the leader, if there is one that answers, hears it.

    Exit status: 0 healthy, 1 not; 125 where ZooKeeper cannot be asked.
    """
    name = expand_name(name, nameable_host())
    if not is_name(name):
        raise click.BadParameter(
            f"{name!r} can be the name of no {role}: letters, digits, '_', '.', '-', at most 64"
        )
    with place.client() as client:
        healthy, text = _broker(client, name, place) if role == "broker" else _worker(client, name)
    if as_json:
        out.emit_json({"role": role, "name": name, "healthy": healthy, "text": text})
    else:
        out.echo(f"{role} {name}: {text}")
    return 0 if healthy else NO_STATUS


def _broker(client: Client, name: str, place: Place) -> tuple[bool, str]:
    from alb.shell.greeting import greet  # noqa: PLC0415
    from alb_core.messages import Welcome  # noqa: PLC0415

    leader, nodes = client.brokers()
    node = next((node for node in nodes if node.broker == name), None)
    if node is None:
        return False, "not registered in ZooKeeper: it does not run, or has no session"
    leads = leader is not None and leader.incarnation == node.incarnation
    answer = greet(node.clients, client.config.user, min(GREETING_S, place.connect_timeout))
    if answer is None:
        return False, f"registered, but does not answer on {node.clients}"
    if isinstance(answer, Welcome):
        return True, f"leads, epoch {leader.epoch}" if leads and leader is not None else "leads"
    if leader is None:
        return False, "has a session, but nobody leads"
    return True, f"stands by, {answer.broker or leader.broker} leads"


def _worker(client: Client, name: str) -> tuple[bool, str]:
    leader, node = client.worker_node(name)
    if node is None:
        return False, "not registered in ZooKeeper: it does not run, or has no session"
    if leader is None:
        return True, "registered; nobody leads at the moment"
    try:
        lines = client.workers([name])
    except CoordinationError:
        return True, f"registered; the leader {leader.broker} does not answer at the moment"
    if not lines or not lines[0].link:
        return False, f"registered, but the leader {leader.broker} does not hear it"
    line = lines[0]
    drained = ", drained" if line.drain is not None else ""
    return True, f"registered with {leader.broker}, {line.running} running{drained}"
