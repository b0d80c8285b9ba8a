"""Kinds of task: what clients, the table and workers agree on about them, and no more.

To everybody but the worker that runs it, a task of another kind than a command is one with a name, a payload
and files. Its value comes back as bytes. Here are the names that both ends use; what a kind does is a
plug-in's of the worker (``docs/kinds.md``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from alb_core import limits
from alb_core.files import FileRef, wrong_references

COMMAND_KIND: Final = "command"
BINARY_KIND: Final = "binary"
BUILT_IN: Final = frozenset((COMMAND_KIND, BINARY_KIND))
#: Every worker has these: nothing is asked of where they are placed.

ANY_ARCH: Final = "any"
#: In place of an architecture: the program runs on every one (a script), unless there is another for it.

FOLDER: Final = ".alb"
#: Of a task's fresh directory, what its kind puts there: no wildcard of a pattern matches its dot.
PAYLOAD_FILE: Final = f"{FOLDER}/payload"
#: Where a task finds its payload, whether that came with the specification or as a file.
VALUE_FILE: Final = f"{FOLDER}/value"
#: Where a task leaves its value; the name of the file that comes back where it is large, too.

_KIND: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")
_ARCH: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}\Z")


def is_kind(name: str) -> bool:
    """Tell whether a kind can have this name."""
    return _KIND.match(name) is not None


def is_arch(name: str) -> bool:
    """Tell whether this is the form of an architecture, as ``uname -m`` says it."""
    return _ARCH.match(name) is not None


def label_of(kind: str) -> str:
    """Return the label that workers with a kind carry."""
    return f"kind={kind}"


def placed(binary: FileRef) -> FileRef:
    """Return a program as it lies in a task's fresh directory: executable, where no pattern finds it."""
    return msgspec.structs.replace(binary, name=f"{FOLDER}/{binary.name}", executable=True)


def program_for(binaries: Mapping[str, FileRef], arch: str) -> FileRef | None:
    """Return the program for an architecture, as it lies in the directory; None: there is none for it."""
    binary = binaries.get(arch) or binaries.get(ANY_ARCH)
    return None if binary is None else placed(binary)


def archs_of(binaries: Mapping[str, FileRef]) -> tuple[str, ...]:
    """Return the architectures that a task with these programs can go to; empty: all."""
    return () if ANY_ARCH in binaries else tuple(sorted(binaries))


def check_kind(  # noqa: PLR0911 (one return a rule)
    kind: str, payload: bytes, *, fresh: bool, stepped: bool
) -> str | None:
    """Find what is wrong with a task's kind.

    Args:
        kind: Its name.
        payload: What only it understands.
        fresh: The task runs in a fresh directory.
        stepped: It is a task of steps.

    Returns:
        A sentence that says what is wrong and what to do, or None.
    """
    if kind == COMMAND_KIND and not payload:
        return None
    if not is_kind(kind):
        return f"{kind[:40]!r} is no kind of task: lower-case letters, digits, '_', '-', at most 32"
    if len(payload) > limits.PAYLOAD_BYTES_MAX:
        return f"its payload has {len(payload)} bytes, more than {limits.PAYLOAD_BYTES_MAX}; ship a file"
    if payload and kind in BUILT_IN:
        return f"a task of the kind {kind!r} has no payload; name another kind, or leave it out"
    if kind != COMMAND_KIND and not fresh:
        return f"a task of the kind {kind!r} runs in a fresh directory; leave --cwd out"
    if stepped and kind not in BUILT_IN:
        return f"a task of the kind {kind!r} has no steps: those are of commands and programs"
    return None


def check_binaries(
    kind: str, binaries: Mapping[str, FileRef], files: Sequence[FileRef], archs: Sequence[str]
) -> str | None:
    """Find what is wrong with a task's programs.

    Args:
        kind: Its kind.
        binaries: Its programs, by architecture.
        files: What else it takes along.
        archs: Where it may be placed.

    Returns:
        A sentence that says what is wrong and what to do, or None.
    """
    if bool(binaries) is not (kind == BINARY_KIND):
        return "a task of the kind 'binary' has a program for each architecture, and no other one has"
    for arch in binaries:
        if not is_arch(arch):
            return f"{arch[:40]!r} is no architecture, as `uname -m` says it"
    if len(binaries) > limits.BINARIES_MAX:
        return f"there are programs for {len(binaries)} architectures, more than {limits.BINARIES_MAX}"
    for binary in binaries.values():
        why = wrong_references((binary,), 1) or wrong_references((*files, placed(binary)), len(files) + 1)
        if why is not None:
            return why
    if binaries and ANY_ARCH not in binaries and not (archs and set(archs) <= set(binaries)):
        return f"it may be placed only where it has a program for: {', '.join(archs_of(binaries))}"
    return None
