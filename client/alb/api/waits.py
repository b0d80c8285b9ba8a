"""Says what a client waits for, where nobody else listens to its notices: no program hangs in silence."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from alb.core import notices

LOGGER: Final = logging.getLogger("alb")
#: Says what a program that waits for its futures could not know.


class Waits:
    """Words the notices that explain a wait; each sentence once, until what it says is over.

    Args:
        say: Takes each sentence, on the client's thread.
    """

    def __init__(self, say: Callable[[str], None] = LOGGER.warning) -> None:
        self._say: Final = say
        self._told: Final[set[str]] = set()

    def hear(self, notice: notices.AnyNotice) -> None:
        """Take a notice."""
        match notice:
            case notices.LeaderAwaited(what=what):
                self._once(f"waiting for {what}")
            case notices.ZooKeeperSilent(why=why) | notices.DepotsSilent(why=why):
                self._once(f"{why}; trying again")
            case notices.NobodyLeads(brokers=brokers) if self._told:  # else it may be over in a moment
                self._once(f"none of {brokers} brokers leads yet" if brokers else "no broker is registered")
            case notices.BrokerRefused(why=why):
                self._once(f"the broker refuses this client: {why}")
            case notices.LeaderWaits(broker=broker, what=what) if what:
                self._once(f"{broker} waits for {what}; commands go on running")
            case notices.TableFull(why=why):
                self._once(f"{why or 'the cluster has no room for another task'}; trying again")
            case notices.LeaderGreeted(broker=broker, after_s=after_s) if self._told:
                self._told.clear()
                self._say(f"{broker} leads, after {after_s:.1f} s")

    def _once(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            self._say(sentence)
