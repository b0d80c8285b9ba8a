"""One of several client processes: submits many tasks at a signal, and checks every result.

Prints ``ready`` once it is connected, begins at the first line on stdin, and ends with one JSON line.
"""

from __future__ import annotations

import argparse
import sys
import time

import msgspec

from alb import Client
from checks import check_all

COMMAND = ["/bin/true"]


class Span(msgspec.Struct, frozen=True):
    """From the first submission to the last result, on the clock that all processes of a machine share."""

    began: float
    ended: float


def submit_all(client: Client, tasks: int) -> Span:
    """Submit, wait, check: each result as it comes, the last one ends it.

    Raises:
        BenchmarkFailed: A result is wrong or missing.
    """
    began = time.monotonic()
    check_all([client.submit(COMMAND) for _ in range(tasks)])
    return Span(began, time.monotonic())


def main() -> None:
    """Read the arguments, connect, wait for the signal, and work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zk", required=True)
    parser.add_argument("--tasks", type=int, required=True)
    chosen = parser.parse_args()
    with Client(zk=chosen.zk) as client:
        client.cluster()
        print("ready", flush=True)
        sys.stdin.readline()
        print(msgspec.json.encode(submit_all(client, chosen.tasks)).decode(), flush=True)


if __name__ == "__main__":
    main()
