"""``alb workers --tasks``: what each worker runs, and what it holds besides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alb.cli import out
from alb.cli.values import format_clock, format_size
from alb_core.messages import Holding

if TYPE_CHECKING:
    from alb_core.messages import HeldLine, WorkersPage

COLUMNS = ("WORKER", "TASK", "ATTEMPT", "STANDS", "PLACED", "CPUS", "MEMORY", "USER", "NAME", "COMMAND")


def emit_held(page: WorkersPage) -> None:
    """Write a line for each attempt that a worker runs or holds."""
    rows = [_row(line.worker, held) for line in page.workers for held in line.tasks or ()]
    known = ", ".join(line.worker for line in page.workers[:3])
    more = f" and {len(page.workers) - 3} more" if len(page.workers) > 3 else ""
    out.emit_table(COLUMNS, rows, empty=f"nothing runs or waits on {known}{more}")


def _row(worker: str, held: HeldLine) -> tuple[str, ...]:
    return (
        worker,
        held.id,
        str(held.attempt),
        _stands(held),
        format_clock(held.placed) if held.placed else "-",
        f"{held.cpus:g}",
        format_size(held.memory_bytes),
        held.user or "-",
        held.name or "-",
        held.command or "-",
    )


def _stands(held: HeldLine) -> str:
    told = "waits" if held.holding is Holding.AHEAD else held.holding.value
    if held.demoted:
        told = f"{told}, demoted"
    if held.ends:
        return f"{told}, to end"
    return f"{told}, asked back" if held.asked_back else told
