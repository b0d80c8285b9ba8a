"""The agent's end of its courier: starts it with the first order, speaks with it, and replaces a dead one.

It owns the courier's process and the socket, and remembers the orders that are not answered: a new courier
gets them again. It never waits. What becomes of an attempt is not its business.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Final

import msgspec

from alb_core.io.logs import Logger
from alb_core.messages import AttemptId
from alb_worker.courier.messages import (
    Abandon,
    Collect,
    Collected,
    Discard,
    FromCourier,
    Noted,
    NotPrepared,
    Prepare,
    Prepared,
    Save,
    Saved,
    Settings,
    UseDepots,
)
from alb_worker.runner.link import FrameLink
from alb_worker.shell import leftovers

TRIES_MAX: Final = 3
#: Couriers that may die over one order: it may be what kills them.
_DIED: Final = f"the worker's courier died {TRIES_MAX} times over its files"

Order = Prepare | Collect | Save

_ANSWERS: Final = {Prepare: (Prepared, NotPrepared), Collect: (Collected,), Save: (Saved,)}


class CourierLink:
    """A courier and the link to it.

    Args:
        home: The worker's directory.
        cache_bytes_max: What its cache may hold.
        logger: Takes what happens to the process.
    """

    def __init__(self, home: str, cache_bytes_max: int, logger: Logger) -> None:
        self._settings = Settings(home=os.path.realpath(home), cache_bytes_max=cache_bytes_max)
        self._logger = logger
        self._depots = UseDepots(depots=())
        self._orders: dict[AttemptId, tuple[Order, int]] = {}
        #: Those without an answer, and how many couriers had them.
        self._link: FrameLink[FromCourier] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._failed: list[NotPrepared | Collected | Saved] = []
        #: Answers that no courier gave.

    def fileno(self) -> int:
        """Return the descriptor to poll for reading; -1: there is no courier."""
        return -1 if self._link is None else self._link.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether messages wait until the socket takes more."""
        return self._link is not None and self._link.pending_bytes > 0

    @property
    def pid(self) -> int | None:
        """The courier's process number, None where there is none."""
        return None if self._process is None else self._process.pid

    def use_depots(self, depots: tuple[str, ...]) -> None:
        """Have it speak to these depots."""
        self._depots = UseDepots(depots=depots)
        if self._link is not None:
            self._link.send(self._depots)

    def order(self, order: Order) -> None:
        """Have files moved. Sent with the next ``flush``; the answer comes from ``receive``."""
        self._orders[order.attempt] = (order, 1)
        if self._ready():
            assert self._link is not None  # noqa: S101 (narrows the type)
            self._link.send(order)

    def call_off(self, attempt: AttemptId) -> None:
        """Nobody wants an answer any more."""
        if self._orders.pop(attempt, None) is not None and self._link is not None:
            self._link.send(Abandon(attempt=attempt))

    def discard(self, directory: str) -> None:
        """Nobody wants the files in a directory any more, prepared or left by a command."""
        if self._ready():
            assert self._link is not None  # noqa: S101 (narrows the type)
            self._link.send(Discard(directory=directory))

    def flush(self) -> None:
        """Send what the courier takes now."""
        if self._link is not None:
            self._link.flush()

    def receive(self) -> list[FromCourier]:
        """Return what the courier said, only answers that are still wanted; replace it if it died."""
        failed, self._failed = self._failed, []
        received: list[FromCourier] = [*failed]
        if self._link is None:
            return received
        for message in self._link.receive():
            if isinstance(message, Noted) or self._answers(message):
                received.append(message)
            elif isinstance(message, Prepared):
                self.discard(message.directory)  # called off when it was done
        if self._link.ended:
            self._bury()
            self._start_again()
        return received

    def close(self) -> None:
        """End the courier."""
        self._orders.clear()
        self._bury()

    # --- leaves -------------------------------------------------------------------------------------------

    def _ready(self) -> bool:
        """Start the courier where there is none; False where that is not possible."""
        if self._link is not None:
            return True
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [
                        *(sys.executable, "-X", "utf8", "-P", "-m", "alb_worker.courier"),
                        *(str(theirs.fileno()), msgspec.json.encode(self._settings).decode()),
                    ],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                    env={name: value for name, value in os.environ.items() if name not in leftovers.MARKS},
                )
            except OSError as error:
                ours.close()
                self._logger.warning("courier_not_started", why=str(error))
                self._fail_all(f"the worker could not start its courier: {error.strerror}")
                return False
        self._logger.info("courier_started", pid=self._process.pid)
        self._link = FrameLink(ours, FromCourier)
        self._link.send(self._depots)
        return True

    def _bury(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._process is not None:
            self._process.kill()  # a courier without a link is of no use, should it live
            status = self._process.wait()
            self._process = None
            if self._orders:
                self._logger.error("courier_died", status=status, orders=len(self._orders))

    def _start_again(self) -> None:
        """Give what is not answered to a new courier, but for what killed several."""
        again: list[Order] = []
        for attempt, (order, tries) in list(self._orders.items()):
            if tries >= TRIES_MAX:
                self._fail(order, _DIED)
            else:
                self._orders[attempt] = (order, tries + 1)
                again.append(order)
        if again and self._ready():
            assert self._link is not None  # noqa: S101 (narrows the type)
            for order in again:
                self._link.send(order)

    def _answers(self, message: Prepared | NotPrepared | Collected | Saved) -> bool:
        """Take an answer; False: it is to an order that was called off, perhaps for another one."""
        order, _ = self._orders.get(message.attempt, (None, 0))
        if order is None or not isinstance(message, _ANSWERS[type(order)]):
            return False
        del self._orders[message.attempt]
        return True

    def _fail_all(self, why: str) -> None:
        for order, _ in list(self._orders.values()):
            self._fail(order, why)

    def _fail(self, order: Order, why: str) -> None:
        del self._orders[order.attempt]
        if isinstance(order, Prepare):
            self._failed.append(NotPrepared(attempt=order.attempt, why=why))
        elif isinstance(order, Save):
            self._failed.append(Saved(attempt=order.attempt, trouble=why))
        else:
            self._failed.append(Collected(attempt=order.attempt, files=(), unreturned=why))

    @property
    def has_news(self) -> bool:
        """Whether ``receive`` has something that no descriptor tells of."""
        return bool(self._failed)
