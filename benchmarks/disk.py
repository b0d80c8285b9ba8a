"""The disk under a benchmark: what file system it is, and how long it takes to make a write durable."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from statistics import median
from typing import Final

MEMORY_FILE_SYSTEMS: Final = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})
FSYNC_SAMPLES: Final = 200
FSYNC_BYTES: Final = 4096

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
#: How ``/proc/mounts`` writes blanks in paths.


def file_system_of(path: Path, mounts: str) -> str:
    """Return the type of the file system that holds a path.

    Args:
        path: Absolute, without symbolic links.
        mounts: The text of ``/proc/mounts``.
    """
    found, kind = "", "unknown"
    for line in mounts.splitlines():
        _, point, of_this_kind, *_ = line.split(" ")
        point = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), point)
        # Of two mounts at one place the later one is seen.
        if path.is_relative_to(point) and len(point) >= len(found):
            found, kind = point, of_this_kind
    return kind


def is_in_memory(path: Path) -> bool:
    """Tell whether what is written to a path never reaches a disk."""
    mounts = Path("/proc/mounts").read_text()
    return file_system_of(path.resolve(), mounts) in MEMORY_FILE_SYSTEMS


def measure_fsync_ms(folder: Path) -> float:
    """Return how long an fsync after an appended write takes here: the median, in milliseconds."""
    file = folder / "fsync"
    block = os.urandom(FSYNC_BYTES)
    taken: list[float] = []
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        for _ in range(FSYNC_SAMPLES):
            os.write(descriptor, block)
            began = time.perf_counter()
            os.fsync(descriptor)
            taken.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        file.unlink()
    return median(taken) * 1000
