"""What a ZooKeeper server holds, and what a broker's process takes, watched while something runs."""

from __future__ import annotations

import socket
import threading
from typing import Final, Self

import msgspec
import psutil

from ground import BenchmarkFailed

EVERY_S: Final = 0.5
ANSWER_S: Final = 10.0


class Maxima(msgspec.Struct):
    """The largest that was seen."""

    znodes: int = 0
    data_bytes: int = 0
    rss_bytes: int = 0


class Meter:
    """Samples within its block.

    Args:
        zk: ``host:port`` of the server.
        pid: The broker's process.
    """

    def __init__(self, zk: str, pid: int) -> None:
        self.maxima: Final = Maxima()
        self._zk: Final = zk
        self._process: Final = psutil.Process(pid)
        self._over: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._over.wait(EVERY_S):
            self._sample()

    def _sample(self) -> None:
        figures = monitored(self._zk)
        seen = self.maxima
        seen.znodes = max(seen.znodes, int(figures["zk_znode_count"]))
        seen.data_bytes = max(seen.data_bytes, int(figures["zk_approximate_data_size"]))
        seen.rss_bytes = max(seen.rss_bytes, self._process.memory_info().rss)


def monitored(zk: str) -> dict[str, str]:
    """Return what a server answers to ``mntr``.

    Raises:
        BenchmarkFailed: It answers nothing.
    """
    host, _, port = zk.partition(",")[0].partition("/")[0].rpartition(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=ANSWER_S) as link:
        link.sendall(b"mntr")
        while piece := link.recv(65536):
            answer += piece
    lines = (line.partition("\t") for line in answer.decode().splitlines())
    figures = {name: value for name, _, value in lines}
    if "zk_znode_count" not in figures:
        raise BenchmarkFailed(f"ZooKeeper at {zk} answers mntr with {answer[:100]!r}")
    return figures
