"""``alb up`` and ``alb down``: a cluster on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from alb.cli import out
from alb.cli.options import json_option
from alb.cli.values import Number

folder_option = click.option(
    "--folder", type=click.Path(path_type=Path), help="Where it lives. Else $ALB_HOME or the state folder."
)


@click.command()
@click.option("--brokers", type=click.IntRange(1, 9), default=3, show_default=True)
@click.option("--workers", type=click.IntRange(0, 64), default=2, show_default=True)
@click.option("--zookeepers", type=click.Choice(["1", "3"]), default="1", show_default=True)
@click.option(
    "-c",
    "--cpus",
    type=Number(0, 1e6, min_open=True),
    default=2.0,
    show_default=True,
    help="Offered by each worker.",
)
@folder_option
@json_option
def up(  # noqa: PLR0913 (one parameter an option)
    folder: Path | None, brokers: int, workers: int, *, zookeepers: str, cpus: float, as_json: bool
) -> int:
    """Start a local cluster with a real ZooKeeper found on this machine."""
    from alb.local import cluster  # noqa: PLC0415 (brings in what only this verb needs)

    plan = cluster.Plan(brokers=brokers, workers=workers, zookeepers=int(zookeepers), cpus=cpus, store=True)
    leader = cluster.up(folder, plan, say=out.silence if as_json else out.echo)
    if as_json:
        state = cluster.read_state(folder or cluster.default_folder())
        out.emit_json({"zk": state.zk if state is not None else None, "leader": leader})
    return 0


@click.command()
@click.option("--purge", is_flag=True, help="Remove its data and logs too.")
@folder_option
@json_option
def down(folder: Path | None, *, purge: bool, as_json: bool) -> int:
    """End the local cluster: exactly the processes that `alb up` started."""
    from alb.local import cluster  # noqa: PLC0415

    ended = cluster.down(folder, purge=purge, say=out.silence if as_json else out.echo)
    if as_json:
        out.emit_json({"ended": ended})
    return 0
