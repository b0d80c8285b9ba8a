"""What a command reads on its standard input: a little rides in its specification, more is a file of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from alb_core import limits
from alb_core.errors import InvalidTask

FILE_NAME: Final = ".alb-stdin"
#: In the task's directory; hidden, so that patterns of returns do not mean it.

Input = bytes | bytearray | memoryview | str | os.PathLike[str]
#: Bytes, text (sent as UTF-8), or the path of a file here.


class GivenInput(NamedTuple):
    """A task's input, looked at."""

    data: bytes = b""
    file: Path | None = None
    #: What is too large to be `data`.

    @property
    def name(self) -> str:
        """What the file is called at the task; empty: there is none."""
        return "" if self.file is None else FILE_NAME


NO_INPUT: Final = GivenInput()


def given_input(options: Mapping[str, Any]) -> GivenInput:
    """Return what a task is to read, as its options (`stdin`, `cwd`) say.

    Raises:
        InvalidTask: It cannot be read here, is too large, or cannot travel.
    """
    stdin: Input | None = options.get("stdin")
    if stdin is None:
        return NO_INPUT
    if isinstance(stdin, str):
        return GivenInput(stdin.encode(errors="surrogateescape"))
    if isinstance(stdin, bytes | bytearray | memoryview):
        return GivenInput(bytes(stdin))
    if not isinstance(stdin, os.PathLike):
        raise InvalidTask("", f"stdin is {type(stdin).__name__}; give bytes, text, or a path (pathlib.Path)")
    path = Path(stdin)
    data = _head(path)
    if len(data) <= limits.STDIN_BYTES_MAX:
        return GivenInput(data)
    if options.get("cwd") is not None:
        raise InvalidTask(
            "",
            f"the input {path} has more than {limits.STDIN_BYTES_MAX} bytes: it travels as a file, which "
            "needs the task's fresh directory; leave --cwd out, or redirect from a file there ('cmd < file')",
        )
    return GivenInput(file=path)


def _head(path: Path) -> bytes:
    """Return the first bytes of a file: one more than a specification takes, if there are as many."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InvalidTask("", f"the input {path} is no regular file; pipe it in (--stdin -)")
            return os.read(descriptor, limits.STDIN_BYTES_MAX + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise InvalidTask("", f"the input {path} cannot be read: {error.strerror}") from error
