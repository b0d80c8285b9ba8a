"""Which tasks are alike: four questions, and to each its own answer.

What tasks have in common is asked to judge one by others. How much they must share depends on what is judged,
so the answers differ, and stand here side by side:

* *May one take processors from the other?* (`alike_in_yielding`, for ``demotions.py``) The array, else the
  program: a thousand commands of one program that differ in their arguments are one batch, of which the first
  would stand still for the last. The words after ``sh -c`` are looked into, for there everybody is a shell.
* *Is it the worker, that they fail?* (`alike_in_failing`, for ``quarantine.py``) The array, else the user and
  the program: a machine lacks a program, or a file of it, for all arguments. A shell is a program like any
  other: what two lines of shell share is less than a black hole must be told by.
* *Do they take as long elsewhere?* (`alike_in_work`, for ``corrections.py``) The array, else the user and the
  very same command; and the same processors and strain, for run times measure a machine only where the same
  work had the same to run with. A program with other arguments is other work.
* *Does one lag behind the others?* (`alike_in_progress`, for ``stragglers.py``) The array, else the user and
  the very same command, with as many steps: progress is counted in them. Not by what they reserve: the rules
  compare rates, and a task of an array is judged among all of it.

The very same command means the same payload of the same kind, too: of another kind than a command, as Python
calls are, the command is only what people are shown.
"""

from __future__ import annotations

from collections.abc import Hashable
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, TypeAlias

from alb_core import ids

if TYPE_CHECKING:
    from alb_broker.core.task import Task
    from alb_core.resources import Request
    from alb_core.spec import TaskSpec
    from alb_core.speeds import Strain

Failing: TypeAlias = tuple[str, str]
#: User, and array or program.
Work: TypeAlias = "tuple[str, Hashable, float, Strain | None]"
#: User, array or command, processors, and what it strains.

SHELLS: Final = frozenset(("sh", "bash", "dash", "ksh", "zsh"))
DIGEST_BYTES: Final = 16
#: Of a payload, where it would be kept for long only to be compared.


def alike_in_yielding(task: Task) -> str:
    """Return what is alike among the tasks of one user: the array, or the program."""
    return task.array or program_of(task.spec)


def alike_in_failing(array: str, user: str, spec: TaskSpec) -> Failing:
    """Return what a task that failed is compared by: its array, else its user and program."""
    return user, array or _first_word(spec.command)


def alike_in_work(array: str, user: str, spec: TaskSpec, request: Request) -> Work:
    """Return what a run is compared by: its array, else its user and command; and what it had to run with."""
    digest = blake2b(spec.payload, digest_size=DIGEST_BYTES).digest() if spec.payload else b""
    return user, array or (spec.command, spec.kind, digest), request.cpus, request.strain


def alike_in_progress(task_id: str, user: str, spec: TaskSpec) -> Hashable:
    """Return what tasks have in common whose progress is compared.

    It is asked of thousands that run, again and again: so a payload stands here itself, not its digest.
    """
    return ids.array_of(task_id) or (user, spec.command, spec.kind, spec.payload, spec.steps)


def program_of(spec: TaskSpec) -> str:
    """Return the program of a command; of a shell's, the first word of what the shell is to do."""
    command = spec.command
    if isinstance(command, str) or len(command) < 3 or not command[1].startswith("-"):
        return _first_word(command)
    return _first_word(command[2] if command[0].rpartition("/")[2] in SHELLS else command)


def _first_word(command: str | tuple[str, ...]) -> str:
    words = command.split(None, 1) if isinstance(command, str) else command
    return words[0] if words else ""
