"""How a task ended, for people: what became of it, when, what it used, and what it was held to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alb.api.result import describe
from alb.cli import out
from alb.cli.values import format_clock, format_size

if TYPE_CHECKING:
    from alb_core.tasks import Result, Stream, TaskRecord

_LIMITS: Final = {
    "time_limit_s": "wall-clock time (-t)",
    "cpu_s": "processor time (--cpu-limit)",
    "memory_bytes": "memory (--mem-limit, --mem)",
    "processes": "processes (--processes)",
    "open_files": "open files (--open-files)",
    "output_bytes": "output (--output-limit)",
    "scratch_bytes": "scratch (--scratch)",
}


def show_ending(record: TaskRecord) -> None:
    """Show the result of a task that has one."""
    result = record.result
    if result is None:
        return
    out.echo(f"result    {describe(result)}, finished {format_clock(result.finished)}")
    if result.started:
        out.echo(f"times     {_times(record, result)}")
    if result.attempt:
        out.echo(f"usage     {_usage(result)}")
    if result.limit:
        out.echo(f"limit     it broke that of its {_LIMITS.get(result.limit, result.limit)}")
    if result.mechanism:
        out.echo(f"held by   {result.mechanism}")
    out.echo(f"output    {_output(record, result)}")


def _times(record: TaskRecord, result: Result) -> str:
    """Say how long it was queued, then at its worker before it started, and when it started."""
    placed = next((each.placed for each in record.attempts if each.n == result.attempt), 0.0)
    if not placed:
        return f"started {format_clock(result.started)}"
    queued_s, there_s = max(placed - record.submitted, 0.0), max(result.started - placed, 0.0)
    return f"placed after {queued_s:.3f} s, started {there_s:.3f} s later, at {format_clock(result.started)}"


def _output(record: TaskRecord, result: Result) -> str:
    if result.attempt:
        stdout, stderr = _length(result.stdout), _length(result.stderr)
        return f"{stdout} stdout, {stderr} stderr (alb logs {record.id})"
    if not record.attempts:
        return "none: it never started"
    newest = record.attempts[-1]
    return f"attempt {newest.n} on {newest.worker} delivered none; what is kept of it: alb logs {record.id}"


def _length(stream: Stream) -> str:
    """Say how much of a stream there is, and where that is not all."""
    if stream.truncated:
        return f"{stream.size_bytes} bytes (its worker had no room for more)"
    return f"{stream.size_bytes} bytes"


def _usage(result: Result) -> str:
    text = f"{result.wall_s:.3f} s wall, {result.cpu_s:.3f} s cpu, {format_size(result.memory_bytes)} peak"
    if result.read_bytes or result.written_bytes:
        read, written = format_size(result.read_bytes), format_size(result.written_bytes)
        text += f", {read} read, {written} written"
    return text
