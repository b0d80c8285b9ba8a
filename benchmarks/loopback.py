"""The floor of a transfer: file to file over the loopback, as plainly as it can be written.

Sender and receiver are two processes, as they are in the cluster: ``python loopback.py PORT FILE`` sends.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from ground import BenchmarkFailed

BUFFER_BYTES: Final = 1024 * 1024


def copy_mib_per_s(source: Path, target: Path) -> float:
    """Return how fast a file is received, hashed, written and synced.

    Args:
        source: What is sent.
        target: Where it is written; removed afterwards.
    """
    size = source.stat().st_size
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        sender = subprocess.Popen([sys.executable, __file__, port, str(source)])
        try:
            link, _ = listener.accept()
            with link:
                began = time.perf_counter()
                link.sendall(b"!")  # the order
                digest = _receive(link, target)
                taken = time.perf_counter() - began
        finally:
            sender.wait()
    whole = target.stat().st_size == size and hashlib.sha256(target.read_bytes()).hexdigest() == digest
    target.unlink()
    if not whole:
        raise BenchmarkFailed("the floor copied something else")
    return size / taken / 1024**2


def _receive(link: socket.socket, target: Path) -> str:
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(BUFFER_BYTES))
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        while received := link.recv_into(buffer, BUFFER_BYTES, socket.MSG_WAITALL):
            piece = buffer[:received]
            hasher.update(piece)
            while piece:
                piece = piece[os.write(descriptor, piece) :]
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    return hasher.hexdigest()


def send(port: int, source: Path) -> None:
    """Send a file to whoever orders it."""
    with socket.create_connection(("127.0.0.1", port)) as link, source.open("rb", buffering=0) as file:
        link.recv(1)
        buffer = memoryview(bytearray(BUFFER_BYTES))
        while read := file.readinto(buffer):
            link.sendall(buffer[:read])


if __name__ == "__main__":
    send(int(sys.argv[1]), Path(sys.argv[2]))
