"""The directories that a broker will write to.

It needs them late: when it hands over, or with the first file. So they are looked at when it starts, that an
operator hears then of a volume that belongs to somebody else. It leads without them all the same.
"""

from __future__ import annotations

import os
from pathlib import Path

from alb_core.config import BrokerConfig
from alb_core.notes import Level, Note


def examine_places(config: BrokerConfig) -> list[Note]:
    """Return what an operator should know of the broker's directories.

    Args:
        config: Its settings. The directory of the depot may be missing: it is made; that for dumps may not.
    """
    notes = []
    for setting, path, made in (("dump_dir", config.dump_dir, False), ("depot_dir", config.depot_dir, True)):
        place = Path(path)
        while made and not place.exists() and place != place.parent:
            place = place.parent
        if path and not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
            why = "this user cannot write to it" if place.is_dir() else "there is no such directory"
            notes.append(
                Note("directory_unusable", {"setting": setting, "path": path, "why": why}, Level.ERROR)
            )
    return notes
