"""Network load, measured on a real interface with real traffic: a veth pair into a network namespace."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from alb_core.resources import Capacity
from alb_worker.shell.capacity import examine
from alb_worker.shell.load import LoadMeter, machine_counters

BANDWIDTH_BPS = 80_000_000
#: What the worker is said to have: 10 MB a second.
TRAFFIC_BYTES = 4_000_000

SINK = """
import socket, sys
server = socket.create_server(("10.211.7.2", 0))
print(server.getsockname()[1], flush=True)
connection, _ = server.accept()
received = 0
while data := connection.recv(65536):
    received += len(data)
print(received, flush=True)
"""


def ip(*words: str) -> None:
    """Run ``ip``; raise CalledProcessError where it fails."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def veth() -> Iterator[tuple[str, str]]:
    """Make an interface whose other end is in a namespace of its own; yield its name and the namespace's."""
    namespace, ours, theirs = f"alb{os.getpid()}", f"va{os.getpid()}", f"vb{os.getpid()}"
    try:
        ip("netns", "add", namespace)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces cannot be made here: {getattr(error, 'stderr', error)}")
    try:
        try:
            ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", namespace)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"veth pairs cannot be made here: {error.stderr}")
        ip("addr", "add", "10.211.7.1/30", "dev", ours)
        ip("link", "set", ours, "up")
        ip("-n", namespace, "addr", "add", "10.211.7.2/30", "dev", theirs)
        ip("-n", namespace, "link", "set", theirs, "up")
        yield ours, namespace
    finally:
        subprocess.run(["ip", "link", "del", ours], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)


def send_through(namespace: str, size: int) -> int:
    """Send bytes to a sink in the namespace; return how many arrived."""
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", SINK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sink:
        assert sink.stdout is not None
        port = int(sink.stdout.readline())
        with socket.create_connection(("10.211.7.2", port), timeout=60) as connection:
            connection.sendall(b"x" * size)
        return int(sink.stdout.readline())


def test_traffic_shows_as_network_load(veth: tuple[str, str]) -> None:
    """4 MB within an interval are that share of the bandwidth, headers aside; a quiet interval is none."""
    interface, namespace = veth
    capacity = Capacity(cpus=1.0, memory_bytes=1 << 30, net_bps=BANDWIDTH_BPS)
    meter = LoadMeter(capacity, machine_counters(examine(interface)))
    begun = time.monotonic()
    meter.measure(begun)
    assert send_through(namespace, TRAFFIC_BYTES) == TRAFFIC_BYTES
    ended = time.monotonic()
    busy = meter.measure(ended)
    expected = 8 * TRAFFIC_BYTES / BANDWIDTH_BPS / (ended - begun)
    assert expected <= busy.net <= 1.1 * expected
    quiet = meter.measure(ended + 1.0)
    assert quiet.net < 0.01 * expected


def test_the_interface_of_a_worker_can_be_chosen(veth: tuple[str, str]) -> None:
    """A named interface is taken as it is; its speed is what the kernel tells (10 Gb/s for veth)."""
    machine = examine(veth[0])
    assert machine.interface == veth[0]
    assert machine.link_bps == 10_000_000_000
