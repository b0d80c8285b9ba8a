"""A depot as a process of its own, for tests: started as a broker starts it, killed, and started again."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from alb_broker.depot.census import Order
from alb_broker.depot.settings import KEY_VARIABLE, Settings
from alb_core.files import Census
from alb_core.io.transfer import Content


class DepotProcess:
    """One depot.

    Args:
        directory: Where it keeps its files.
        bytes_max: For all of them.
    """

    def __init__(self, directory: Path, bytes_max: int = 2**32) -> None:
        self.directory = directory
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._settings = Settings(
            broker=directory.name, endpoint=self.endpoint, directory=str(directory), bytes_max=bytes_max
        )
        self.key = f"key of {directory.name}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it; requests may come at once."""
        descriptor = self._listener.fileno()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "alb_broker.depot", str(descriptor)),
                msgspec.json.encode(self._settings).decode(),
            ],
            stdin=subprocess.PIPE,
            pass_fds=(descriptor,),
            env={**os.environ, "PYTHONWARNINGS": "ignore", KEY_VARIABLE: self.key},
        )
        return self

    def lead(self, *others: DepotProcess, used: dict[str, int] | None = None, epoch: int = 1) -> None:
        """Tell it, as its broker would, that it leads, who the others are, and what tasks need."""
        depots = (self.endpoint, *(other.endpoint for other in others))
        keys = {other.endpoint: other.key for other in others}
        self.order(Order(census=Census(table="t", epoch=epoch, depots=depots, used=used or {}), keys=keys))

    def order(self, order: Any) -> None:
        """Send it an order of its broker."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(order) + b"\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """End it without warning."""
        assert self.process is not None
        self.process.kill()
        self._reap()

    def leave(self) -> int:
        """Close its broker's end, and return its exit status."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(60)

    def _reap(self) -> None:
        assert self.process is not None
        self.process.wait(60)
        if self.process.stdin is not None:
            self.process.stdin.close()

    def __enter__(self) -> Self:
        return self if self.process is not None else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self._listener.close()


def content(data: bytes) -> Content:
    """Return what names these bytes."""
    return Content(hashlib.sha256(data).hexdigest(), len(data))
