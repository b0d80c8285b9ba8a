"""What a kind of task is to a worker: it turns an attempt into a command, and what that left into a value.

The work itself is done by the command, in a process of its own that is bounded, watched and killed like any
other. A kind's own code runs inside the agent, which has other tasks to see to: it only prepares. It opens no
connection, reads no large file, and is interrupted after ``PATIENCE_S``. What it raises ends the attempt, and
nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

import msgspec

from alb_core.spec import TaskSpec
from alb_core.tasks import Outcome

PATIENCE_S: Final = 0.2
#: For each call of a kind's code: heartbeats leave every second, and three that are missed lose the worker.
WRITTEN_BYTES_MAX: Final = 1024 * 1024
#: Of files that a kind has written before the start; a task's own files come through the depots.


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an attempt that is to start."""

    task: str
    n: int
    #: Its number within the task.
    spec: TaskSpec
    worker: str
    arch: str
    #: Of the worker's machine, as ``uname -m`` says it.
    directory: str
    #: Holds the task's files, and the payload as ``.alb/payload``. It is moved before the command starts in
    #: it, so a command names what lies there by relative paths.


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What is started for an attempt."""

    command: str | tuple[str, ...]
    #: A string runs under ``/bin/sh -c``; a vector is executed as it is.
    env: dict[str, str] = {}
    #: Added to what the task itself asked for.
    files: dict[str, bytes] = {}
    #: Written into the directory before, by name relative to it; what is there already is replaced.
    stdin: bytes | None = None
    #: What the command reads; None: what the task said.


class KindFailed(Exception):
    """Raised by a kind whose task cannot be run, with a sentence for its user. Trying again does not help."""


class Kind(ABC):
    """The interface of a kind; made without arguments once in a worker's life."""

    labels: tuple[str, ...] = ()
    #: What workers that have it carry, besides ``kind=NAME``; for example the version of an interpreter.

    @abstractmethod
    def prepare(self, attempt: Attempt) -> Launch:
        """Say what is to be started.

        Raises:
            KindFailed: Nothing can; the attempt ends NOT_STARTED with the sentence.
        """

    def conclude(self, outcome: Outcome) -> Outcome:
        """Read what came of it.

        Args:
            outcome: How the command ended. Its `value` is what the command left in ``.alb/value``; empty
                where that is large: then it comes back as a file.

        Returns:
            The same, with another `value`, `why` or `exit_code`; nothing else of it counts.
        """
        return outcome
