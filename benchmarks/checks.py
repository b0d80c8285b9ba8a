"""What a result must be for its time to count."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from alb_core.tasks import TaskState
from ground import BenchmarkFailed

if TYPE_CHECKING:
    from alb import TaskFuture, TaskResult

PATIENCE_S = 120.0
#: For the next of many results; a cluster that needs longer has failed.


def check(result: TaskResult, stdout: bytes = b"") -> None:
    """Hold one result to what the command does: success, status 0, this output and no other.

    Raises:
        BenchmarkFailed: Something else came back.
    """
    found = (result.state, result.exit_code, result.stdout, result.stderr)
    if found != (TaskState.SUCCEEDED, 0, stdout, b""):
        raise BenchmarkFailed(f"task {result.id} {result.describe()}, and wrote {found[2:]}")


def check_all(futures: Iterable[TaskFuture]) -> None:
    """Wait for the results of commands that write nothing, and check each.

    Raises:
        BenchmarkFailed: One is wrong, or does not come.
    """
    for future in futures:
        try:
            check(future.result(timeout=PATIENCE_S))
        except TimeoutError as error:
            raise BenchmarkFailed(f"task {future.id} has no result after {PATIENCE_S:g} s") from error
