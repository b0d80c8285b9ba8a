"""What a task wrote, in front of a person: in one piece when it has ended, and what of it cannot be had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alb.cli import out
from alb_core.messages import StreamName

if TYPE_CHECKING:
    from collections.abc import Callable

    from alb.api.future import TaskFuture
    from alb.api.stream import TaskStream
    from alb_core.tasks import Result


def write_outputs(
    future: TaskFuture,
    record: Result,
    title: str,
    say: Callable[[str], None],
    write: Callable[[int, bytes], None],
) -> None:
    """Write what a task has written, as far as it was captured or kept.

    Args:
        future: The task, which has ended.
        record: How.
        title: Which of many it is.
        say: Takes what a person should hear.
        write: Writes bytes to a descriptor.
    """
    streams = zip(StreamName, future.captured(), (record.stdout, record.stderr), strict=True)
    for name, captured, kept in streams:
        data = captured.data if captured else kept.tail()
        if len(data) < kept.size_bytes:
            say(
                f"{title}: these are the last {len(data)} of {kept.size_bytes} bytes of "
                f"{name.name.lower()}; all: alb logs {future.id}"
            )
        if kept.truncated:
            say(
                f"{title}: it wrote more to {name.name.lower()} than its worker keeps, or had room for: the "
                f"first {kept.size_bytes} bytes are there"
            )
        if data:
            write(out.DESCRIPTORS[name], data)


def tell_missing(stream: TaskStream) -> None:
    """Say what of a task's output could not be had, and show what the table keeps of its end."""
    record = stream.record
    if record is not None and (stream.missing or record.stdout.truncated or record.stderr.truncated):
        from alb.cli.logs import show_lost  # noqa: PLC0415 (hardly ever)

        show_lost(stream, record, out.DESCRIPTORS)
