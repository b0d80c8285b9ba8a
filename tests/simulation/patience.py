"""How long the second phase of a seed may take: bounds that follow from what there is to do, in any mix.

*The gap.* Once all has settled, a leader lets nothing lie for longer than an overhead: whenever some task
could run on the worker that was healed (every task fits there), that worker runs something, for somebody. So
something that is waited for begins or ends within the longest run of an attempt, and what else takes time.
Endless commands do not count: so whatever starves is found when all else is over, at the latest. Where
operators left a default time limit they end as others do, and count.

*The whole.* So all is over after what everything takes one after the other, on one worker, with every attempt
that may be thrown away: failures that are tried again, and preemptions. Each endless command costs the others
a quantum, once; or, with a default limit, all the time that this allows. A worker that is set aside in vain
is everybody's for as long afterwards: what waits for that takes twice as long. A policy may keep each attempt
waiting for a moment. No rule of the queue makes it longer: it only says whose turn it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace
from tests.simulation.commands import LAG
from tests.simulation.knobs import DECLINES_S, LAPSE_S
from tests.simulation.runner_model import FETCH_S
from tests.simulation.violations import demand

from alb_core import limits, znodes
from alb_core.bounds import DatedLimits
from alb_core.spec import TaskSpec

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

SETTLING_S: Final = 120.0
#: Sessions run out, a leader is found, workers are lost, results that nobody fetches lose their room in the
#: table after the holding time, people and operators undo what they did, policies and workers rest.
OVERHEAD_S: Final = 1.0
#: Of one attempt: ticks of everybody, orders that are repeated, a policy that hesitates.
TRIPS: Final = 12
#: Of one attempt, from host to host, one after the other: each of its writes may be a transaction of its own.
RELEASE_S: Final = 10.0
#: Until somebody releases what is held.


class Patience:
    """Watches the second phase of one seed.

    Args:
        cluster: What it watches, as that phase begins.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        knobs = cluster.knobs
        self._trips_s = TRIPS * (knobs.latency_s + knobs.slow_chance * knobs.latency_slow_s)
        self._refusals_s = DECLINES_S * ("refusing" in cluster.habits.policies)  #: Before each attempt.
        self._began = cluster.timeline.now
        self._steps, self._stepped = -1, self._began
        self.longest_s = 0.0  #: The longest gap.
        self._limit_s = self._default_limit_s()  #: The longest of this phase; 0: there was none.
        self._bound()

    def _bound(self) -> None:
        """Say how long all may take from now on."""
        self._runs_s: list[float] = []  #: How long an attempt of each task may take.
        self.whole_s = self._cluster.timeline.now - self._began + SETTLING_S + self._work_s()
        self.gap_s = SETTLING_S + max(self._runs_s, default=0.0)

    def _default_limit_s(self) -> float:
        node = self._cluster.ensemble.read(znodes.LIMITS)
        assert node is not None  # it is there from the beginning
        return znodes.decode(DatedLimits, node.path, node.data).time_limit_s or 0.0

    def check(self, missing: str) -> None:
        """Demand that all is not too late, and that something went on of late.

        Args:
            missing: What is still to come.
        """
        limit_s = self._default_limit_s()
        if limit_s > self._limit_s:  # it was on its way as this phase began
            self._limit_s = limit_s
            self._bound()
        now, invariants = self._cluster.timeline.now, self._cluster.invariants
        steps = invariants.steps + invariants.endless_steps * bool(self._limit_s)
        if steps != self._steps:
            self._steps, self._stepped = steps, now
        self.longest_s = max(self.longest_s, now - self._stepped)
        still_s = now - self._stepped
        # What is set aside for a hog stands no longer than everybody had it before.
        gap_s = self.gap_s + now / 2 * bool(self._cluster.loops.hogs)
        demand(still_s <= gap_s, "somebody_always_goes_on", "for {:.0f} s nobody: {}", still_s, missing)
        demand(now - self._began <= self.whole_s, "every_task_ends_in_bounded_time", missing)

    def _work_s(self) -> float:
        """Return how long all takes that is not over yet, one after the other, but for endless commands."""
        cluster, results = self._cluster, self._cluster.invariants.table.results
        tasks = (*cluster.workload.tasks.values(), *cluster.loops.hogs.values())
        left = (task for task in tasks if task.id not in results)
        work_s = sum(self._cost_s(task.spec) for task in left)
        for user in cluster.array_users:
            for job in user.jobs.values():
                count = sum(child not in results for child in user.children(job))
                work_s += RELEASE_S + count * self._cost_s(job.spec.task, lags=True)
        loops = [task for task in cluster.loops.tasks.values() if task.id not in results]
        if not loops:
            return work_s
        if self._limit_s:
            limited = (replace(task.spec, time_limit_s=self._limit_s) for task in loops)
            work_s += sum(self._cost_s(spec) for spec in limited)
        return len(loops) * (cluster.knobs.quantum_s + OVERHEAD_S) + 2 * (work_s + LAPSE_S)

    def _cost_s(self, spec: TaskSpec, *, lags: bool = False) -> float:
        """Return how long a task may keep a worker from others, all its attempts together."""
        duration_s = float(spec.command[1])  # the exit code of an array's task may be its input
        run_s = duration_s * (LAG if lags or spec.speculative else 1.0)
        run_s = min(run_s, spec.time_limit_s or run_s)
        run_s += spec.grace_s + FETCH_S * bool(spec.files) + OVERHEAD_S + self._trips_s + self._refusals_s
        self._runs_s.append(run_s)
        start, retry = spec.start, spec.retry
        thrown_away = retry.times + (limits.PREEMPTIONS_MAX if spec.preemptible else 0)
        pauses_s = retry.times * retry.delay_s_max * bool(retry.delay_s)
        return (1 + thrown_away) * run_s + pauses_s + start.delay_s + RELEASE_S * start.hold
