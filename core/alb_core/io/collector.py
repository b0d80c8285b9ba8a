"""Python's collector of cycles, in processes that serve for long.

They make values without cycles by the hundred thousand: looking for cycles often only costs, and looking
through all modules and records again, as the collector does at times, is a pause of many milliseconds.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

THRESHOLDS: Final = (50_000, 50, 50)
#: Containers that are made and not freed between two looks; a few megabytes at the most.


def serve() -> None:
    """Look for cycles seldom, and never again among what exists now: what was imported and set up stays.

    Called again, it looks through everything once: much of what was kept since is of no use any more.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.enable()


@contextmanager
def seldom() -> Iterator[None]:
    """Look for cycles seldom in a block, and as before after it: for work in somebody's process."""
    before = gc.get_threshold()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Loads:
    """The collector where very much is loaded at times, kept for a while, and dropped as a whole.

    While it loads, each look would go through the newest of what is made; later looks, through all of it.
    """

    def __init__(self) -> None:
        self._loads = self._keeps = False  #: As told last.

    def follow(self, *, loads: bool, keeps: bool) -> None:
        """Do what is due.

        Args:
            loads: More and more is made, all of it to be kept.
            keeps: What was loaded is in use.
        """
        if self._keeps and not keeps:
            serve()
        elif loads and not self._loads:
            gc.disable()
        elif self._loads and not loads:
            gc.freeze()
            gc.enable()
        self._loads, self._keeps = loads, keeps
