"""``alb limits``: what tasks are limited to that say nothing themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
import msgspec

from alb.cli import out
from alb.cli.options import Place, cluster_options, json_option
from alb.cli.values import DURATION, SIZE, format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alb_core.bounds import LimitsNode

SET: Final = "set"
UNSET: Final = "unset"


class Limit(NamedTuple):
    """One of the limits, as people name it."""

    field: str
    #: Of `LimitsNode`.
    kind: click.ParamType[Any]
    show: Callable[[Any], str]
    help: str


LIMITS: Final = {
    "time": Limit("time_limit_s", DURATION, format_duration, "of wall-clock time"),
    "cpu": Limit("cpu_s", DURATION, format_duration, "of processor time, all processes together"),
    "memory": Limit("memory_bytes", SIZE, format_size, "resident, all processes together"),
    "processes": Limit("processes", click.INT, str, "and threads at once"),
    "open-files": Limit("open_files", click.INT, str, "of each process"),
    "output": Limit("output_bytes", SIZE, format_size, "kept of each stream"),
    "scratch": Limit("scratch_bytes", SIZE, format_size, "in its fresh directory"),
}


@click.command()
@click.argument("change", nargs=-1, metavar="[set NAME=VALUE… | unset NAME…]")
@json_option
@cluster_options
def limits(place: Place, change: Sequence[str], *, as_json: bool) -> int:
    """Show, or change, the limits of tasks that set none themselves.

    For example `alb limits set cpu=1h memory=4G processes=500 open-files=1024 output=100M scratch=10G
    time=1d`, and `alb limits unset cpu memory`.

    They hold for attempts that start from then on. A task's own limit (`alb submit -t --cpu-limit --mem-limit
    --processes --open-files --output-limit --scratch`) replaces the cluster's, whichever is lower; one that
    reserves memory (--mem) and says no more may use what it reserves.
    """
    changes = _changes(change)
    with place.client() as client:
        found = client.limits()
        if changes:
            found = msgspec.structs.replace(found, **changes)
            client.set_limits(found)
    if as_json:
        out.emit_json(msgspec.structs.asdict(found))
    else:
        rows = [(name, _shown(limit, found), limit.help) for name, limit in LIMITS.items()]
        out.emit_table(("LIMIT", "VALUE", ""), rows, empty="")
    return 0


def _shown(limit: Limit, found: LimitsNode) -> str:
    value = getattr(found, limit.field)
    return "none" if value is None else limit.show(value)


def _changes(words: Sequence[str]) -> dict[str, Any]:
    """Return what is to be changed, by field of the node."""
    if not words:
        return {}
    action, *arguments = words
    if action not in {SET, UNSET} or not arguments:
        raise click.UsageError("write `alb limits`, `alb limits set NAME=VALUE…` or `alb limits unset NAME…`")
    changes: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        limit = LIMITS.get(name)
        if limit is None:
            raise click.UsageError(f"there is no limit {name[:40]!r}; there are: {', '.join(LIMITS)}")
        if bool(equals) is not (action == SET):
            raise click.UsageError(f"{argument[:80]!r}: set takes NAME=VALUE, and unset takes NAME alone")
        if limit.field in changes:
            raise click.UsageError(f"the limit {name} is given twice")
        try:
            changes[limit.field] = limit.kind.convert(text, None, None) if equals else None
        except click.BadParameter as error:
            raise click.UsageError(f"{name}: {error.message}") from None
    return changes
