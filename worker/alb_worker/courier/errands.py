"""What one order means: gather the files of a task that is to start, bring back those of one that is over.

Each runs on a thread of its own and may be called off at any time. An error of a file is its task's, never
the courier's.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from alb_core import limits
from alb_core.errors import TransferError, TransferStopped
from alb_core.files import FileRef, wrong_name
from alb_core.io import transfer
from alb_core.io.transfer import Content, GoesOn
from alb_core.notes import Note
from alb_worker.courier.cache import Cache
from alb_worker.courier.depots import Depots
from alb_worker.courier.errors import NotMoved, disk_trouble
from alb_worker.courier.matching import Found, open_own
from alb_worker.courier.messages import Collect, Collected, NotPrepared, Prepare, Prepared
from alb_worker.courier.placing import place
from alb_worker.runner.directories import spawn_remover

PATTERNS_SHOWN: Final = 5


class Errands:
    """Carries orders out.

    Args:
        home: The worker's directory.
        cache_bytes_max: What the cache may hold.
        depots: Where files come from and go to.
        note: Takes lines for the log; called on any thread.
    """

    def __init__(
        self, home: Path, cache_bytes_max: int, depots: Depots, note: Callable[[Note], None]
    ) -> None:
        self._prepared = home / "prepared"
        self._depots = depots
        self._note = note
        self._cache = Cache(home / "cache", cache_bytes_max)

    # --- to the task --------------------------------------------------------------------------------------

    def prepare(self, order: Prepare, goes_on: GoesOn) -> Prepared | NotPrepared:
        """Gather an attempt's files.

        Args:
            order: Which.
            goes_on: Whether they are still wanted.

        Raises:
            TransferStopped: They are not; nothing is left of them.
        """
        directory = self._prepared / f"{order.attempt.task}.{order.attempt.n}.{os.getpid()}"
        try:
            directory.mkdir(mode=0o700, parents=True)
            for file in order.files:
                self._gather(directory, file, order.ordered_at, goes_on)
        except (NotMoved, OSError, TransferStopped) as error:
            shutil.rmtree(directory, ignore_errors=True)
            if isinstance(error, TransferStopped):
                raise
            why = error if isinstance(error, NotMoved) else disk_trouble(error)
            return NotPrepared(attempt=order.attempt, why=str(why))
        return Prepared(attempt=order.attempt, directory=str(directory))

    def _gather(self, directory: Path, file: FileRef, ordered_at: float, goes_on: GoesOn) -> None:
        content = Content(file.sha256, file.size_bytes)

        def load(wanted: Content, descriptor: int) -> None:
            self._depots.fetch(wanted, descriptor, goes_on)
            seconds = round(time.monotonic() - ordered_at, 6)
            fields = {"sha256": wanted.sha256, "bytes": wanted.size_bytes, "seconds": seconds}
            self._note(Note("file_fetched", fields))

        try:
            with self._cache.holding(content, load, goes_on) as source:
                place(source, directory, file, goes_on)
        except NotMoved as error:
            raise NotMoved(f"the file {file.name[:80]!r}: {error}") from error

    # --- from the task ------------------------------------------------------------------------------------

    def collect(self, order: Collect, goes_on: GoesOn) -> Collected:
        """Bring what an ended attempt left to the depots, and remove its directory.

        Args:
            order: Which, and what of it is wanted.
            goes_on: Whether it still is.

        Raises:
            TransferStopped: It is not.
        """
        try:
            return self._bring_back(order, goes_on)
        except NotMoved as error:
            return Collected(attempt=order.attempt, files=(), unreturned=str(error))
        finally:
            discard(order.directory)

    def _bring_back(self, order: Collect, goes_on: GoesOn) -> Collected:
        found = Found(order.directory, order.patterns)
        if len(found.names) > limits.FILES_MAX:
            raise NotMoved(
                f"{len(found.names)} files match, more than {limits.FILES_MAX}; return one archive instead"
            )
        files: list[FileRef] = []
        trouble = ""
        for name in found.names:
            try:
                files.append(self._bring_file(order.directory, name, goes_on))
            except NotMoved as error:
                trouble = f"the file {name[:80]!r} did not come back: {error}"
                break  # each would wait as long in vain
        return Collected(
            attempt=order.attempt,
            files=tuple(files),
            unmatched=_unmatched(found.unmatched),
            unreturned=trouble,
        )

    def _bring_file(self, directory: str, name: str, goes_on: GoesOn) -> FileRef:
        wrong = wrong_name(name)
        if wrong is not None:
            raise NotMoved(wrong)
        try:
            descriptor = open_own(directory, name)
        except OSError as error:
            raise NotMoved(f"it cannot be read: {error.strerror}") from error
        try:
            content = transfer.content_of(descriptor, goes_on)
            executable = bool(os.fstat(descriptor).st_mode & 0o111)
            self._depots.store(content, descriptor, goes_on)
        except TransferStopped:
            raise
        except TransferError as error:
            raise NotMoved(str(error)) from error
        except OSError as error:
            raise disk_trouble(error) from error
        finally:
            os.close(descriptor)
        return FileRef(name=name, sha256=content.sha256, size_bytes=content.size_bytes, executable=executable)


def discard(directory: str) -> None:
    """Remove a directory, whatever a command left in it."""
    os.waitpid(spawn_remover([directory]), 0)


def _unmatched(patterns: Sequence[str]) -> str:
    if not patterns:
        return ""
    shown = ", ".join(repr(pattern) for pattern in patterns[:PATTERNS_SHOWN])
    more = f" and {len(patterns) - PATTERNS_SHOWN} more" if len(patterns) > PATTERNS_SHOWN else ""
    return f"nothing to return matches {shown}{more}"
