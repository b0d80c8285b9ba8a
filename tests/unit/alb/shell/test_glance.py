"""A look at ZooKeeper, against a server that speaks the few words it needs."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from alb.shell.glance import look, look_for_worker
from alb_core import znodes
from alb_core.errors import ZooKeeperUnreachable
from alb_core.resources import Capacity
from alb_core.znodes import BrokerNode, LeaderNode, WorkerNode

NODE = BrokerNode(
    broker="b1", incarnation="i", clients="tcp://h:1", client_output="tcp://h:2", workers="", worker_output=""
)
LEADER = LeaderNode(
    **{name: getattr(NODE, name) for name in BrokerNode.__struct_fields__}, epoch=4, table="t" * 32
)


def take(link: socket.socket, size: int) -> bytes:
    """Read exactly so many bytes."""
    data = b""
    while len(data) < size:
        piece = link.recv(size - len(data))
        if not piece:
            raise ConnectionError
        data += piece
    return data


def packet(link: socket.socket) -> bytes:
    """Read one packet."""
    return take(link, struct.unpack(">i", take(link, 4))[0])


def serve(link: socket.socket, nodes: dict[str, bytes], closed: list[int]) -> None:
    """Speak ZooKeeper on one connection, about these nodes."""
    packet(link)
    link.sendall(struct.pack(">iiiqi16s", 36, 0, 4000, 77, 16, bytes(16)))
    while True:
        request = packet(link)
        xid, kind = struct.unpack_from(">ii", request)
        if kind == -11:
            closed.append(xid)
            return
        path = request[12 : 12 + struct.unpack_from(">i", request, 8)[0]].decode()
        if kind == 8:
            names = [name.removeprefix(path + "/").encode() for name in nodes if name.startswith(path + "/")]
            body = struct.pack(">i", len(names)) + b"".join(struct.pack(">i", len(n)) + n for n in names)
        elif path in nodes:
            body = struct.pack(">i", len(nodes[path])) + nodes[path] + bytes(68)
        else:
            body = None
        header = struct.pack(">iqi", xid, 1, 0 if body is not None else -101)
        answer = header + (body or b"")
        link.sendall(struct.pack(">i", len(answer)) + answer)


@contextmanager
def zookeeper(nodes: dict[str, bytes], closed: list[int] | None = None) -> Iterator[str]:
    """Run a server with these nodes; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            while True:
                try:
                    link, _ = listener.accept()
                except OSError:
                    return
                with closing(link):
                    try:
                        serve(link, nodes, [] if closed is None else closed)
                    except ConnectionError:
                        continue

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def tree() -> dict[str, bytes]:
    """Return a cluster's tree."""
    return {
        "/alb/leader": znodes.encode(LEADER),
        "/alb/brokers/b1": znodes.encode(NODE),
        "/alb/brokers/b2": b"not json",
    }


def test_a_look_finds_the_leader_and_the_brokers_and_closes_its_session() -> None:
    """Nodes that cannot be read are left out; the session is ended, not left to time out."""
    closed: list[int] = []
    with zookeeper(tree(), closed) as server:
        assert look(server, "/alb", 5) == (LEADER, [NODE])
    assert closed == [0]


def test_a_worker_is_looked_up_by_name() -> None:
    """With the leader; None where there is no such node, or it cannot be read."""
    worker = WorkerNode(worker="w1", incarnation="i", capacity=Capacity(cpus=1, memory_bytes=1))
    nodes = tree() | {"/alb/workers/w1": znodes.encode(worker), "/alb/workers/w2": b"not json"}
    with zookeeper(nodes) as server:
        assert look_for_worker(server, "/alb", "w1", 5) == (LEADER, worker)
        assert look_for_worker(server, "/alb", "w2", 5) == (LEADER, None)
        assert look_for_worker(server, "/alb", "w3", 5) == (LEADER, None)
    with zookeeper({}) as server:
        assert look_for_worker(server, "/alb", "w1", 5) == (None, None)


def test_an_empty_tree_has_no_leader() -> None:
    """Neither leader nor brokers: that is an answer, not an error."""
    with zookeeper({}) as server:
        assert look(server, "/alb", 5) == (None, [])


def test_dead_servers_are_passed_over() -> None:
    """One living server among dead ones is enough, wherever it stands."""
    with zookeeper(tree()) as server:
        for _ in range(5):
            assert look(f"127.0.0.1:1,{server},127.0.0.1:2", "/alb", 5)[0] == LEADER


def test_no_server_is_an_error_that_says_what_to_do() -> None:
    """Within the time given; the text names the servers and the way to name others."""
    with pytest.raises(ZooKeeperUnreachable, match=r"within 0.3 s \(tried 127.0.0.1:1; .*ALB_ZK"):
        look("127.0.0.1:1", "/alb", 0.3)


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request", b"", bytes(8), b"\0\0\0\4" + bytes(4)])
def test_something_else_that_listens_there_is_no_zookeeper(greeting: bytes) -> None:
    """Nonsense, silence and half a packet all end in the same error."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            while True:
                try:
                    link, _ = listener.accept()
                except OSError:
                    return
                with closing(link):
                    link.sendall(greeting)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            with pytest.raises(ZooKeeperUnreachable):
                look(f"127.0.0.1:{listener.getsockname()[1]}", "/alb", 0.3)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
