"""Ports that are held: free, closed, nobody else's, and still the server's own."""

from __future__ import annotations

import socket

import pytest

from alb.local import ports
from alb.local.ports import Port, claim_again, claim_ports
from alb_core.errors import ConfigError


def test_claimed_ports_differ_and_are_outside_the_ephemeral_range() -> None:
    """Also those of several claims."""
    claimed = claim_ports(20) + claim_ports(20)
    numbers = {port.number for port in claimed}
    assert len(numbers) == 40
    assert max(numbers) < 32768


def test_nobody_else_gets_it(closed_port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither who chooses in the same way, nor who binds it outright."""
    monkeypatch.setattr(ports, "_PORTS", range(closed_port.number, closed_port.number + 1))
    with pytest.raises(ConfigError, match=f"no 1 free TCP ports from {closed_port.number} to"):
        claim_ports(1)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", closed_port.number))


def test_connections_to_it_are_refused(closed_port: Port) -> None:
    """As long as no server is there it is a closed port."""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", closed_port.number), timeout=5)


def test_its_server_may_come_go_and_return(closed_port: Port) -> None:
    """The claim stands in nobody's way who sets SO_REUSEADDR, and outlives each of the server's lives."""
    for _ in range(2):
        with socket.create_server(("127.0.0.1", closed_port.number)):
            socket.create_connection(("127.0.0.1", closed_port.number), timeout=5).close()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", closed_port.number))


def test_a_port_is_claimed_again_though_connections_linger_there(closed_port: Port) -> None:
    """What its server closed first blocks it for a minute; a server that listens there keeps it."""
    number = closed_port.number
    with socket.create_server(("127.0.0.1", number)) as server:
        with socket.create_connection(("127.0.0.1", number), timeout=5) as client:
            server.accept()[0].close()
            assert client.recv(1) == b""
        assert claim_again(number) is None
    again = claim_again(number)
    assert again is not None
    assert again.number == number


def test_a_released_port_is_anybodys() -> None:
    """On request, or with the last that knew of it; twice does no harm."""
    released, forgotten = claim_ports(2)
    numbers = (released.number, forgotten.number)
    released.release()
    released.release()
    del forgotten
    for number in numbers:
        with socket.socket() as other:
            other.bind(("127.0.0.1", number))
