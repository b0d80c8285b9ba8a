"""Commands that never end, in some seeds: until the very end of a seed they are there, and others must pass.

Each may cost the others one quantum: then it gives its processors away, and never has them again where it is.
So a bound on every task's end holds with them as without, longer by a quantum for each (and the ticks to see
it). All other tasks of such a seed have a time limit: what has none is not promised to pass.

In some seeds that have a roomy worker each keeps a little memory, and *hogs* want all that the largest worker
has. Nothing helps them while endless commands run there; what is set aside for them meanwhile must not keep
others from passing.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from tests.simulation.clients import JobState
from tests.simulation.commands import Script
from tests.simulation.workload import LIMIT_S, UserTask

from alb_core import codec, ids
from alb_core.resources import Request
from alb_core.spec import TaskSpec

if TYPE_CHECKING:
    from tests.simulation.clients import ClientHost
    from tests.simulation.cluster import Cluster

ENDLESS_S: Final = 1e6
HOG_S: Final = 0.5
ROOMY_BYTES: Final = 2000
#: Where the largest worker has less, endless commands would keep other tasks from memory, too.
CANCEL_EVERY_S: Final = 5.0


class Loops:
    """The endless commands of one seed.

    Args:
        cluster: Where they run.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._draws = random.Random(f"{cluster.seed}/loops")
        self.tasks: dict[str, UserTask] = {}  #: That nobody waits for.
        self.hogs: dict[str, UserTask] = {}  #: Among them, until the endless ones are to end.
        self._left: dict[str, UserTask] = {}  #: That are to end.

    def plan(self) -> None:
        """Let users submit them in the first half of the first phase."""
        knobs = self._cluster.knobs
        for number in range(knobs.loops):
            client = self._draws.choice(self._cluster.clients)
            task = self._draw(number, client.user)
            self.tasks[task.id] = task
            self._cluster.timeline.at(self._draws.uniform(0.0, knobs.safety_s / 2), client.submit, task)
        for number in range(self._hogs):
            client = self._draws.choice(self._cluster.clients)
            task = self._draw_hog(number, client.user)
            self.hogs[task.id] = task
            self._cluster.timeline.at(self._draws.uniform(0.0, knobs.safety_s / 2), client.submit, task)
        self.tasks |= self.hogs

    @property
    def _hogs(self) -> int:
        """Return how many hogs there are. Where there are none, endless commands keep no memory, either.

        A demoted command gives its processors away, never its memory. So where no worker has more than the
        1000 bytes that any task may want, one byte of a command that never ends keeps such a task waiting
        for as long, and rightly: it is a hog by another name, and no bound on every task's end would hold.
        """
        knobs = self._cluster.knobs
        return knobs.hogs if knobs.loops and self._largest_bytes >= ROOMY_BYTES else 0

    @property
    def _largest_bytes(self) -> int:
        return max(worker.capacity.memory_bytes for worker in self._cluster.workers)

    def _draw_hog(self, number: int, user: str) -> UserTask:
        spec = TaskSpec(
            command=Script(HOG_S, 0, 0, 0, obedient=True).words(),
            time_limit_s=LIMIT_S,
            grace_s=0.5,
            request=Request(cpus=0.5, memory_bytes=self._largest_bytes),
            priority=self._draws.choice(self._cluster.habits.priorities),
            name=f"hog {number}",
        )
        return self._task(number, user, spec)

    def _draw(self, number: int, user: str) -> UserTask:
        draws = self._draws
        script = Script(ENDLESS_S, 0, 0, 0, obedient=draws.random() < 0.5)
        spec = TaskSpec(
            command=("endless", *script.words()[1:]),
            grace_s=0.5,
            request=Request(cpus=draws.choice((0.5, 1.0)), memory_bytes=int(self._hogs > 0)),
            priority=draws.choice((0, self._cluster.habits.priorities[-1])),
            name=f"loop {number}",
        )
        return self._task(number, user, spec)

    def _task(self, number: int, user: str, spec: TaskSpec) -> UserTask:
        task_id = ids.uuid7(1_700_000_000_000 + number, self._draws.randbytes(10))
        return UserTask(task_id, spec, codec.encode_spec(spec), user, live=False)

    @staticmethod
    def _forget_jobs(client: ClientHost) -> None:
        """It was away for so long that what it would submit again may be over and forgotten, and run anew."""
        for job in client.jobs.values():
            if job.state is JobState.WANTED:
                job.state = JobState.DETACHED

    def end(self) -> None:
        """Have them cancelled by whoever lives, until they are gone: who was away may submit them again."""
        clients, live = self._cluster.clients, self._cluster.invariants.table.live
        self._left |= {name: task for name, task in self.tasks.items() if name not in self.hogs}
        self.tasks = {}
        if not any(client.working for client in clients):
            self._forget_jobs(clients[0])
            self._cluster.heal(clients[0])
        for client in clients:
            for task in self._left.values():
                if client.working and task.id in live:
                    client.cancel(task)
        if any(task_id in live for task_id in self._left):
            self._cluster.timeline.after(CANCEL_EVERY_S, self.end)
