"""What happened in a run: the last events for a report, all for a replay, a sum of them for a comparison."""

from __future__ import annotations

import re
import zlib
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from alb_core.notes import Note

if TYPE_CHECKING:
    from tests.simulation.timeline import Timeline

KEPT: Final = 40
SHOWN: Final = 240
#: Characters of one line.
QUIET: Final = {"Tick", "TurnEnded", "Heartbeat", "Beat"}
#: Not worth a line.
_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")
#: Where an object without a text of its own lies in memory.


class Trace:
    """The story of one run.

    Args:
        timeline: Virtual time.
        printing: Print every line as it comes.
        hashing: Sum up every line.
    """

    def __init__(self, timeline: Timeline, *, printing: bool = False, hashing: bool = False) -> None:
        self._timeline = timeline
        self._printing = printing
        self._hashing = hashing
        self._last: deque[tuple[float, str, str, Any]] = deque(maxlen=KEPT)
        self.sum = 0  #: Equal for equal stories.

    def event(self, host: str, event: Any) -> None:
        """A core was told something."""
        self._add(host, ">", event)

    def action(self, host: str, action: Any) -> None:
        """A core wants something done."""
        self._add(host, "<", action)

    def fault(self, text: str) -> None:
        """A fault began or ended."""
        self._add("fault", "!", text)

    def _add(self, host: str, arrow: str, what: Any) -> None:
        line = (self._timeline.now, host, arrow, what)
        if type(what).__name__ not in QUIET:
            self._last.append(line)
            if self._printing:
                print(_render(line))  # noqa: T201 (that is what printing is for)
        if self._hashing:
            self.sum = zlib.crc32(_ADDRESS.sub("", repr(line)).encode(), self.sum)

    def tail(self) -> list[str]:
        """Return the last lines."""
        return [_render(line) for line in self._last]


def _render(line: tuple[float, str, str, Any]) -> str:
    now, host, arrow, what = line
    if isinstance(what, Note):
        what = f"{what.event} {what.fields}"
    message = getattr(what, "message", None)
    if message is not None and type(message).__name__ in QUIET:
        return f"{now:10.4f} {host:5} {arrow} {type(what).__name__} {type(message).__name__}"
    return f"{now:10.4f} {host:5} {arrow} {what!r}"[:SHOWN]
