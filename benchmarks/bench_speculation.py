"""What copies of stragglers gain: one array on four workers, of which one becomes slow at its end.

Each task runs 40 steps whose length its worker reads from a file. Just after the last tasks have been placed,
the file of one of their workers says ten times as much. The same array runs without copies and with them, in
turns; the gain is how many times longer it takes without.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from alb import Client
from alb_core.arrays import ArrayLine
from alb_core.tasks import TaskState
from checks import PATIENCE_S, check
from companions import wait_for_workers
from ground import BenchmarkFailed, Ground, say
from script import Figures, Size, run

WORKERS: Final = 4
STEPS: Final = 40
STEP_S: Final = 0.05
SLOWER: Final = 10
POLL_S: Final = 0.02


class Lengths:
    """The files from which workers read how long a step is.

    Args:
        folder: Holds one for each, by its name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True)
        self.command: Final = f'sleep "$(cat {folder}/$ALB_WORKER)"'

    def set(self, worker: str, seconds: float) -> None:
        """Let each further step of a worker take so long."""
        written = self._folder / f".{worker}"
        written.write_text(f"{seconds:g}")
        written.replace(self._folder / worker)


class Figure(msgspec.Struct, frozen=True):
    """What one array took."""

    makespan_s: float
    wasted_s: float
    #: By attempts that were killed.
    used_s: float
    #: By those that delivered.
    copies: int


def straggle(  # noqa: PLR0913 (what is run)
    client: Client,
    lengths: Lengths,
    *,
    tasks: int,
    workers: int,
    speculative: bool,
    steps: int = STEPS,
    slower: float = SLOWER,
) -> Figure:
    """Run the array, and let one worker become slow when the last tasks have been placed.

    Raises:
        BenchmarkFailed: A result is wrong, or does not come.
    """
    for worker in client.workers():
        lengths.set(worker.worker, STEP_S)
    before = client.copies()
    began = time.monotonic()
    future = client.array(lengths.command, indexes=range(1, tasks + 1), steps=steps, speculative=speculative)
    _await_last_wave(client, future.id, tasks, workers)
    last = [line for line in client.tasks(states=[TaskState.RUNNING]) if line.id.startswith(future.id)][-1]
    lengths.set(last.worker, STEP_S * slower)
    used_s = 0.0
    for task in future:
        check(task.result())
        used_s += task.result().wall_s
    future.result(timeout=PATIENCE_S)
    makespan_s = time.monotonic() - began
    after = client.copies()
    return Figure(makespan_s, after.wasted_s - before.wasted_s, used_s, after.made - before.made)


def _await_last_wave(client: Client, array: str, tasks: int, workers: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        line: ArrayLine | None = next((each for each in client.arrays(prefix=array)), None)
        if line is not None and line.counts.over >= tasks - workers and line.running == workers:
            return
        time.sleep(POLL_S)
    raise BenchmarkFailed(f"the last {workers} tasks of array {array} never ran at once")


def measure(ground: Ground, size: Size) -> Figures:
    """Run the array without copies and with them, in turns."""
    gains, wastes = list[float](), list[float]()
    pairs = list[tuple[Figure, Figure]]()
    with ground.cluster(workers=WORKERS, cpus=1.0) as cluster:
        lengths = Lengths(ground.folder / "lengths")
        with Client(zk=cluster.zk) as client:
            wait_for_workers(client, WORKERS)
            for number in range(1, size.repeats + 1):
                without, copied = (
                    straggle(client, lengths, tasks=size.tasks, workers=WORKERS, speculative=speculative)
                    for speculative in (False, True)
                )
                pairs.append((without, copied))
                gains.append(without.makespan_s / copied.makespan_s)
                wastes.append(copied.wasted_s / (copied.wasted_s + copied.used_s))
                say(
                    f"repeat {number} of {size.repeats}: {without.makespan_s:.1f} s without, "
                    f"{copied.makespan_s:.1f} s with {copied.copies} copies, {wastes[-1]:.1%} wasted"
                )
    return {
        "gain": round(median(gains), 3),
        "waste": round(median(wastes), 4),
        "without_s": round(median(without.makespan_s for without, _ in pairs), 2),
        "with_s": round(median(copied.makespan_s for _, copied in pairs), 2),
        "copies": [copied.copies for _, copied in pairs],
    }


if __name__ == "__main__":
    run("speculation", measure, repeats=5, tasks=20)
