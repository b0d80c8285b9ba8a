"""One of several client processes: submits many tasks at a signal, and checks every result.

Prints ``ready`` once it is connected, begins at the first line on stdin, and ends with one JSON line.
"""

from __future__ import annotations

import argparse
import sys
import time

import msgspec

from alb import Client
from alb.api.future import TaskFuture
from checks import check_all

COMMAND = ["/bin/true"]


class Span(msgspec.Struct, frozen=True):
    """From the first submission to the last result, on the clock that all processes of a machine share."""

    began: float
    ended: float


def submit_all(client: Client, tasks: int) -> Span:
    """Submit, wait, check.

    Raises:
        BenchmarkFailed: A result is wrong or missing.
    """
    finished: list[float] = []
    began = time.monotonic()
    futures: list[TaskFuture] = []
    for _ in range(tasks):
        future = client.submit(COMMAND)
        future.add_done_callback(lambda _: finished.append(time.monotonic()))
        futures.append(future)
    check_all(futures)
    return Span(began, max(finished))


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
