"""A plain list scheduler (Graham 1969), as the yardstick of policies: nobody's code but its own.

Whenever anything ends or arrives, it goes through the waiting jobs in the order of their submission and
starts each that fits somewhere, on the fastest worker that has room. It knows no run times.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Sequence

import msgspec

from alb_core.traces import Job, Machine


class Listed(msgspec.Struct):
    """What became of the jobs, in their order."""

    started: array[float]
    ended: array[float]
    wasted_s: float = 0.0
    policy_failures: int = 0


def run_list(jobs: Sequence[Job], machines: Sequence[Machine]) -> Listed:
    """Run jobs, which are in the order of their submission."""
    ran = Listed(array("d", [0.0]) * len(jobs), array("d", [0.0]) * len(jobs))
    order = sorted(range(len(machines)), key=lambda index: -machines[index].speed)
    free = [[machine.capacity.cpus, float(machine.capacity.memory_bytes)] for machine in machines]
    waiting: list[int] = []
    ends: list[tuple[float, int, int]] = []  # when, which job, where
    arrived = 0
    while arrived < len(jobs) or ends:
        at = min(
            jobs[arrived].submitted if arrived < len(jobs) else float("inf"),
            ends[0][0] if ends else float("inf"),
        )
        while ends and ends[0][0] <= at:
            _, job, where = heapq.heappop(ends)
            free[where][0] += jobs[job].request.cpus
            free[where][1] += jobs[job].request.memory_bytes
        while arrived < len(jobs) and jobs[arrived].submitted <= at:
            waiting.append(arrived)
            arrived += 1
        still: list[int] = []
        for job in waiting:
            request = jobs[job].request
            found = (
                index
                for index in order
                if request.cpus <= free[index][0] + 1e-9 and request.memory_bytes <= free[index][1]
            )
            where = next(found, -1)
            if where < 0:
                still.append(job)
                continue
            free[where][0] -= request.cpus
            free[where][1] -= request.memory_bytes
            ran.started[job] = at
            ran.ended[job] = at + jobs[job].run_s / machines[where].speed
            heapq.heappush(ends, (ran.ended[job], job, where))
        waiting = still
    return ran
