"""Stops one thread of another process while its other threads go on: a loop that hangs, in the flesh.

SIGSTOP stops a whole process. ptrace stops a single thread: the broker's loop, for example, while its
ZooKeeper thread goes on sending pings, so that the session stays alive.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
_WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, thread: int) -> None:
    if _libc.ptrace(request, thread, None, None) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace({request:#x}, {thread}): {os.strerror(number)}")


@contextmanager
def frozen_thread(thread: int) -> Iterator[None]:
    """Keep one thread stopped within the block. Enter and leave from the same thread of ours.

    Args:
        thread: Its kernel id; that of a process's main thread is the pid.
    """
    _ptrace(_SEIZE, thread)
    try:
        _ptrace(_INTERRUPT, thread)
        os.waitpid(thread, _WALL)  # takes the report of the stop, before anybody mistakes it for an exit
        yield
    finally:
        with suppress(ProcessLookupError):  # it may have been killed meanwhile
            _ptrace(_DETACH, thread)
