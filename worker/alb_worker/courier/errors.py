"""Why a courier cannot do what it was told."""

from __future__ import annotations

import errno
from typing import Final

from alb_core.errors import AlbError

NO_SPACE: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class NotMoved(AlbError):
    """Raised when files cannot be moved, with the sentence for their task. Retrying here does not help."""


def disk_trouble(error: OSError) -> NotMoved:
    """Return what a failure of the worker's disk means to a task."""
    if error.errno in NO_SPACE:
        return NotMoved(f"the disk of this worker is full ({error.strerror}): there is no room for its files")
    return NotMoved(f"the disk of this worker fails: {error.strerror or error}")
