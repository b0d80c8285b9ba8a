"""Python's collector of cycles, in processes that serve for long.

They make values without cycles by the hundred thousand: looking for cycles often only costs, and looking
through all modules and records again, as the collector does at times, is a pause of many milliseconds.
"""

from __future__ import annotations

import gc
from typing import Final

THRESHOLDS: Final = (50_000, 50, 50)
#: Containers that are made and not freed between two looks; a few megabytes at the most.


def serve() -> None:
    """Look for cycles seldom, and never again among what exists now: what was imported and set up stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
