"""``alb copies``: how many copies of stragglers there may be, and what they brought and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from alb.cli import out
from alb.cli.options import Place, cluster_options, json_option
from alb.cli.values import format_duration

if TYPE_CHECKING:
    from alb_core.messages import CopiesPage


@click.command()
@click.argument("action", type=click.Choice(["show", "set"]), default="show")
@click.option(
    "--share",
    type=click.FLOAT,
    help="Of all processors, for copies at once (one there may always be); 0: make none.",
)
@click.option(
    "--unasked/--only-asked",
    default=None,
    help="Copy also tasks that do not say whether they may be, or only those that say so.",
)
@click.option("--slow-tasks", type=click.FLOAT, help="Copy only what is slower than this part of its likes.")
@click.option("--slow-workers", type=click.FLOAT, help="Not on workers slower than this part of all.")
@json_option
@cluster_options
def copies(place: Place, action: str, *, as_json: bool, **changes: Any) -> int:
    """Show, or set, the bounds of copies of stragglers, and what became of them under this leader.

    A task that lags far behind its likes is run a second time on a worker that is idle, if it says that it
    may run twice (`alb submit --speculative`); the first success is its result, the other is killed. Not
    where resources count more than time (`--optimize`), nor where a results store keeps what it reports
    (increments, `--steps`). For example `alb copies set --share 0.2 --unasked`, and `alb copies set --share
    0` to make none.

    MADE counts copies, WON those that succeeded first, KILLED the attempts, copies or not, that ran in vain,
    and WASTED for how long.
    """
    wanted = {name: value for name, value in changes.items() if value is not None}
    if action == "show" and wanted:
        raise click.UsageError("to change something write `alb copies set …`")
    if action == "set" and not wanted:
        raise click.UsageError("say what: --share, --unasked, --only-asked, --slow-tasks, --slow-workers")
    with place.client() as client:
        page = client.copies()
        if wanted:
            client.set_copies(msgspec.structs.replace(page.copies, **wanted))
            page = client.copies()  # as many processors as that is now
    if as_json:
        out.emit_json(page)
    elif action == "show":
        _show(page)
    return 0


def _show(page: CopiesPage) -> None:
    node = page.copies
    who = "tasks that do not say --no-speculative" if node.unasked else "tasks that say --speculative"
    share = f"{node.share:.0%} of all processors, {page.cpus_max:g} now; one copy at least"
    rows = (
        ("of", who),
        ("at once", share if node.enabled else "none"),
        ("slow tasks", f"the slowest {node.slow_tasks:.0%} of their likes"),
        ("slow workers", f"not on the slowest {node.slow_workers:.0%}"),
        ("running", f"{page.running}, on {page.cpus:g} processors" if page.running else "0"),
        ("made", str(page.made)),
        ("won", str(page.won)),
        ("killed", str(page.outrun)),
        ("wasted", format_duration(page.wasted_s)),
    )
    out.emit_table(("COPIES", ""), rows, empty="")
