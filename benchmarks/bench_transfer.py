"""How fast a file gets to a worker that does not have it: from the order to the whole, verified file.

A new file of 256 MiB each time (--tasks: MiB), so that the worker's cache never has it. The worker's courier
takes the time itself, from the moment at which the agent had the order. The whole submission is timed, too.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from alb import Client
from alb.local.cluster import LocalCluster
from alb.local.daemons import wait_until
from checks import check
from figures import Repeat, against_floor, floor_median, measured_median
from ground import BenchmarkFailed, Ground, say
from loopback import copy_mib_per_s
from script import Figures, Size, run

MIB: Final = 1024 * 1024
PATIENCE_S: Final = 300.0


class Delivery(msgspec.Struct, frozen=True):
    """One submission with a file."""

    mib_per_s: float
    #: From the order to the verified file.
    upload_s: float
    #: Until the depots had it: then the task is submitted.
    whole_s: float
    #: From the call to the result.


def measure(ground: Ground, size: Size) -> Figures:
    """Take turns between the cluster and the floor; the first round is the warm-up and is dropped."""
    repeats: list[Repeat] = []
    deliveries: list[Delivery] = []
    with ground.cluster(workers=1) as cluster, Client(zk=cluster.zk) as client:
        before = floor(ground.folder, size.tasks)
        for number in range(size.repeats + 1):
            delivery = deliver(cluster, client, ground.folder, size.tasks)
            after = floor(ground.folder, size.tasks)
            repeat = Repeat(delivery.mib_per_s, before, after)
            before = after
            say(
                f"round {number}: {repeat.measured:.0f} MiB/s, floor {repeat.floor:.0f} MiB/s, "
                f"ratio {repeat.ratio:.2f}; the whole submission {delivery.whole_s:.2f} s, "
                f"of it upload {delivery.upload_s:.2f} s"
            )
            if number:
                repeats.append(repeat)
                deliveries.append(delivery)
    return {
        "mib_per_s": measured_median(repeats),
        "floor_mib_per_s": floor_median(repeats),
        **against_floor(repeats),
        "mib": size.tasks,
        "submission_s": median(delivery.whole_s for delivery in deliveries),
        "upload_share": median(delivery.upload_s / delivery.whole_s for delivery in deliveries),
    }


def deliver(cluster: LocalCluster, client: Client, folder: Path, mib: int) -> Delivery:
    """Submit a task with a new file, and return what its way took."""
    path = new_file(folder, mib)
    began = time.perf_counter()
    future = client.submit(["/bin/true"], files=[path])
    uploaded = time.perf_counter()
    result = future.result(timeout=PATIENCE_S)
    ended = time.perf_counter()
    check(result)
    path.unlink()
    sha256 = client.task(future.id).spec.files[0].sha256
    seconds = fetched_s(cluster, sha256)
    return Delivery(mib / seconds, uploaded - began, ended - began)


def fetched_s(cluster: LocalCluster, sha256: str) -> float:
    """Return the seconds that a worker noted for a file."""

    def noted() -> list[float]:
        logs = [worker.log.read_text() for worker in cluster.named("worker")]
        lines = [line for log in logs for line in log.splitlines() if sha256 in line]
        return [json.loads(line)["seconds"] for line in lines if '"file_fetched"' in line]

    if not wait_until(noted, PATIENCE_S) or len(noted()) != 1:
        raise BenchmarkFailed(f"a file was not fetched once: {noted()}")
    return noted()[0]


def floor(folder: Path, mib: int) -> float:
    """Return the floor in MiB/s: a new file, too."""
    path = new_file(folder, mib)
    try:
        return copy_mib_per_s(path, folder / "copy")
    finally:
        path.unlink()


def new_file(folder: Path, mib: int) -> Path:
    """Make a file of random bytes, and leave the disk nothing to write."""
    path = folder / "original"
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(MIB))
    os.sync()
    return path


if __name__ == "__main__":
    run("transfer", measure, repeats=5, tasks=256)
