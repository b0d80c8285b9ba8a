"""What each worker runs and holds, as lists show it: a few lines an attempt, bounded for a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from alb_broker.core.state import State
from alb_broker.core.worker import BEGUN, Worker
from alb_core.messages import AttemptId, HeldLine, Holding, WorkerLine
from alb_core.resources import Request

HELD_MAX: Final = 5000
#: Of all workers of a page: some 300 bytes each, and a message may have 4 MiB.
COMMAND_SHOWN: Final = 80
NOTHING: Final = Request(cpus=0.0)


def with_holdings(state: State, workers: Sequence[Worker]) -> tuple[tuple[WorkerLine, ...], int]:
    """Return workers as lists show them, with what they hold, and how many attempts were left off."""
    lines: list[WorkerLine] = []
    shown, left_off = 0, 0
    for worker in workers:
        held = list(_held(worker))
        told = held[: HELD_MAX - shown]
        shown += len(told)
        left_off += len(held) - len(told)
        tasks = tuple(_line(state, worker, *each) for each in told)
        lines.append(msgspec.structs.replace(worker.line(), tasks=tasks))
    return tuple(lines), left_off


def _held(worker: Worker) -> Iterator[tuple[AttemptId, Holding, Request]]:
    """Return what a worker holds: what runs first, then what waits, in its order."""
    for attempt, request in worker.reserved.items():
        yield attempt, Holding.RUNS, request
    for attempt, request in worker.ahead.items():
        yield attempt, Holding.AHEAD, request
    for attempt in sorted(worker.exited):
        yield attempt, Holding.STORING, NOTHING
    for attempt in sorted(worker.foreign):
        yield attempt, Holding.FOREIGN, NOTHING


def _line(
    state: State, worker: Worker, attempt_id: AttemptId, holding: Holding, request: Request
) -> HeldLine:
    line = HeldLine(
        id=attempt_id.task,
        attempt=attempt_id.n,
        holding=holding,
        asked_back=worker.revoked.get(attempt_id, BEGUN) != BEGUN,
        ends=attempt_id in worker.killing,
        cpus=request.cpus,
        memory_bytes=request.memory_bytes,
        demoted=attempt_id in worker.burden,
    )
    task = state.table.live.get(attempt_id.task)
    attempt = None if task is None else task.attempt(attempt_id.n)
    if task is None or attempt is None:
        return line
    command = task.spec.command
    return msgspec.structs.replace(
        line,
        placed=attempt.placed,
        user=task.user,
        name=task.spec.name,
        command=(command if isinstance(command, str) else " ".join(command))[:COMMAND_SHOWN],
    )
