"""The files that a task takes along and brings back: how they are named, and what may be asked for.

A file is its SHA-256; its bytes lie in the depots (``docs/files.md``) and never in ZooKeeper. Here is only
what a task says of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from alb_core import limits

_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")


class FileRef(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One file: what it holds, and where it lies in a task's directory."""

    name: str
    #: Relative to the directory, with ``/`` between folders.
    sha256: str
    #: Of its bytes, 64 lower-case hex digits.
    size_bytes: int
    executable: bool = False


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """What the leader tells the depots from time to time: who they are, and which files tasks need."""

    table: str
    epoch: int
    depots: tuple[str, ...]
    #: All of them, the leader's first.
    used: dict[str, int]
    #: SHA-256 and size of every file that a task in the table needs.


def is_sha256(text: str) -> bool:
    """Tell whether a text is a digest as depots name files: 64 lower-case hex digits."""
    return _SHA256.match(text) is not None


def check_files(
    files: tuple[FileRef, ...], returns: tuple[str, ...], checkpoints: tuple[str, ...], cwd: str | None
) -> str | None:
    """Find what is wrong with what a task takes along, saves and wants back.

    Args:
        files: What it takes along.
        returns: Patterns of what it wants back.
        checkpoints: Patterns of what is saved while it runs.
        cwd: The directory on the worker that it asked for, if any.

    Returns:
        A sentence that says what is wrong and what to do, or None.
    """
    if not files and not returns and not checkpoints:
        return None
    if cwd is not None:
        return (
            "files travel to and from the fresh directory of a task, and this one asks for another "
            "(--cwd); leave --cwd out, or let the command itself copy"
        )
    return (
        wrong_references(files, limits.FILES_MAX)
        or _wrong_patterns(returns, "return")
        or _wrong_patterns(checkpoints, "checkpoint")
    )


def restored(files: tuple[FileRef, ...], saved: tuple[FileRef, ...]) -> tuple[FileRef, ...]:
    """Return what the directory of an attempt that goes on holds when it starts.

    Args:
        files: What its task takes along.
        saved: Its newest checkpoint, which replaces whatever stands in its way.
    """
    if not saved:
        return files
    taken = {file.name for file in saved}
    folders = {folder for name in taken for folder in _folders(name)}
    kept = (
        file
        for file in files
        if file.name not in taken and file.name not in folders and taken.isdisjoint(_folders(file.name))
    )
    return (*kept, *saved)


def wrong_references(files: tuple[FileRef, ...], files_max: int) -> str | None:
    """Return what is wrong with a list of files, as a sentence, or None.

    Args:
        files: Of one task, in one direction.
        files_max: So many at most.
    """
    if len(files) > files_max:
        return f"there are {len(files)} files, more than {files_max}; put them into one archive"
    for file in files:
        why = wrong_name(file.name) or _wrong_content(file)
        if why is not None:
            return why
    total = sum(file.size_bytes for file in files)
    if total > limits.TASK_FILES_BYTES_MAX:
        return f"the files have {total} bytes together, more than {limits.TASK_FILES_BYTES_MAX}"
    return _collision(file.name for file in files)


def wrong_name(name: str) -> str | None:
    """Return why a file cannot have this name in a task's directory, or None."""
    shown = f"the file name {name[:80]!r}"
    if not name or len(name.encode(errors="replace")) > limits.FILE_NAME_BYTES_MAX:
        return f"{shown} is empty or longer than {limits.FILE_NAME_BYTES_MAX} bytes"
    if not name.isprintable():
        return f"{shown} has characters that cannot be printed; give it another with --file PATH:NAME"
    if name.startswith("/") or any(part in ("", ".", "..") for part in name.split("/")):
        return f"{shown} does not lie in the task's directory: no leading '/', no '.', no '..', no '//'"
    return None


def _wrong_content(file: FileRef) -> str | None:
    if not is_sha256(file.sha256):
        return f"the file {file.name[:80]!r} has no SHA-256 of 64 lower-case hex digits"
    if not 0 <= file.size_bytes <= limits.FILE_BYTES_MAX:
        return f"the file {file.name[:80]!r} has {file.size_bytes} bytes, more than {limits.FILE_BYTES_MAX}"
    return None


def _collision(names: Iterable[str]) -> str | None:
    """Return which names cannot stand side by side: the same twice, or a file that is also a folder."""
    taken: set[str] = set()
    folders: set[str] = set()
    for name in names:
        if name in taken:
            return f"two files have the name {name[:80]!r}; give one another with --file PATH:NAME"
        taken.add(name)
        folders.update(_folders(name))
    clash = min(taken & folders, default=None)
    return None if clash is None else f"{clash[:80]!r} is the name of a file and of a folder"


def _folders(name: str) -> Iterator[str]:
    """Yield the folders that a name lies in."""
    parts = name.split("/")
    return ("/".join(parts[:end]) for end in range(1, len(parts)))


def _wrong_patterns(patterns: tuple[str, ...], kind: str) -> str | None:
    if len(patterns) > limits.RETURN_PATTERNS_MAX:
        return f"there are {len(patterns)} {kind} patterns, more than {limits.RETURN_PATTERNS_MAX}"
    for pattern in patterns:
        if wrong_name(pattern) is not None:
            return (
                f"the {kind} pattern {pattern[:80]!r} does not name files in the task's directory: a path or "
                "glob relative to it, without '..', for example 'out/*.csv'"
            )
    return None
