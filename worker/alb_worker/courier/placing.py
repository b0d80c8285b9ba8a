"""Puts a file of the cache into a task's directory: a copy, for the command may write to it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Final

from alb_core.errors import TransferStopped
from alb_core.files import FileRef
from alb_core.io.transfer import GoesOn

FICLONE: Final = 0x40049409
#: ioctl: share the other file's blocks until one of both is written to (btrfs, XFS and others).
COPIED_AT_ONCE: Final = 16 * 1024 * 1024
#: Between two questions whether it is still wanted.
_NO_CLONE: Final = frozenset(
    (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM)
)


def place(source: Path, directory: Path, file: FileRef, goes_on: GoesOn) -> None:
    """Copy a file into a task's directory.

    Args:
        source: The cached file.
        directory: The task's.
        file: How it is called there; its name was checked.
        goes_on: Asked between pieces.

    Raises:
        TransferStopped: `goes_on` said no.
        OSError: The disk is full or broken.
    """
    target = directory / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o777 if file.executable else 0o666  # the umask takes the rest away, as everywhere
    with open(source, "rb", buffering=0) as reader:  # noqa: PTH123 (descriptors are wanted)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            if not _clone(reader.fileno(), descriptor):
                _copy(reader.fileno(), descriptor, file.size_bytes, goes_on)
        finally:
            os.close(descriptor)


def _clone(source: int, target: int) -> bool:
    with contextlib.suppress(OSError):
        fcntl.ioctl(target, FICLONE, source)
        return True
    return False


def _copy(source: int, target: int, size: int, goes_on: GoesOn) -> None:
    left, in_kernel = size, True
    while left:
        if not goes_on():
            raise TransferStopped
        piece = min(left, COPIED_AT_ONCE)
        try:
            copied = (
                os.copy_file_range(source, target, piece)
                if in_kernel
                else os.sendfile(target, source, None, piece)
            )
        except OSError as error:
            if not in_kernel or error.errno not in _NO_CLONE:
                raise
            in_kernel = False
            continue
        if not copied:
            raise OSError(errno.EIO, "a cached file became shorter")
        left -= copied
