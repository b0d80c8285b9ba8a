"""How many commands a second the runner alone starts, watches and reaps, with limits and output on."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from alb_core.bounds import Bounds
from alb_core.messages import AttemptId
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause
from alb_worker.runner.messages import Ended, Ready
from alb_worker.shell.leftovers import lock_work_dir
from alb_worker.shell.runner_link import RunnerDied, RunnerLink
from figures import against_floor, floor_median, measure_against, measured_median
from floors import SLOTS, popen_rate
from ground import BenchmarkFailed, Ground, say
from script import Figures, Size, run

COMMAND = ("/bin/true",)
BOUNDS: Final = Bounds(
    cpu_s=60.0,
    memory_bytes=1024**3,
    processes=100,
    open_files=256,
    output_bytes=1024**2,
    scratch_bytes=1024**3,
)
TIME_LIMIT_S: Final = 60.0
PATIENCE_S: Final = 30.0


def measure(ground: Ground, size: Size) -> Figures:
    """Compare the runner's rate with that of a bare loop of processes."""
    mechanisms: list[str] = []

    def rate() -> float:
        with runner(ground, mechanisms) as link:
            return runner_rate(link, size.tasks)

    repeats = measure_against(lambda: popen_rate(COMMAND, size.tasks), rate, size.repeats, say)
    return {
        "per_s": measured_median(repeats),
        "floor_per_s": floor_median(repeats),
        **against_floor(repeats),
        "mechanism": mechanisms[-1],
        "tasks": size.tasks,
    }


@contextmanager
def runner(ground: Ground, mechanisms: list[str]) -> Iterator[RunnerLink]:
    """Run a runner as the product does within the block, and note what it holds commands with."""
    work_dir = str(ground.folder / "worker")
    lock = lock_work_dir(work_dir)
    link = RunnerLink(worker="spawn", work_dir=work_dir, incarnation="bench")
    link.start()
    try:
        mechanisms += [message.mechanism for message in heard(link) if isinstance(message, Ready)]
        yield link
    finally:
        link.close()
        lock.close()


def runner_rate(link: RunnerLink, tasks: int) -> float:
    """Return how many commands a second the runner runs, as many at once as the bare loop has."""
    spec = TaskSpec(command=COMMAND, bounds=BOUNDS, time_limit_s=TIME_LIMIT_S)
    began = time.perf_counter()
    started = ended = 0
    while ended < tasks:
        while started < tasks and started - ended < SLOTS:
            started += 1
            attempt = AttemptId(f"{started:032x}", 1)
            link.start_attempt(attempt, spec, bounds=spec.bounds, time_limit_s=spec.time_limit_s)
        link.flush()
        ended += sum(_good(message) for message in heard(link) if isinstance(message, Ended))
    return tasks / (time.perf_counter() - began)


def heard(link: RunnerLink) -> list[object]:
    """Wait for the runner, and return what it said."""
    if not select.select([link], [], [], PATIENCE_S)[0]:
        raise BenchmarkFailed(f"the runner says nothing for {PATIENCE_S:.0f} s")
    received: list[object] = [*link.receive()]
    if any(isinstance(message, RunnerDied) for message in received):
        raise BenchmarkFailed(f"the runner died: {received[-1]}")
    return received


def _good(message: Ended) -> bool:
    outcome = message.outcome
    if outcome.cause is not Cause.EXITED or outcome.exit_code or message.stdout_size or message.stderr_size:
        raise BenchmarkFailed(f"{COMMAND[0]} failed under the runner: {outcome}")
    return True


if __name__ == "__main__":
    run("spawn", measure, repeats=5, tasks=5000)
