"""Imports one plug-in in a process of its own: ``python -m alb_core.io.trial MODULE:NAME``.

Whatever the import does to this process, it does to no other; `alb_core.io.plug_ins` asks for it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib.metadata import EntryPoint
from typing import Final

ENDED: Final = 87
#: The import came to an end, well or with an exception: the status of a process that got so far. Foreign code
#: that ends the process ends it otherwise, but by a strange chance.


def main(value: str) -> None:
    """Import, and end the process with what became of it."""
    with suppress(BaseException):  # who loads it afterwards meets the same, and tells
        EntryPoint("tried", value, "tried").load()
    os._exit(ENDED)  # nothing of what the import started keeps this process alive


if __name__ == "__main__":
    main(sys.argv[1])
