"""What a command reads: bytes of its specification, or one of its files.

Bytes are put into memory that looks like a file: a pipe would block the runner as soon as it is full, or
would need one more thing to watch.
"""

from __future__ import annotations

import os
from typing import Final

from alb_core.tasks import Cause
from alb_worker.runner.messages import Start
from alb_worker.runner.program import CommandNotStarted

_NAME: Final = "alb-stdin"
#: What ``/proc`` shows for it.


def open_input(start: Start, directory: str) -> int:
    """Open what a command reads, at its beginning; whoever calls closes it.

    Args:
        start: The command; it has an input.
        directory: Where it starts.

    Raises:
        CommandNotStarted: It cannot be had.
    """
    try:
        if start.stdin_file:
            return os.open(f"{directory}/{start.stdin_file}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        return _in_memory(start.stdin)
    except OSError as error:
        why = f"its standard input cannot be had on this worker: {error.strerror}"
        raise CommandNotStarted(Cause.NOT_STARTED, why) from error


def _in_memory(data: bytes) -> int:
    descriptor = os.memfd_create(_NAME, os.MFD_CLOEXEC)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
