"""How far an array is, in one line on standard error: a bar on a terminal, else a sentence now and then."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from alb.cli import out
from alb.cli.values import format_duration
from alb_core.tasks import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from alb_core.arrays import ArrayLine

DRAW_S: Final = 0.2
#: Between two drawings of the bar.
FIRST_S: Final = 0.5
#: What ends sooner needs no bar.
SENTENCE_S: Final = 5.0
#: Between two sentences where nobody looks at a terminal.
WHY_S: Final = 2.0
#: What runs sooner needs no reason why it does not.
CLEAR: Final = b"\r\x1b[K"
#: To the beginning of the line, and nothing on it any more.


class Progress:
    """Tells how far an array is.

    Args:
        wanted: Whether anything is to be told.
        terminal: Whether standard error is one; None: look.
        now: The clock.
    """

    def __init__(
        self, *, wanted: bool, terminal: bool | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._wanted: Final = wanted
        self._terminal: Final = sys.stderr.isatty() if terminal is None else terminal
        self._now: Final = now
        self._lock: Final = threading.RLock()
        #: What is said comes from the client's thread, too.
        self._began = now()
        self._due = self._began + (FIRST_S if self._terminal else SENTENCE_S)
        self._bars: tuple[Bars, TaskID, Console] | None = None
        self._shown = False
        self._open_line = False
        #: Output stands on the terminal without its end of line.
        self._told: tuple[int, int] | None = None
        self._why = ""  #: Why none of it runs, as it was told last.
        self._begin: tuple[int, float] | None = None
        #: The ended ones of the first time, and when that was: the rate begins there.

    def say(self, line: str) -> None:
        """Tell the person something, not in the middle of the bar."""
        with self._lock:
            self._hide()
            out.say(line)

    def write(self, descriptor: int, data: bytes) -> None:
        """Write output; raises as `out.write_all` does."""
        with self._lock:
            self._hide()
            out.write_all(descriptor, data)
            if self._terminal and data and os.isatty(descriptor):
                self._open_line = not data.endswith(b"\n")

    def update(self, line: ArrayLine | None) -> None:
        """Take how the array is, and tell it if it is time."""
        if line is None or not self._wanted:
            return
        now = self._now()
        ended = line.counts.over
        if self._begin is None:
            self._begin = (ended, now)
        if line.why and not line.running and line.why != self._why and now - self._began >= WHY_S:
            self._why = line.why
            self.say(f"none of its tasks runs: {line.why}")
        if now < self._due:
            return
        with self._lock:
            if self._terminal:
                self._due = now + DRAW_S
                if not self._open_line:
                    self._draw(line, ended)
            elif self._told != (ended, line.total):
                self._due = now + SENTENCE_S
                self._told = (ended, line.total)
                out.say(f"{state_words(line)}{self._pace(ended, now, line.total)}")

    def close(self) -> None:
        """Leave the terminal as it was."""
        with self._lock:
            self._hide()

    def _hide(self) -> None:
        if self._shown:
            out.write_all(2, CLEAR)
            self._shown = False

    def _pace(self, ended: int, now: float, total: int) -> str:
        assert self._begin is not None  # noqa: S101 (narrows the type: `update` set it)
        before, since = self._begin
        if ended <= before or now <= since:
            return ""
        rate = (ended - before) / (now - since)
        return f", {rate:.3g}/s, about {format_duration((total - ended) / rate)} left"

    def _draw(self, line: ArrayLine, ended: int) -> None:
        if self._bars is None:
            self._bars = _make_bars()
        bars, task, console = self._bars
        bars.update(task, completed=ended, total=line.total or None, words=_short_words(line))
        with console.capture() as captured:
            console.print(bars.get_renderable(), end="")
        out.write_all(2, CLEAR + captured.get().split("\n", 1)[0].rstrip().encode(errors="replace"))
        self._shown = True


def _make_bars() -> tuple[Bars, TaskID, Console]:
    from rich.console import Console  # noqa: PLC0415 (slow to import, and short arrays need no bar)
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, highlight=False)
    bars = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[words]}"),
        TaskProgressColumn(text_format="", text_format_no_percentage="", show_speed=True),
        TimeRemainingColumn(),
        console=console,
        auto_refresh=False,
    )
    return bars, bars.add_task("", total=None, words=""), console


def _short_words(line: ArrayLine) -> str:
    failed = f" [red]{line.counts.failed} failed[/red]" if line.counts.failed else ""
    return f"{line.running} running{failed}"


def state_words(line: ArrayLine) -> str:
    """Say how far an array is: ``120 of 1000 ended, 3 failed, 8 running``."""
    counts = line.counts
    total = f"{line.total}" if line.whole else f"{line.total} so far"
    parts = [f"{counts.over} of {total} ended"]
    parts += [
        f"{count} {word}"
        for count, word in (
            (counts.failed, "failed"),
            (counts.cancelled, "cancelled"),
            (line.running, "running"),
        )
        if count
    ]
    if line.state is TaskState.HELD:
        parts.append("held")
    return ", ".join(parts)
