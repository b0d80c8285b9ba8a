"""One look at ZooKeeper: who leads, which brokers there are, and whether a worker is registered.

A client asks ZooKeeper for a moment only, and a command line that lives for a tenth of a second asks once.
kazoo keeps sessions, watches and threads for those who stay; to import and start it takes a third of the
time that a whole ``alb submit`` may. So this is the little of the protocol that a look needs: connect, get,
list, close, over a plain socket, in the thread of the caller.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

from alb_core import znodes
from alb_core.errors import ZooKeeperUnreachable
from alb_core.io.clock import monotonic, random_seed
from alb_core.znodes import BrokerNode, LeaderNode, WorkerNode

SESSION_MS: Final = 4000
#: The session of a look that ends without a word (its process was killed) is over after so long.
CONNECT_S_MAX: Final = 1.0
#: For one server, before the next is tried.
ROUND_PAUSE_S: Final = 0.1
#: Between two rounds over all servers.
ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024

_GET_DATA: Final = 4
_GET_CHILDREN: Final = 8
_CLOSE: Final = -11
_NO_NODE: Final = -101

_LENGTH: Final = struct.Struct(">i")
_REQUEST: Final = struct.Struct(">iii")  # length, xid, type
_REPLY: Final = struct.Struct(">iqi")  # xid, zxid, error
_CONNECT: Final = struct.Struct(">iiqiqi16s?")  # length, version, zxid, timeout, session, password, read-only

T = TypeVar("T")


class ServerFailed(Exception):
    """Raised when a server answers with an error, or with nonsense: the next one is tried."""


def look(hosts: str, chroot: str, within_s: float) -> tuple[LeaderNode | None, list[BrokerNode]]:
    """Find out who leads, and which brokers there are.

    Args:
        hosts: ``host:port,host:port``.
        chroot: Where the cluster lives.
        within_s: Time for the whole.

    Returns:
        The leader's node or None, and the brokers, sorted by name. What cannot be read is left out.

    Raises:
        ZooKeeperUnreachable: No server answered in time.
    """
    return _visit(hosts, within_s, lambda link: _read(link, chroot))


def look_for_worker(
    hosts: str, chroot: str, worker: str, within_s: float
) -> tuple[LeaderNode | None, WorkerNode | None]:
    """Find out who leads, and how a worker is registered; arguments and errors as `look`."""
    paths = (znodes.LEADER, znodes.worker_path(worker))
    leader, node = _visit(hosts, within_s, lambda link: _get_all(link, [chroot + path for path in paths]))
    leaders = _decoded(LeaderNode, paths[:1], [leader])
    nodes = _decoded(WorkerNode, paths[1:], [node])
    return (leaders[0] if leaders else None, nodes[0] if nodes else None)


def _visit(hosts: str, within_s: float, ask: Callable[[socket.socket], T]) -> T:
    """Ask the first server that answers; raises ZooKeeperUnreachable."""
    servers = hosts.split(",")
    first = random_seed() % len(servers)
    servers = servers[first:] + servers[:first]
    deadline = monotonic() + within_s
    patience_s = min(CONNECT_S_MAX, within_s / (2 * len(servers)))
    failure: Exception | None = None
    while True:
        for server in servers:
            try:
                with _connected(server, patience_s, deadline) as link:
                    return ask(link)
            except (OSError, struct.error, ServerFailed) as error:
                failure = error
        if monotonic() + ROUND_PAUSE_S >= deadline:
            raise ZooKeeperUnreachable(
                f"no ZooKeeper server answered within {within_s:g} s (tried {hosts}; at last: {failure}): "
                "check that it runs and that --zk or ALB_ZK names it"
            ) from failure
        time.sleep(ROUND_PAUSE_S)


@contextmanager
def _connected(server: str, patience_s: float, deadline: float) -> Iterator[socket.socket]:
    """Open a session for the time of a block."""
    host, _, port = server.rpartition(":")
    address = (host.strip("[]"), int(port)) if host else (server, 2181)
    with socket.create_connection(address, timeout=patience_s) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.settimeout(max(deadline - monotonic(), patience_s))
        link.sendall(_CONNECT.pack(_CONNECT.size - 4, 0, 0, SESSION_MS, 0, 16, bytes(16), False))
        granted_ms = struct.unpack_from(">ii", _receive(link))[1]
        if granted_ms <= 0:
            raise ServerFailed("the server refused the session")
        yield link
        link.sendall(_REQUEST.pack(8, 0, _CLOSE))


def _read(link: socket.socket, chroot: str) -> tuple[LeaderNode | None, list[BrokerNode]]:
    link.sendall(_get(1, chroot + znodes.LEADER) + _request(2, _GET_CHILDREN, chroot + znodes.BROKERS))
    leader = _data(_answer(link, 1))
    names = sorted(_names(_answer(link, 2)))
    paths = [znodes.broker_path(name) for name in names]
    brokers = _get_all(link, [chroot + path for path in paths], 3)
    leaders = _decoded(LeaderNode, [znodes.LEADER], [leader])
    return (leaders[0] if leaders else None, _decoded(BrokerNode, paths, brokers))


def _get_all(link: socket.socket, paths: Sequence[str], first: int = 1) -> list[bytes | None]:
    """Return the data of nodes; requests are numbered from `first` on."""
    link.sendall(b"".join(_get(xid, path) for xid, path in enumerate(paths, first)))
    return [_data(_answer(link, xid)) for xid in range(first, first + len(paths))]


def _decoded(
    form: type[znodes.Node], paths: Sequence[str], nodes: Sequence[bytes | None]
) -> list[znodes.Node]:
    found = []
    for path, data in zip(paths, nodes, strict=True):
        if data is not None:
            try:
                found.append(znodes.decode(form, path, data))
            except znodes.UnreadableNode:
                continue
    return found


# --- the protocol -----------------------------------------------------------------------------------------


def _get(xid: int, path: str) -> bytes:
    return _request(xid, _GET_DATA, path)


def _request(xid: int, kind: int, path: str) -> bytes:
    name = path.encode()
    body = _LENGTH.pack(len(name)) + name + b"\0"  # the last byte: no watch
    return _REQUEST.pack(8 + len(body), xid, kind) + body


def _receive(link: socket.socket) -> bytes:
    """Return the next packet."""
    (length,) = _LENGTH.unpack(_take(link, _LENGTH.size))
    if not 0 <= length <= ANSWER_BYTES_MAX:
        raise ServerFailed(f"this is no ZooKeeper: a packet of {length} bytes")
    return _take(link, length)


def _take(link: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = link.recv(size - len(data))
        if not piece:
            raise ServerFailed("the server closed the connection")
        data += piece
    return bytes(data)


def _answer(link: socket.socket, expected: int) -> bytes | None:
    """Return what follows the header of the next answer, or None where there is no such node."""
    packet = _receive(link)
    xid, _, error = _REPLY.unpack_from(packet)
    if xid != expected:
        raise ServerFailed(f"an answer to request {xid} instead of {expected}")
    if error == _NO_NODE:
        return None
    if error:
        raise ServerFailed(f"error {error}")
    return packet[_REPLY.size :]


def _data(body: bytes | None) -> bytes | None:
    """Return a node's data."""
    if body is None:
        return None
    (length,) = _LENGTH.unpack_from(body)
    return body[4 : 4 + length] if length > 0 else b""


def _names(body: bytes | None) -> Iterator[str]:
    """Yield the names of a node's children."""
    if body is None:
        return
    (count,) = _LENGTH.unpack_from(body)
    offset = 4
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(body, offset)
        offset += 4 + length
        yield body[offset - length : offset].decode()
