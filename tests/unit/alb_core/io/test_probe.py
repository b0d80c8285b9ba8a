"""Probes of ports that are closed, open, silent, or mean nothing."""

from __future__ import annotations

import select
import socket

import pytest

from alb.local.ports import Port
from alb_core.io.clock import monotonic
from alb_core.io.probe import Finding, Probe


def find(endpoint: str, within_s: float = 5.0) -> Finding:
    """Run a probe as a poll loop does."""
    probe = Probe(endpoint, within_s)
    begun = monotonic()
    while (finding := probe.finding()) is None:
        assert monotonic() - begun < within_s + 20
        select.select([], [probe], [], 0.05)
    probe.close()
    return finding


def test_listener_is_open() -> None:
    """Somebody who listens is found, whether or not he accepts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert find(f"tcp://127.0.0.1:{listener.getsockname()[1]}") is Finding.OPEN


def test_closed_port_is_refused(closed_port: Port) -> None:
    """A port that nobody listens on is proof."""
    assert find(f"tcp://127.0.0.1:{closed_port.number}") is Finding.REFUSED


def test_full_queue_is_silent() -> None:
    """No answer is proof of nothing, and is told after the given time."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        with socket.create_connection(address):
            begun = monotonic()
            assert find(f"tcp://127.0.0.1:{address[1]}", within_s=0.3) is Finding.SILENT
            assert 0.3 <= monotonic() - begun < 20


@pytest.mark.parametrize("endpoint", ["tcp://no-such-host.invalid:1", "tcp://255.255.255.255:1"])
def test_unreachable_address_is_silent(endpoint: str) -> None:
    """An address that leads nowhere from here says nothing about who is there."""
    assert find(endpoint, within_s=2.0) is Finding.SILENT


def test_connection_to_itself_is_not_a_listener() -> None:
    """A port of the ephemeral range can be connected to itself; that is nobody."""
    with socket.socket() as lonely:
        lonely.bind(("127.0.0.1", 0))
        probe = Probe(f"tcp://127.0.0.1:{lonely.getsockname()[1]}", 1.0)
        lonely.connect(lonely.getsockname())
        probe._finding = None
        probe._socket, kept = lonely, probe._socket
        assert probe.finding() is Finding.REFUSED
        kept.close()


def test_finding_stays() -> None:
    """Once found, an answer does not change."""
    listener = socket.create_server(("127.0.0.1", 0))
    probe = Probe(f"tcp://127.0.0.1:{listener.getsockname()[1]}", 5.0)
    while probe.finding() is None:
        select.select([], [probe], [], 0.05)
    listener.close()
    assert probe.finding() is Finding.OPEN
    probe.close()
