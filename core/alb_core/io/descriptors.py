"""How many files this process may have open: libzmq aborts it when descriptors run out."""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Final

FILES_MAX: Final = 65_536
#: Enough for some ten thousand links; far below what makes closing all of them slow.


def allow_open_files() -> None:
    """Raise the process's own limit as far as it may, up to `FILES_MAX`; later children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(FILES_MAX, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
