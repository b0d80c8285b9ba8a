"""``alb share``: what each user may have of the cluster, and has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from alb.cli import out
from alb.cli.options import Place, cluster_options, json_option
from alb.cli.values import SIZE, format_size
from alb_core.shares import NO_SHARE, Share

if TYPE_CHECKING:
    from alb_core.messages import SharesPage, UserLine

DEFAULT = "(others)"
#: Stands for everybody who is not named.


@click.command()
@click.argument("action", type=click.Choice(["show", "set", "unset"]), default="show")
@click.argument("who", metavar="[USER]", required=False)
@click.option("--default", is_flag=True, help="Everybody who is not named, in place of a USER.")
@click.option("--weight", type=click.FLOAT, help="He is entitled to so many times what weight 1 gets.")
@click.option("--cpus-max", type=click.FLOAT, help="That his running tasks reserve together; the rest waits.")
@click.option("--mem-max", type=SIZE, help="Memory that they reserve together.")
@click.option(
    "--tasks-max", type=click.INT, help="Of his that wait or run; a further submission has to wait."
)
@json_option
@cluster_options
def share(place: Place, action: str, who: str | None, *, default: bool, as_json: bool, **changes: Any) -> int:
    """Show what each user may have of the cluster, and has; or set, or unset, what USER may have.

    Whoever has the smallest share goes first: the largest part that his tasks reserve of all cpus, memory,
    bandwidth or counts, over his weight; what is demoted counts as before. What `set` does not say stays as
    it is; after `unset` he may have what everybody may. For example
    `alb share set ann --weight 2 --cpus-max 40 --tasks-max 100000`.

    SHARE is that part, CPUS and MEMORY what a user reserves, of what he may, and TASKS how many of his are in
    the table without a result. An array counts as one where tasks are bounded, and not at all in the list.
    """
    wanted = {
        "weight": changes["weight"],
        "cpus_max": changes["cpus_max"],
        "memory_bytes_max": changes["mem_max"],
        "tasks_max": changes["tasks_max"],
    }
    wanted = {field: value for field, value in wanted.items() if value is not None}
    _check_words(action, who, wanted, default=default)
    with place.client() as client:
        if action != "show":
            node, name = client.shares().shares, who or ""
            before = node.users.get(name, NO_SHARE) if name else node.default
            client.set_share(name, msgspec.structs.replace(before, **wanted) if action == "set" else None)
            if action == "unset" and before == NO_SHARE:
                out.say(f"nothing was set for {name or 'those who are not named'}; nothing has changed")
        if action == "show" or as_json:
            _show(client.shares(), as_json=as_json)
    return 0


def _check_words(action: str, who: str | None, wanted: dict[str, Any], *, default: bool) -> None:
    """Raise click.UsageError for what does not go together."""
    if action == "show":
        if who is not None or default or wanted:
            raise click.UsageError(
                "`alb share` shows everybody; to change something write `alb share set USER …` or "
                "`alb share unset USER`"
            )
        return
    if bool(who) is default:
        raise click.UsageError("name one USER, or --default for everybody who is not named")
    if action == "set" and not wanted:
        raise click.UsageError("say what he may have: --weight, --cpus-max, --mem-max, --tasks-max")
    if action == "unset" and wanted:
        raise click.UsageError("unset takes back all that is said of him; set changes some of it")


def _show(page: SharesPage, *, as_json: bool) -> None:
    """Write who may have, and has, what."""
    if as_json:
        out.emit_json(page)
    else:
        columns = ("USER", "SHARE", "WEIGHT", "RUNNING", "CPUS", "MEMORY", "TASKS")
        out.emit_table(columns, _rows(page), empty="")


def _rows(page: SharesPage) -> list[tuple[str, ...]]:
    """Return a row for everybody who has something, then for who is named, then for all others."""
    from alb_core.messages import UserLine  # noqa: PLC0415

    there = {line.user for line in page.users}
    idle = [UserLine(user=user) for user in page.shares.users if user not in there]
    rows = [_row(line, page.shares.of(line.user)) for line in (*page.users, *idle)]
    others = page.shares.default
    limits = (_of("", others.cpus_max), _of("", _size(others.memory_bytes_max)), _of("", others.tasks_max))
    return [*rows, (DEFAULT, "", f"{others.weight or 1.0:g}", "", *limits)]


def _row(line: UserLine, own: Share) -> tuple[str, ...]:
    part = f"{line.share:.1%} ({line.dominant.removesuffix('_bytes')})" if line.dominant else "0"
    return (
        line.user,
        part,
        f"{own.weight or 1.0:g}",
        str(line.running),
        _of(f"{line.cpus:g}", own.cpus_max),
        _of(format_size(line.memory_bytes), _size(own.memory_bytes_max)),
        _of(str(line.tasks), own.tasks_max),
    )


def _size(size_bytes: int | None) -> str | None:
    return None if size_bytes is None else format_size(size_bytes)


def _of(has: str, most: float | str | None) -> str:
    """Return what somebody has, of what he may have."""
    if most is None:
        return has
    return f"{has}/{most if isinstance(most, str) else f'{most:g}'}"
