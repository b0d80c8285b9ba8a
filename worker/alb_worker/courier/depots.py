"""The depots as a courier sees them: which there are, who is asked next, and when to give up.

The rules of patience, in both directions: while no depot answers at all, the task waits long, for that is the
cluster's trouble; where depots answer that they do not have a file, it is given up soon. Whatever moves bytes
starts the patience anew.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Final

from alb_core.errors import DepotRefused, TransferError, TransferStopped, WrongContent
from alb_core.io import transfer
from alb_core.io.transfer import Content, GoesOn
from alb_core.notes import Level, Note
from alb_worker.courier.errors import NotMoved

MISSING_S: Final = 60.0
#: Depots that answer have so long to get a file from one that is away.
UNREACHABLE_S: Final = 600.0
#: No depot answers: every broker is down, or the network is.
RETURN_S: Final = 300.0
#: No depot takes a file that is to go back. The command's room is held until then.
RETRY_S: Final = 1.0
REMIND_S: Final = 10.0
#: Between two lines of the log about the same file.
FETCHED_AT_ONCE: Final = 4
#: More downloads would only share the same network.


class Depots:
    """All depots of the cluster.

    Args:
        note: Takes lines for the log; called on any thread.
    """

    def __init__(self, note: Callable[[Note], None]) -> None:
        self._note = note
        self._known: tuple[str, ...] = ()
        self._turns = threading.BoundedSemaphore(FETCHED_AT_ONCE)

    def use(self, depots: tuple[str, ...]) -> None:
        """Speak to these from now on."""
        self._known = depots

    def fetch(self, content: Content, descriptor: int, goes_on: GoesOn) -> None:
        """Bring a file from whichever depot gives it.

        Args:
            content: What is wanted.
            descriptor: Open for reading and writing; what it holds already is not fetched again.
            goes_on: Asked between pieces.

        Raises:
            NotMoved: No depot gives it.
            TransferStopped: `goes_on` said no.
            OSError: The disk is full or broken.
        """
        patience = _Patience()
        while True:
            for depot in self._known:
                before = os.fstat(descriptor).st_size
                try:
                    with self._turns:
                        transfer.fetch(depot, content, descriptor, goes_on)
                except TransferStopped:
                    raise
                except TransferError as error:
                    patience.failed(error, moved=os.fstat(descriptor).st_size > before)
                else:
                    return
            self._wait(
                f"the file {content.sha256[:12]}… cannot be had", patience, MISSING_S, UNREACHABLE_S, goes_on
            )

    def store(self, content: Content, descriptor: int, goes_on: GoesOn, within_s: float = RETURN_S) -> None:
        """Bring a file to whichever depot takes it; raises as `fetch` does, and WrongContent.

        Args:
            content: What the file holds.
            descriptor: Open for reading.
            goes_on: Asked between pieces.
            within_s: How long to try while no depot takes it.
        """
        patience = _Patience()
        while True:
            depots = self._known
            for depot in depots:
                try:
                    transfer.store_safely(depot, depots, content, descriptor, goes_on)
                except (TransferStopped, WrongContent):
                    raise
                except TransferError as error:
                    patience.failed(error, moved=False)
                else:
                    return
            self._wait("no depot takes the file", patience, within_s, within_s, goes_on)

    def _wait(
        self, what: str, patience: _Patience, refused_s: float, silent_s: float, goes_on: GoesOn
    ) -> None:
        why = patience.why or "no broker has told this worker of a depot"
        if patience.waited() > (refused_s if patience.refused else silent_s):
            raise NotMoved(f"{what}, after {patience.waited():.0f} s: {why}")
        if patience.remind():
            self._note(Note("files_awaited", {"why": f"{what} yet: {why}"}, Level.WARNING))
        until = time.monotonic() + RETRY_S
        while time.monotonic() < until:
            if not goes_on():
                raise TransferStopped
            time.sleep(0.05)


class _Patience:
    """How long one file has been waited for, and why."""

    def __init__(self) -> None:
        self.why = ""
        self.refused = False
        #: Whether a depot answered, and said no.
        self._since = time.monotonic()
        self._reminded = self._since

    def failed(self, error: TransferError, *, moved: bool) -> None:
        """A depot did not help."""
        self.why = str(error)
        self.refused = isinstance(error, DepotRefused | WrongContent)
        if moved:
            self._since = time.monotonic()

    def waited(self) -> float:
        """Return the seconds since something moved."""
        return time.monotonic() - self._since

    def remind(self) -> bool:
        """Tell whether the log should hear of it again."""
        now = time.monotonic()
        if now - self._reminded < REMIND_S:
            return False
        self._reminded = now
        return True
