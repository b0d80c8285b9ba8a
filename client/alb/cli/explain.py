"""``alb explain``: why a task waits, and why its attempts went where they went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
import msgspec

from alb.cli import out
from alb.cli.options import Place, cluster_options, json_option
from alb.cli.short_ids import resolve
from alb.cli.values import format_clock, format_duration, format_size
from alb_core.errors import TaskGone
from alb_core.tasks import TaskState
from alb_core.vectors import vector_words

if TYPE_CHECKING:
    from alb.api.client import Client
    from alb_core.explanations import Considered, Explanation, Placement
    from alb_core.messages import TaskPage

PARTS: Final = {
    "reserved": "which was set aside for it, so that nothing smaller took its room",
    "backfilled": "which was set aside for another task that this one does not delay",
}
#: What reservations had to do with it, in words.
LENDERS_SHOWN: Final = 5
#: Of those that gave way to one, or were ended for it.


@click.command()
@click.argument("id", metavar="ID")
@json_option
@cluster_options
def explain(place: Place, id: str, *, as_json: bool) -> int:  # noqa: A002 (click names it so)
    """Tell why task ID waits, and why its attempts went where they went.

    What must change first stands first. The candidates of a placement, with their room and load at that time,
    are kept by the leader that made it, for its newest few thousand placements; policy, number of candidates
    and the part of reservations are kept as long as the task, and so is what was copied, or preempted.
    """
    with place.client() as client:
        task_id = resolve(client, id)
        try:
            page = client.task_page(task_id, explain=True)
        except TaskGone as gone:
            return _explain_array(client, task_id, gone, as_json=as_json)
    told = page.explanation
    if told is None:
        raise click.ClickException("the leader is of an earlier version and explains nothing: update it")
    if as_json:
        form = {"id": page.task.id, "state": page.task.state.value, "stored": page.stored}
        out.emit_json(form | msgspec.to_builtins(told))
        return 0
    _show(page, told)
    return 0


def _explain_array(client: Client, array: str, gone: TaskGone, *, as_json: bool) -> int:
    """Tell what keeps an array; its tasks are explained one by one."""
    from alb.cli.array_views import find_array, why_gone  # noqa: PLC0415

    page = find_array(client, array)
    if page is None:
        raise TaskGone(array, why_gone(client, array, gone))
    line = page.array
    if as_json:
        out.emit_json({"id": array, "state": line.state.value, "why": line.why})
    else:
        out.echo(f"array     {array}, {line.state.value}")
        if line.why:
            out.echo(f"waits     {line.why}")
        out.echo(f"its tasks are explained one by one: alb tasks {array}, alb explain {array}.INDEX")
    return 0


def _show(page: TaskPage, told: Explanation) -> None:
    record = page.task
    out.echo(f"task      {record.id}, {record.state.value}, of {told.user}")
    if told.waits_s is not None:
        out.echo(f"waits     for a worker, since {format_duration(told.waits_s)}")
    for number, reason in enumerate(told.reasons):
        out.echo(f"{'because' if number == 0 else 'and':9} {reason.text}")
    vector = record.spec.request.optimize
    if vector is not None:
        out.echo(f"optimizes {vector_words(vector)} when a worker is chosen for it, whatever the policy is")
    for placement in told.placements:
        _show_placement(placement)
    if not told.placements and not told.reasons:
        out.echo("it never went to a worker")
    if record.result is not None and record.result.why:
        out.echo(f"ended     {record.result.why}")
    elif record.state is TaskState.RUNNING and told.placements:
        names = [each.worker for each in told.placements if not each.ended_as]
        out.echo(f"runs      on {' and '.join(names)}")


def _show_placement(placement: Placement) -> None:
    out.echo(
        f"attempt   {placement.n} went to {placement.worker} at {format_clock(placement.placed)}"
        f"{_ended(placement)}"
    )
    if placement.part:
        out.echo(f"          {PARTS.get(placement.part, placement.part)}")
    if placement.copy_of:
        out.echo(f"          as a copy of attempt {placement.copy_of}, which lagged: see alb copies")
    elif placement.ahead:
        out.echo("          ahead of its room: nobody had any, and this worker ends short commands soonest")
    elif placement.candidates == 1:
        out.echo("          the only one with room that was found")
    elif placement.policy:
        out.echo(f"          chosen by policy {placement.policy} of {placement.candidates} with room")
    _show_lent(placement)
    if placement.waited_s is not None and placement.share is not None:
        held = f"its user's share was {placement.share:.1%}, with what waited ahead or was demoted"
        out.echo(f"          after {format_duration(max(0.0, placement.waited_s))} in the queue; {held}")
    for each in placement.considered:
        out.echo(f"          {'->' if each.worker == placement.worker else '  '} {_candidate(each)}")
    if placement.forgotten:
        out.echo(f"          what each candidate had then is not known any more: {placement.forgotten}")


def _show_lent(placement: Placement) -> None:
    """Tell who gave way to it, and to whom it gave way."""
    if placement.room_by:
        out.echo(f"          where {_few(placement.room_by)} gave way to it (docs/progress.md)")
    if placement.memory_by:
        out.echo(f"          where its memory came from {_few(placement.memory_by)} (docs/scheduling.md)")
    if placement.demoted:
        to = f"to task {placement.lent_to}" if placement.lent_to else "to a task that is not known any more"
        out.echo(f"          demoted at {format_clock(placement.demoted)}: its processors went {to}")
    if placement.ended_for:
        out.echo(f"          ended for task {placement.ended_for}, which needs its memory")


def _few(tasks: tuple[str, ...]) -> str:
    more = len(tasks) - LENDERS_SHOWN
    return ", ".join(tasks[:LENDERS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _ended(placement: Placement) -> str:
    return f" ({placement.ended_as})" if placement.ended_as else ""


def _candidate(each: Considered) -> str:
    net = f", {each.net_bps / 1e6:g} Mbit/s" if each.net_bps else ""
    free = f"{each.cpus:g} cpus, {format_size(max(0, each.memory_bytes))}{net} free"
    load = f"load cpu {each.cpu_load:.0%} mem {each.memory_load:.0%} net {each.net_load:.0%}"
    speed = f"; speed {each.speed:.3g}" if each.speed != 1 else ""
    return f"{each.worker}: {free}; {load}{speed}"
