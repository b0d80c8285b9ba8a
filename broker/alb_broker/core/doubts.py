"""What cannot be true of a record that can be decoded: somebody wrote it, and leaders would break over it.

Only that: what no version of alb would have accepted, but harms its own task alone, is left to it, for a
later version may accept more, and what was accepted is not to be lost for a leader of the version before.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from alb_core import limits
from alb_core.arrays import ArrayRecord, check_strides, total_of
from alb_core.resources import Request
from alb_core.tasks import LIVE, QUEUED, RUNNING, Attempt, TaskRecord, TaskState


def doubt(record: TaskRecord) -> str:
    """Return why a record cannot be that of a live task, as a sentence; empty: it can."""
    if not _consistent(record):
        return f"a live task in state {record.state.value} without what belongs to it"
    if record.attempts and not _rise(record.attempts):
        return "the numbers of its attempts do not rise from 1"
    if record.met and not _are_places(record.met, len(record.spec.start.dependencies)):
        return f"it says that dependencies came true ({record.met}) that it has not"
    if record.memory_bytes < 0 or _gives(record.spec.request):
        return "it asks for less than nothing"
    return ""


def _consistent(record: TaskRecord) -> bool:
    """Tell whether what waits has no live attempt, what runs has one, and neither has a result."""
    if record.result is not None:
        return False
    if record.attempts and any(attempt.state is LIVE for attempt in record.attempts):
        return record.state is RUNNING
    return record.state is QUEUED or record.state is TaskState.HELD


def _rise(attempts: tuple[Attempt, ...]) -> bool:
    return attempts[0].n > 0 and all(one.n < other.n for one, other in pairwise(attempts))


def _are_places(met: Iterable[int], count: int) -> bool:
    return all(0 <= place < count for place in met)


def _gives(request: Request) -> bool:
    """Tell whether a worker that has it would have more room than without."""
    return (
        request.cpus < 0
        or request.memory_bytes < 0
        or request.net_bps < 0
        or (bool(request.counts) and any(count.amount < 0 for count in request.counts))
    )


def doubt_array(record: ArrayRecord) -> str:
    """Return why a record cannot be that of an array, as a sentence; empty: it can."""
    spec, counts = record.spec, record.counts
    why = check_strides(spec.strides) or check_strides(record.skips)
    if why is not None:
        return why
    most = total_of(spec.strides) if spec.strides else limits.ARRAY_TASKS_MAX
    if not 0 <= record.cursor <= record.total <= most:
        return f"of {record.total} tasks {record.cursor} were made, and it can have {most}"
    if min(counts.succeeded, counts.failed, counts.cancelled) < 0 or counts.over > record.total:
        return f"{counts.over} of {record.total} tasks ended"
    if record.met and not _are_places(record.met, len(spec.task.start.dependencies)):
        return f"it says that dependencies came true ({record.met}) that it has not"
    return ""
