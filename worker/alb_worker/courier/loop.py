"""The courier's loop: takes orders from the agent, gives each to a thread, and passes the answers on.

When the agent is gone, the process ends at once, whatever is under way: the next courier goes on from there.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from alb_core.errors import TransferStopped
from alb_core.messages import AttemptId
from alb_core.notes import Note
from alb_worker.courier.depots import Depots
from alb_worker.courier.errands import Errands, discard
from alb_worker.courier.messages import (
    Abandon,
    Collect,
    Discard,
    Noted,
    Prepare,
    Save,
    Settings,
    ToCourier,
    UseDepots,
)
from alb_worker.courier.saving import Saver
from alb_worker.runner.link import FrameLink

ERRANDS_MAX: Final = 128
#: At once; most of them wait for somebody. More orders wait for a thread.


class Courier:
    """Moves files for the agent at the other end of a socket, until that end closes.

    Args:
        connection: Our end.
        settings: Whose courier this is.
    """

    def __init__(self, connection: socket.socket, settings: Settings) -> None:
        self._link: FrameLink[ToCourier] = FrameLink(connection, ToCourier)
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._answers: deque[msgspec.Struct] = deque()
        self._depots = Depots(self._note)
        self._errands = Errands(Path(settings.home), settings.cache_bytes_max, self._depots, self._note)
        self._saver = Saver(self._depots)
        self._threads = ThreadPoolExecutor(ERRANDS_MAX, "errand")
        self._called_off: dict[AttemptId, threading.Event] = {}
        #: Errands under way, and what calls them off.

    def run(self) -> None:
        """Serve the agent until it is gone."""
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        while not self._link.ended:
            wanted = select.POLLIN | (select.POLLOUT if self._link.pending_bytes else 0)
            poll.register(self._link, wanted)
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._bell in ready:
                os.eventfd_read(self._bell)
            if self._link.fileno() in ready:
                for message in self._link.receive():
                    self._obey(message)
            while self._answers:
                self._link.send(self._answers.popleft())
            self._link.flush()

    def _obey(self, message: ToCourier) -> None:
        match message:
            case UseDepots(depots=depots):
                self._depots.use(depots)
            case Abandon(attempt=attempt):
                if attempt in self._called_off:
                    self._called_off[attempt].set()
            case Discard(directory=directory):
                self._threads.submit(discard, directory)
            case Prepare() | Collect() | Save():
                called_off = self._called_off[message.attempt] = threading.Event()
                self._threads.submit(self._carry_out, message, called_off)

    def _carry_out(self, order: Prepare | Collect | Save, called_off: threading.Event) -> None:
        goes_on = partial(_not_set, called_off)
        try:
            match order:
                case Prepare():
                    self._say(self._errands.prepare(order, goes_on))
                case Collect():
                    self._say(self._errands.collect(order, goes_on))
                case Save():
                    self._say(self._saver.save(order, goes_on))
        except TransferStopped:
            pass
        except BaseException:  # noqa: BLE001 (a thread's defect ends the process, as it would in any other)
            # A defect, or no memory: the agent notices the death, starts another courier and orders again.
            os._exit(os.EX_SOFTWARE)
        finally:
            if self._called_off.get(order.attempt) is called_off:
                del self._called_off[order.attempt]

    def _note(self, note: Note) -> None:
        self._say(Noted(note=note))

    def _say(self, message: msgspec.Struct) -> None:
        self._answers.append(message)
        os.eventfd_write(self._bell, 1)


def _not_set(event: threading.Event) -> bool:
    return not event.is_set()
