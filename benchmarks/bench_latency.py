"""How long one command takes on an idle cluster: submit to result, one at a time."""

from __future__ import annotations

import time
from statistics import median

from alb import Client
from checks import PATIENCE_S, check
from figures import Repeat, against_floor, floor_median, measured_median, percentile
from floors import process_ms
from ground import Ground, say
from script import Figures, Size, run

COMMAND = ["/bin/true"]


def measure(ground: Ground, size: Size) -> Figures:
    """Take turns between the cluster and a bare process; the first round is the warm-up and is dropped."""
    repeats: list[Repeat] = []
    everything: list[float] = []
    with ground.cluster() as cluster, Client(zk=cluster.zk) as client:
        for number in range(size.repeats + 1):
            ours: list[float] = []
            bare: list[float] = []
            for _ in range(size.tasks):
                ours.append(submit_ms(client))
                bare.append(process_ms(COMMAND))
            floor = median(bare)
            say(f"round {number}: p50 {median(ours):.2f} ms, floor {floor:.2f} ms")
            if number:
                repeats.append(Repeat(median(ours), floor, floor))
                everything += ours
    return {
        "p50_ms": measured_median(repeats),
        "p99_ms": percentile(everything, 99),
        "floor_ms": floor_median(repeats),
        **against_floor(repeats),
        "tasks": size.tasks,
    }


def submit_ms(client: Client) -> float:
    """Return how long a task takes from submit to result."""
    began = time.perf_counter()
    result = client.submit(COMMAND).result(timeout=PATIENCE_S)
    taken = time.perf_counter() - began
    check(result)
    return taken * 1000


if __name__ == "__main__":
    run("latency", measure, repeats=5, tasks=200)
