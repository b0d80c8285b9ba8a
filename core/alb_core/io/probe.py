"""Asks a TCP port whether anybody listens: the proof of a dead leader, without a thread."""

from __future__ import annotations

import enum
import errno
import socket

from alb_core.io.clock import monotonic


class Finding(enum.Enum):
    """What a probe found."""

    REFUSED = "refused"  #: The machine answered that nobody listens: the process is gone.
    OPEN = "open"  #: Somebody listens; whether it works is another question.
    SILENT = "silent"  #: No answer in time, or no way there: proof of nothing.


class Probe:
    """One attempt to connect, begun at once. Poll it for writing, and ask `finding`.

    Args:
        endpoint: ``tcp://address:port``.
        within_s: After so many seconds the answer is SILENT.
    """

    def __init__(self, endpoint: str, within_s: float) -> None:
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        host = host.strip("[]")
        self._deadline = monotonic() + within_s
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._finding: Finding | None = None
        try:
            self._settle(self._socket.connect_ex((host, int(port))))
        except OSError:  # the name means nothing here
            self._finding = Finding.SILENT

    def fileno(self) -> int:
        """Return the descriptor to poll for writing."""
        return self._socket.fileno()

    def finding(self) -> Finding | None:
        """Return what was found, or None while that is open."""
        if self._finding is None:
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._settle(error or self._is_under_way())
        if self._finding is None and monotonic() >= self._deadline:
            self._finding = Finding.SILENT
        return self._finding

    def close(self) -> None:
        """Give the descriptor back."""
        self._socket.close()

    def _is_under_way(self) -> int:
        try:
            self._socket.getpeername()
        except OSError:
            return errno.EINPROGRESS
        return 0

    def _settle(self, error: int) -> None:
        if error == 0:
            # A port of the ephemeral range that nobody listens on can be connected to itself.
            to_itself = self._socket.getsockname() == self._socket.getpeername()
            self._finding = Finding.REFUSED if to_itself else Finding.OPEN
        elif error == errno.ECONNREFUSED:
            self._finding = Finding.REFUSED
        elif error not in (errno.EINPROGRESS, errno.EALREADY):
            self._finding = Finding.SILENT
