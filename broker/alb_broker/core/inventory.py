"""Which files the tasks in the table need, so that no depot removes one of them.

It counts what live tasks take along as they come and go, and knows their newest checkpoints, and what
finished ones brought back as long as their results are in the table. A task without files costs a look at an
empty tuple.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from alb_core.files import FileRef


class Inventory:
    """Counts files."""

    def __init__(self) -> None:
        self.changed = False  #: Since `used` was asked for.
        self._sizes: Final[dict[str, int]] = {}  #: By SHA-256, of what live tasks take along.
        self._counts: Final[dict[str, int]] = {}  #: How many of them take it along.
        self._returned: Final[dict[str, tuple[FileRef, ...]]] = {}
        #: What finished tasks brought back, by task; perhaps of some that have left the table.
        self._saved: Final[dict[str, tuple[FileRef, ...]]] = {}
        #: The newest checkpoints of live tasks, by task.
        self.sought: Final[dict[str, None]] = {}
        #: Live tasks that an earlier leader placed and whose checkpoints nobody has looked up yet.

    def add(self, files: tuple[FileRef, ...]) -> None:
        """A live task takes these along."""
        for file in files:
            self.changed = True
            self._sizes[file.sha256] = file.size_bytes
            self._counts[file.sha256] = self._counts.get(file.sha256, 0) + 1

    def remove(self, files: tuple[FileRef, ...]) -> None:
        """A task that took these along is live no more."""
        for file in files:
            self.changed = True
            self._counts[file.sha256] -= 1
            if not self._counts[file.sha256]:
                del self._counts[file.sha256], self._sizes[file.sha256]

    def save(self, task_id: str, files: tuple[FileRef, ...]) -> None:
        """A live task's newest checkpoint is this."""
        self.sought.pop(task_id, None)
        if self._saved.get(task_id) != files:
            self.changed = True
            self._saved[task_id] = files

    def knows(self, task_id: str) -> bool:
        """Tell whether a task's newest checkpoint is known."""
        return task_id in self._saved

    def forget(self, task_id: str) -> None:
        """A task is live no more: nobody goes on with it."""
        self.sought.pop(task_id, None)
        if self._saved.pop(task_id, None) is not None:
            self.changed = True

    def finish(self, task_id: str, returned: tuple[FileRef, ...]) -> None:
        """A finished task's result is known: it brought these back."""
        if returned:
            self.changed = True
            self._returned[task_id] = returned

    def used(self, done: Container[str]) -> dict[str, int]:
        """Return every file that a task needs, and its size.

        Args:
            done: The finished tasks that are still in the table.
        """
        self.changed = False
        used = dict(self._sizes)
        for files in self._saved.values():
            used |= {file.sha256: file.size_bytes for file in files}
        for task_id in [name for name in self._returned if name not in done]:
            del self._returned[task_id]
        for files in self._returned.values():
            used |= {file.sha256: file.size_bytes for file in files}
        return used
