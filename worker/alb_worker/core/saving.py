"""Checkpoints of attempts that run: when their files are saved, and which increments wait for that.

What an attempt goes on from must never be older than the increments that are stored. So increments wait: what
a command reported is passed on when a save that began afterwards has ended, behind the increment that records
it. A task that goes on elsewhere loses increments that no save followed; it will report them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from alb_core import limits
from alb_core.files import FileRef
from alb_core.increments import LINES_MAX, Line, checkpoint_line
from alb_core.messages import AttemptId

REPEAT_LINES: Final = LINES_MAX
#: After so many increments the checkpoint is recorded again: the leader looks for it among twice as many.


class Seen(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A file as it was when it was saved."""

    ref: FileRef
    stamp: tuple[int, ...]
    #: Changes when the file does.


class SaveOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be saved now."""

    attempt: AttemptId
    directory: str
    patterns: tuple[str, ...]
    seen: tuple[Seen, ...]
    #: What the last save found: it need not be read again where nothing changed.
    last: bool
    #: The command is over.


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a save that ended brought."""

    lines: tuple[Line, ...] = ()
    #: To be reported now.
    trouble: str = ""
    #: Why it failed, where that is news.
    dropped: int = 0
    #: Increments that will be reported again by the next attempt.
    over: bool = False
    #: That was the last one; `settle` says how its attempt ends.


class _Attempt(msgspec.Struct):
    """One attempt."""

    patterns: tuple[str, ...]
    saved: tuple[FileRef, ...]
    #: The newest checkpoint.
    directory: str = ""
    #: Empty: the command was not started.
    seen: tuple[Seen, ...] = ()
    waiting: list[Line] = []
    #: Reported since the newest save began.
    covered: list[Line] = []
    #: Reported before the newest save began, and not passed on.
    passed: int = REPEAT_LINES
    #: Increments since the checkpoint was recorded; those of earlier attempts are not counted, so: many.
    saving: bool = False
    last: bool = False
    #: The last save is under way.
    began_at: float = float("inf")
    due_at: float = float("inf")
    #: When the next save begins.
    trouble: str = ""
    #: Why the newest save failed.
    wanted: bool = True
    #: The last save is worth its time: somebody may go on from it.
    resumes: bool = False
    #: The task goes on elsewhere, for sure.
    over: bool = False

    def take(self) -> tuple[Line, ...]:
        """Return what waited, with the checkpoint where it must be recorded again."""
        lines: list[Line] = []
        for line in self.covered:
            if self.passed >= REPEAT_LINES and self.saved:
                lines.append(checkpoint_line(self.saved))
                self.passed = 0
            lines.append(line)
            self.passed += 1
        self.covered = []
        return tuple(lines)

    def cover(self) -> None:
        """What was reported until now is covered by what is saved from now on."""
        self.covered += self.waiting
        self.waiting = []


class Saving:
    """All attempts that have checkpoints."""

    def __init__(self) -> None:
        self._attempts: dict[AttemptId, _Attempt] = {}

    def __contains__(self, attempt: AttemptId) -> bool:
        return attempt in self._attempts

    def begin(self, attempt: AttemptId, patterns: tuple[str, ...], saved: tuple[FileRef, ...]) -> None:
        """Know an attempt that is to start.

        Args:
            attempt: Which.
            patterns: What is to be saved.
            saved: The checkpoint that it goes on from.
        """
        self._attempts[attempt] = _Attempt(patterns=patterns, saved=saved)

    def forget(self, attempt: AttemptId) -> None:
        """It was not started, or its runner died: what waits is dropped, for it is done again."""
        self._attempts.pop(attempt, None)

    def attempts(self) -> list[AttemptId]:
        """Return all that are known."""
        return list(self._attempts)

    def clear(self) -> None:
        """Forget all of them."""
        self._attempts.clear()

    def on_started(self, at: float, attempt: AttemptId, directory: str) -> None:
        """Its command runs in this directory."""
        known = self._attempts.get(attempt)
        if known is not None and not known.over:
            known.directory = directory
            known.due_at = at + limits.CHECKPOINT_S

    def on_reported(self, attempt: AttemptId, lines: Sequence[Line]) -> bool:
        """Keep increments back until their files are saved; False: this attempt has no checkpoints."""
        known = self._attempts.get(attempt)
        if known is None:
            return False
        known.waiting += lines
        return True

    def on_killed(self, attempt: AttemptId, *, resumes: bool) -> None:
        """It is being ended, so that its task goes on elsewhere; or for good."""
        known = self._attempts.get(attempt)
        if known is not None and not (known.over and resumes):  # what ended by itself has its result
            known.resumes = resumes
            known.wanted = resumes

    def on_ended(self, attempt: AttemptId, directory: str, *, killed: bool) -> None:
        """Its command is over.

        Args:
            attempt: Which.
            directory: Where its files are now; empty: they are gone.
            killed: By us, and it did not end by itself before that.
        """
        known = self._attempts[attempt]
        known.over = True
        known.directory = directory
        known.resumes = known.resumes and killed
        if not directory:
            known.trouble = "its command removed the directory that its checkpoints are of"
        if not killed:
            known.wanted = True

    def due(self, at: float) -> list[SaveOrder]:
        """Return the saves of running attempts that begin now."""
        return [
            self._begin(at, attempt, known)
            for attempt, known in self._attempts.items()
            if at >= known.due_at and not known.saving and not known.over
        ]

    def last(self, at: float, attempt: AttemptId) -> SaveOrder | Verdict | None:
        """Return the last save of an attempt that is over.

        Returns:
            The order; or how it ends, where none is needed; None: the one under way must end first.
        """
        known = self._attempts[attempt]
        if known.saving and known.wanted:
            return None
        needed = known.wanted and bool(known.resumes or known.waiting or known.covered)
        if needed and known.directory:
            return self._begin(at, attempt, known)
        return self._finish(attempt, known, known.trouble if needed else "")

    def on_saved(
        self, at: float, attempt: AttemptId, files: tuple[FileRef, ...], seen: tuple[Seen, ...], trouble: str
    ) -> Verdict:
        """A save has ended.

        Args:
            at: Monotonic seconds.
            attempt: Whose.
            files: What the depots have now.
            seen: How they were.
            trouble: Why it failed, as a sentence; empty: it did not.
        """
        known = self._attempts[attempt]
        known.saving = False
        took = at - known.began_at
        known.due_at = max(known.began_at + limits.CHECKPOINT_S, at + took)
        news, known.trouble = trouble if trouble != known.trouble else "", trouble
        lines: tuple[Line, ...] = ()
        if not trouble:
            known.seen = seen
            if files != known.saved:
                known.saved = files
                known.passed = 0
                lines = (checkpoint_line(files),)
            lines += known.take()
        return Verdict(lines=lines, trouble=news, over=known.last)

    def settle(self, attempt: AttemptId) -> Verdict:
        """Return how an attempt ends whose last save has ended, or is not awaited any more."""
        known = self._attempts[attempt]
        return self._finish(attempt, known, known.trouble if known.wanted else "")

    # --- leaves -------------------------------------------------------------------------------------------

    def _begin(self, at: float, attempt: AttemptId, known: _Attempt) -> SaveOrder:
        known.cover()
        known.saving = True
        known.last = known.over
        known.began_at = at
        return SaveOrder(
            attempt=attempt,
            directory=known.directory,
            patterns=known.patterns,
            seen=known.seen,
            last=known.over,
        )

    def _finish(self, attempt: AttemptId, known: _Attempt, trouble: str) -> Verdict:
        """Pass on what waits, or drop it: where the task goes on elsewhere, it is done again there."""
        del self._attempts[attempt]
        known.cover()
        if known.resumes and known.covered:
            return Verdict(trouble=trouble, dropped=len(known.covered))
        return Verdict(lines=known.take(), trouble=trouble)
