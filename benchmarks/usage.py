"""How much processor time each part of a cluster uses for a task.

It is what a rate is made of, and a machine with other users falsifies it less than the rate.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import psutil

from alb.local.cluster import LocalCluster

PARTS = ("client", "leader", "standbys", "agents", "runners", "zookeeper")


@contextmanager
def processor_us(cluster: LocalCluster, tasks: int) -> Iterator[dict[str, float]]:
    """Measure what the block uses, in microseconds for each of so many tasks; known when it is over.

    Commands are not counted, but what it takes to start and to reap them is: the runners' part.
    """
    leader = cluster.wait_for_leader().broker
    before = _used_s(cluster, leader)
    spent: dict[str, float] = {}
    yield spent
    after = _used_s(cluster, leader)
    spent |= {part: (after[part] - before[part]) / tasks * 1e6 for part in PARTS}


def medians(repeats: list[dict[str, float]]) -> dict[str, int]:
    """Return the medians as figures; the warm-up comes first and is dropped."""
    return {f"{part}_us": round(median(repeat[part] for repeat in repeats[1:])) for part in PARTS}


def _used_s(cluster: LocalCluster, leader: str) -> dict[str, float]:
    used = dict.fromkeys(PARTS, 0.0)
    used["client"] = _seconds(psutil.Process(os.getpid()))
    for server in cluster.named("zookeeper"):
        used["zookeeper"] += _seconds(psutil.Process(server.pid))
    for broker in cluster.named("broker"):
        used["leader" if broker.name == leader else "standbys"] += _seconds(psutil.Process(broker.pid))
    for worker in cluster.named("worker"):
        agent = psutil.Process(worker.pid)
        used["agents"] += _seconds(agent)
        for runner in agent.children():
            used["runners"] += _seconds(runner)
    return used


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
