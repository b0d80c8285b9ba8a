"""ZeroMQ sockets and the doorbell: every option of every socket is set in this one place.

Sockets belong to one thread: the owner's poll loop, which also drains them. libzmq may lose anything; what
must arrive is sent again by the cores until it is answered.
"""

from __future__ import annotations

import enum
import os
import socket as tcp
import sys
import threading
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

import zmq

from alb_core import limits
from alb_core.errors import ConfigError

HIGH_WATER_MESSAGES: Final = 1000
#: Messages that one peer may have waiting each way: a backstop; cores bound what they send long before.

_OPTIONS: Final = {
    zmq.LINGER: 0,  # closing never waits for a dead peer
    zmq.MAXMSGSIZE: limits.MESSAGE_BYTES_MAX,  # a peer that sends more is cut off by libzmq
    zmq.HEARTBEAT_IVL: 2000,  # a pulled cable is noticed in seconds, not in a quarter of an hour …
    zmq.HEARTBEAT_TIMEOUT: 6000,
    zmq.HEARTBEAT_TTL: 6000,  # … on both sides
    zmq.HANDSHAKE_IVL: 5000,  # a connection that never says what it is
    zmq.CONNECT_TIMEOUT: 2000,
    zmq.RECONNECT_IVL: 100,
    zmq.RECONNECT_IVL_MAX: 2000,
    zmq.BACKLOG: 1024,  # a whole cluster may return at once
}

_NOBLOCK: Final = int(zmq.NOBLOCK)
_FIRST_OF_TWO: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)
#: As numbers: combining members of an enumeration costs as much as the call that takes them.

_MONITORED: Final = (
    zmq.Event.HANDSHAKE_SUCCEEDED
    | zmq.Event.DISCONNECTED
    | zmq.Event.CLOSED
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
)


class LinkChange(enum.Enum):
    """What happened to the connection of a `Dealer`."""

    CONNECTED = "connected"  #: The peer speaks ZeroMQ: what is sent from now on is on its way.
    DISCONNECTED = "disconnected"  #: An established connection broke; libzmq tries again by itself.
    FAILED = "failed"  #: An attempt failed: refused, silent, or no ZeroMQ; libzmq tries again.


@cache
def context() -> zmq.Context[zmq.Socket[bytes]]:
    """Return the process's one ZeroMQ context."""
    return zmq.Context(io_threads=1)


os.register_at_fork(after_in_child=context.cache_clear)  # its threads stay behind: a child has its own


def make_socket(kind: int, *, ipv6: bool = False, high_water: int = HIGH_WATER_MESSAGES) -> zmq.Socket[bytes]:
    """Make a socket with every option set, before it binds or connects: libzmq reads most of them only then.

    Args:
        kind: ``zmq.ROUTER`` or ``zmq.DEALER``.
        ipv6: Whether the address is one of version 6.
        high_water: Messages that may wait for one peer, each way.
    """
    made = context().socket(kind)
    for option, value in _OPTIONS.items():
        made.setsockopt(option, value)
    made.setsockopt(zmq.SNDHWM, high_water)
    made.setsockopt(zmq.RCVHWM, high_water)
    made.setsockopt(zmq.IPV6, int(ipv6))
    if kind == zmq.ROUTER:
        made.setsockopt(zmq.ROUTER_MANDATORY, 1)  # say so where a peer is gone, instead of dropping silently
        made.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a peer that returns is heard at once
    if kind == zmq.DEALER:
        made.setsockopt(zmq.IMMEDIATE, 1)  # nothing queues for a peer that is not there
    return made


class Router:
    """The broker's end of many links: binds, and knows its peers by their identity.

    Args:
        bind: Address to listen on.
        port: TCP port; 0 for any free one.
        advertise: Address that others connect to; empty for the same as `bind`.
        high_water: Messages that may wait for one peer, each way.

    Raises:
        ConfigError: The address cannot be listened on.
    """

    def __init__(
        self, bind: str, port: int = 0, *, advertise: str = "", high_water: int = HIGH_WATER_MESSAGES
    ) -> None:
        self.dropped = 0
        #: Messages that were not one frame: nothing of ours sends such.
        self.unsent = 0
        #: Messages for a peer that was gone or did not read.
        self.socket = make_socket(zmq.ROUTER, ipv6=":" in bind, high_water=high_water)
        try:
            self.socket.bind(f"tcp://{bracketed(bind)}:{port or '*'}")
        except zmq.ZMQError as error:
            self.socket.close()
            raise ConfigError(f"cannot listen on {bind} port {port or 'any'}: {error}") from error
        bound = self.socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(bound, bytes)  # noqa: S101 (narrows the type)
        number = bound.decode().rstrip("\0").rpartition(":")[2]
        self.endpoint: Final = f"tcp://{bracketed(numeric(advertise or bind))}:{number}"
        #: ``tcp://address:port`` that others connect to.

    def receive(self, limit: int) -> list[tuple[bytes, bytes]]:
        """Take what has arrived: at most `limit` pairs of a peer's identity and its frame."""
        received: list[tuple[bytes, bytes]] = []
        for parts in _arrived(self.socket, limit):
            if len(parts) == 2:
                received.append((parts[0], parts[1]))
            else:
                self.dropped += 1
        return received

    def send(self, peer: bytes, frame: bytes) -> bool:
        """Send a frame, or tell that the peer is gone or does not read; what counts is sent again later."""
        try:
            self.socket.send(peer, _FIRST_OF_TWO)
            self.socket.send(frame, _NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            self.unsent += 1
            return False
        return True

    def close(self) -> None:
        """Close every link."""
        self.socket.close()


class Dealer:
    """One link to one endpoint of a broker.

    The owner polls `socket` for frames and `monitor` for changes of the connection.

    Args:
        endpoint: ``tcp://address:port``.
        identity: How the other end names this one: a name and a random incarnation.
        high_water: Messages that may wait, each way.
    """

    def __init__(self, endpoint: str, identity: bytes, *, high_water: int = HIGH_WATER_MESSAGES) -> None:
        self.endpoint: Final = endpoint
        self.dropped = 0
        #: Messages that were not one frame: nothing of ours sends such.
        self.socket = make_socket(zmq.DEALER, ipv6="[" in endpoint, high_water=high_water)
        self.socket.setsockopt(zmq.IDENTITY, identity)
        try:
            self.monitor: Final[zmq.Socket[bytes]] = self.socket.get_monitor_socket(_MONITORED)
        except zmq.ZMQError:  # too many open files
            self.socket.close()
            raise
        try:
            self.socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(f"{endpoint!r} is not tcp://address:port: {error}") from error

    def receive(self, limit: int) -> list[bytes]:
        """Take what has arrived: at most `limit` frames."""
        received: list[bytes] = []
        for parts in _arrived(self.socket, limit):
            if len(parts) == 1:
                received.append(parts[0])
            else:
                self.dropped += 1
        return received

    def send(self, frame: bytes) -> bool:
        """Send a frame, or tell that the link is down or full; what counts is sent again later."""
        try:
            self.socket.send(frame, _NOBLOCK)
        except zmq.Again:
            return False
        return True

    def changes(self) -> list[LinkChange]:
        """Take what happened to the connection since the last call, oldest first."""
        changes: list[LinkChange] = []
        for parts in _arrived(self.monitor):
            # The number comes first. pyzmq has a parser, but it imports asyncio: slow for a command.
            event = int.from_bytes(parts[0][:2], sys.byteorder)
            if event == zmq.Event.HANDSHAKE_SUCCEEDED:
                changes.append(LinkChange.CONNECTED)
            elif event == zmq.Event.DISCONNECTED:
                changes.append(LinkChange.DISCONNECTED)
            else:
                changes.append(LinkChange.FAILED)
        return changes

    def close(self) -> None:
        """Close the link; what was not sent yet is dropped."""
        self.socket.disable_monitor()
        self.monitor.close()
        self.socket.close()


class Doorbell:
    """Wakes a poll loop from any thread: poll `fileno` for reading, then `clear`."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.RLock()  # a signal handler may ring while its thread is ringing
        self._open = True

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._fd

    def ring(self) -> None:
        """Wake the owner; harmless at any time, also after `close`."""
        with self._lock:  # a descriptor that was closed meanwhile may already be somebody else's
            if self._open:
                os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        """Forget every ring so far. Call it before looking at what the rings are about."""
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Give the descriptor back."""
        with self._lock:
            if self._open:
                self._open = False
                os.close(self._fd)


def numeric(host: str) -> str:
    """Return a host's address in digits, so that nobody's ZeroMQ thread waits for a name server.

    A name that means the loopback here, or nothing at all, is kept: it may mean something elsewhere.
    """
    try:
        addresses = [str(info[4][0]) for info in tcp.getaddrinfo(host, None, type=tcp.SOCK_STREAM)]
    except OSError:
        return host
    return next((address for address in _by_version(addresses) if not _is_loopback(address)), host)


def _arrived(end: zmq.Socket[bytes], limit: int = sys.maxsize) -> Iterator[list[bytes]]:
    """Yield the messages that have arrived, at most `limit`.

    Who asks for them knows of one, most often. Before each further one it asks the socket: that costs half of
    the exception that says that there is nothing.
    """
    for number in range(limit):
        if number:
            events = end.getsockopt(_EVENTS)
            assert isinstance(events, int)  # noqa: S101 (narrows the type)
            if not events & _POLLIN:
                return
        try:
            parts = end.recv_multipart(_NOBLOCK)
        except zmq.Again:
            return
        yield parts


def _by_version(addresses: Iterable[str]) -> list[str]:
    return sorted(addresses, key=lambda address: ":" in address)


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def bracketed(host: str) -> str:
    """Return a host as it stands before a port."""
    return f"[{host}]" if ":" in host else host
