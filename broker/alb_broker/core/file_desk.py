"""What the leader tells the depots: who they are, and which files tasks need. No byte of one comes here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from alb_broker.core.actions import TellDepots
from alb_broker.core.state import State
from alb_core.files import Census

CENSUS_EVERY_S: Final = 15.0
#: Depots forget after a minute what they may remove.
CENSUS_SOON_S: Final = 2.0
#: After a change; counting up 100,000 files takes some 20 ms.


class FileDesk:
    """Speaks to the depots.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._told_at = float("-inf")  #: Own clock of the newest census.
        self._told: tuple[tuple[str, ...], Mapping[str, str]] = ((), {})  #: Depots and keys that it named.

    def tick(self) -> None:
        """Take a census when it is due."""
        state, members = self._state, self._state.members
        if not members.depots:
            return
        age = state.at - self._told_at
        changed = state.table.files.changed or (members.depots, members.depot_keys) != self._told
        if age < (CENSUS_SOON_S if changed else CENSUS_EVERY_S):
            return
        self._told_at = state.at
        self._told = (members.depots, members.depot_keys)
        used = state.table.files.used(state.table.done)
        census = Census(table=state.claim.table, epoch=state.epoch, depots=members.depots, used=used)
        state.out.append(TellDepots(census, members.depot_keys))
