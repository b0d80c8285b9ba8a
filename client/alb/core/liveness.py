"""Whether our tasks make progress: asks the leader about silent ones, and says when it shows none.

A long silent command is progress as long as its worker is heard. A leader that beats its heart but answers no
Ping commits nothing: its Pong is bound to a commit.
"""

from __future__ import annotations

from typing import Final

from alb.core import actions
from alb.core.actions import ClientAction
from alb.core.tasks import TaskBook, Tracked
from alb_core.messages import Ping, Pong
from alb_core.tasks import TaskState

PING_S: Final = 1.0
#: Between two Pings while anything is under way.
PING_IDLE_S: Final = 5.0
#: Between two Pings of an idle client: they tell the broker that it is still there.
PING_TASKS_MAX: Final = 64
SILENT_S: Final = 2.0
#: A task that gave no sign of life for so long is asked about.


class Liveness:
    """Pings, and judges the answers.

    Args:
        progress_timeout_s: How long no progress is borne, in seconds.
    """

    def __init__(self, progress_timeout_s: float) -> None:
        self._timeout_s = progress_timeout_s
        self._ping_at = 0.0
        self._unanswered_since: float | None = None
        #: When the oldest Ping without an answer left; None: all are answered.
        self._suspect_at = 0.0
        #: No suspicion is uttered before.

    def on_welcome(self, at: float) -> None:
        """Begin anew with a new leader."""
        self._ping_at = at + PING_S
        self._unanswered_since = None
        self._suspect_at = at + self._timeout_s

    def on_tick(  # noqa: PLR0913 (a question, and where it goes)
        self, at: float, seq: int, link: int, book: TaskBook, out: list[ClientAction], *, busy: bool
    ) -> str:
        """Ping when it is time, more often while something is under way.

        Returns:
            Why the leader is suspect, or nothing.
        """
        if at >= self._ping_at:
            self._ping_at = at + (PING_S if busy else PING_IDLE_S)
            self._ping(at, seq, link, book, out)
        if at < self._suspect_at:
            return ""
        why = self._find_fault(at, book)
        if why:
            self._suspect_at = at + self._timeout_s
        return why

    def _ping(self, at: float, seq: int, link: int, book: TaskBook, out: list[ClientAction]) -> None:
        silent: list[Tracked] = []
        for tracked in book.accepted.values():
            if len(silent) == PING_TASKS_MAX:
                break
            if at - tracked.heard_at >= SILENT_S:
                silent.append(tracked)
        for tracked in silent:
            if tracked.asked_since < 0:
                tracked.asked_since = at
            # To the end of the line, so that the next Ping asks about others.
            del book.accepted[tracked.id]
            book.accepted[tracked.id] = tracked
        if self._unanswered_since is None:
            self._unanswered_since = at
        out.append(actions.Send(link, Ping(seq=seq, tasks=tuple(tracked.id for tracked in silent))))

    def _find_fault(self, at: float, book: TaskBook) -> str:
        since = self._unanswered_since
        if since is not None and at - since > self._timeout_s:
            return f"no answer for {at - since:.0f} s"
        for tracked in book.accepted.values():
            if 0 <= tracked.asked_since < at - self._timeout_s:
                return f"no sign of life of task {tracked.id} for {at - tracked.heard_at:.0f} s"
        return ""

    def on_pong(self, at: float, pong: Pong, link: int, book: TaskBook, out: list[ClientAction]) -> None:
        """Take the leader's word on our tasks."""
        self._unanswered_since = None
        for pulse in pong.tasks:
            tracked = book.accepted.get(pulse.id)
            if tracked is None:
                continue
            if pulse.state is None or pulse.state.terminal:
                book.attach_again(at, tracked, link, out)
            elif pulse.state is TaskState.QUEUED or pulse.silent_s < self._timeout_s:
                book.hear(at, tracked)
