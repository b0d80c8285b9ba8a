"""Real ZooKeeper servers for the tests, and a wire to them that can be cut."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from alb.local.zookeeper import Ensemble

_CHROOTS = itertools.count(1)


class ZooKeeperAt(msgspec.Struct, frozen=True):
    """A place in a running ZooKeeper that one test has for itself. Nothing is there yet."""

    hosts: str
    chroot: str

    @property
    def zk(self) -> str:
        """The connection string, as ``--zk`` takes it."""
        return self.hosts + self.chroot


def fresh_place(hosts: str) -> ZooKeeperAt:
    """Return a chroot that nobody used before."""
    return ZooKeeperAt(hosts, f"/test-{os.getpid()}-{next(_CHROOTS)}")


def make_ensemble(folder: Path, count: int = 1) -> Ensemble:
    """Prepare servers that come up fast and leave the processors to the tests."""
    return Ensemble(folder, count, heap_mib=256)


class Wire:
    """A TCP forwarder to one server. As a context manager it is open inside the block.

    Args:
        target: ``127.0.0.1:port``.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._ends: list[socket.socket] = []
        self._lock = threading.Lock()
        self._broken = False
        self._deaf = threading.Event()
        self.swallowed = threading.Event()
        #: Set once an answer was swallowed.
        self._closed = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def swallow_answers(self) -> None:
        """From now on let requests through and throw their answers away."""
        self.swallowed.clear()
        self._deaf.set()

    def cut(self) -> None:
        """Break every connection, and refuse new ones until `mend`."""
        with self._lock:
            self._broken = True
            ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def mend(self) -> None:
        """Let connections through again, both ways."""
        self._deaf.clear()
        with self._lock:
            self._broken = False

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._broken:
                    near.close()
                    continue
                try:
                    far = socket.create_connection(self._target)
                except OSError:
                    near.close()
                    continue
                self._ends += (near, far)
            threading.Thread(target=self._pump, args=(near, far, None), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near, self._deaf), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, deaf: threading.Event | None) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if deaf is not None and deaf.is_set():
                    self.swallowed.set()
                else:
                    sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
