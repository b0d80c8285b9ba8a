"""How far replays are, in one line on standard error: a bar on a terminal, else a sentence now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from alb.cli import out

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SENTENCE_S: Final = 5.0
#: Between two sentences where nobody looks at a terminal.


class ReplayProgress:
    """Tells how many jobs of which replay have ended, within a ``with`` block.

    Args:
        jobs: Of each replay.
        wanted: Whether anything is to be told.
    """

    def __init__(self, jobs: int, *, wanted: bool = True) -> None:
        self._jobs: Final = jobs
        self._wanted: Final = wanted
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._due = time.monotonic() + SENTENCE_S

    def __enter__(self) -> Self:
        if self._wanted and sys.stderr.isatty():
            from rich.console import Console  # noqa: PLC0415 (slow to import, and only terminals need it)
            from rich.progress import (  # noqa: PLC0415
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True, highlight=False),
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def tell(self, policy: str, ended: int) -> None:
        """Take how far a policy's replay is."""
        if self._bars is not None:
            if policy not in self._tasks:
                self._tasks[policy] = self._bars.add_task(policy, total=self._jobs)
            self._bars.update(self._tasks[policy], completed=ended)
        elif self._wanted and time.monotonic() >= self._due:
            self._due = time.monotonic() + SENTENCE_S
            out.say(f"{policy}: {ended:,} of {self._jobs:,} jobs replayed")
