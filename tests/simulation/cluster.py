"""One seed: a whole cluster in one thread, its faults, and the two phases of its life.

In the *safety* phase users work while things break. In the *liveness* phase one quorum, one broker and one
worker are healed together with the living clients, everything else stays as broken as it is, and every task
must end.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Final

from tests.simulation.array_users import ArrayUser
from tests.simulation.brokers import BrokerHost, Namesake
from tests.simulation.clients import ClientHost
from tests.simulation.ensemble import ZK, Ensemble
from tests.simulation.faults import COUNTED_BY_ENSEMBLE, Faults
from tests.simulation.holders import Holders
from tests.simulation.hosts import Host
from tests.simulation.invariants import Invariants
from tests.simulation.knobs import draw_knobs, patched_limits
from tests.simulation.loops import Loops
from tests.simulation.mixes import MIXES, USUAL
from tests.simulation.network import Network
from tests.simulation.operators import Operators
from tests.simulation.patience import Patience
from tests.simulation.store_model import StoreModel
from tests.simulation.timeline import Timeline
from tests.simulation.trace import Trace
from tests.simulation.violations import Violation
from tests.simulation.workers import WorkerHost, WorkerNamesake
from tests.simulation.workload import Workload

LOOK_EVERY_S: Final = 0.5
REST_S: Final = 4.0
#: After the last result, for acknowledgements to arrive.


class Cluster:
    """The whole of one seed.

    Args:
        seed: Decides everything, together with the mix.
        mix: Its name.
        printing: Print the story.
        hashing: Sum the story up in `trace.sum`.
    """

    def __init__(self, seed: int, mix: str = USUAL, *, printing: bool = False, hashing: bool = False) -> None:
        self.seed: Final = seed
        self.mix: Final = mix
        self.draws = random.Random(f"{seed}/cluster")
        self.knobs, self.habits = MIXES[mix](random.Random(f"{seed}/mix"), draw_knobs(self.draws))
        self.timeline: Final = Timeline()
        self.trace: Final = Trace(self.timeline, printing=printing, hashing=hashing)
        self.network: Final = Network(self.timeline, random.Random(f"{seed}/network"), self.knobs)
        self.invariants: Final = Invariants(self)
        self.network.is_stale = self._is_stale
        self.tasks = self.knobs.tasks + self.knobs.loops + self.knobs.hogs
        #: That users make, those of arrays included.
        self.fault_counts: Counter[str] = Counter()
        self.stopping: set[str] = set()  #: Incarnations of workers that were asked to stop.
        self.cancels: set[str] = set()  #: Tasks that somebody wanted to end.
        self.brokers: list[BrokerHost] = []
        self.namesakes: dict[str, Namesake | WorkerNamesake] = {}  #: By the process whose name they have.
        self.disputed: set[str] = set()  #: Names of workers that two processes had.
        self.workers: list[WorkerHost] = []
        self.clients: list[ClientHost] = []
        self.array_users: list[ArrayUser] = []
        self._healed: set[str] = set()  #: Hosts that are well in the second phase, and stay so.

    def run(self) -> None:
        """Live both phases.

        Raises:
            Violation: An invariant was broken.
        """
        with patched_limits(self.knobs):
            self._populate()
            self.faults = Faults(self)
            self.faults.plan()
            self.workload = Workload(self)
            self.workload.plan()
            self.loops = Loops(self)
            self.loops.plan()
            for user in self.array_users:
                user.plan()
                self.tasks += sum(len(user.children(job)) for job in user.jobs.values())
            self.holders = Holders(self)
            self.holders.plan()
            self.operators = Operators(self)
            self.operators.plan()
            for host in self.hosts:
                self.timeline.after(self.draws.uniform(0.0, 1.0), host.start)
            self.timeline.run(self.knobs.safety_s)
            self._heal_a_core()
            self._await_the_end()
            self.invariants.check_rest()
        for counted, kind in COUNTED_BY_ENSEMBLE.items():
            self.fault_counts[kind] += self.ensemble.counts[counted]
        self.fault_counts["late frames of a former leader"] += self.network.counts["strayed"] > 0
        self.fault_counts["lagging follower"] += self.ensemble.counts["stale reads"] > 0

    def _populate(self) -> None:
        knobs, draws = self.knobs, self.draws
        self.ensemble = Ensemble(self)
        self.store = StoreModel(self)
        self.brokers = [BrokerHost(self, f"b{number}") for number in range(1, knobs.brokers + 1)]
        self.workers = [
            WorkerHost(self, f"w{number}", draws.choice((1.0, 2.0, 3.5)))
            for number in range(1, knobs.workers + 1)
        ]
        self.namesakes = {each.name: Namesake(self, each.name) for each in self.brokers}
        self.namesakes |= {each.name: WorkerNamesake(self, each) for each in self.workers}
        users = draws.choice((("ann",), ("ann", "bob")))
        users = self.habits.users or users
        self.clients = [
            ClientHost(self, f"c{number}", users[number % len(users)])
            for number in range(1, knobs.clients + 1)
        ]
        self.array_users = [ArrayUser(self, "u1")] if knobs.arrays else []
        self._by_name: dict[str, Host] = {host.name: host for host in (*self.hosts, *self.namesakes.values())}

    @property
    def hosts(self) -> list[Host]:
        """All hosts."""
        return [*self.brokers, *self.workers, *self.clients, *self.array_users]

    def host(self, name: str) -> Host:
        """Return a host by its name."""
        return self._by_name[name]

    def life_of(self, incarnation: str) -> WorkerHost:
        """Return the host of a worker's incarnation."""
        host = self._by_name[incarnation.partition("-")[0]]
        assert isinstance(host, WorkerHost)
        return host

    def worker(self, name: str) -> WorkerHost:
        """Return a worker by its name."""
        return next(worker for worker in self.workers if worker.name == name)

    def was_asked_to_stop(self, worker: Host) -> bool:
        """Tell whether a worker's present life is about to end on request."""
        return worker.incarnation in self.stopping

    def on_exit(self, host: Host) -> None:
        """A process ended by itself; its supervisor starts it again."""
        self.trace.fault(f"{host.name} exited")
        again_s = self.draws.uniform(0.5, 3.0)
        if host.name in self._healed:  # it was asked to before all that, and took its time
            self.timeline.after(again_s, host.start)
        else:
            self.faults.heal_later(again_s, host.start)

    # --- liveness -------------------------------------------------------------------------------------------

    def _heal_a_core(self) -> None:
        """Heal one broker, the largest worker and the living clients; let all other faults last.

        A broker that some of these cannot reach cannot reach ZooKeeper either: a leader that is well, and
        cut off from a single client, is nobody's to depose.
        """
        self.faults.lasting = True
        self.operators.tidy_up()
        self.holders.tidy_up()
        for namesake in self.namesakes.values():
            namesake.end_mistake()
        self.network.loss = self.network.doubling = self.network.straying = 0.0
        self.network.muted = frozenset()
        self.ensemble.slow_s = self.ensemble.lag_s = 0.0
        self.store.away = False
        broker = self.draws.choice(self.brokers)
        worker = max(self.workers, key=lambda worker: worker.capacity.cpus)
        core: list[Host] = [broker, worker, *(client for client in self.clients if client.alive)]
        core += self.array_users
        self._healed = {host.name for host in core}
        self.trace.fault(f"heal {[host.name for host in core]}")
        for host in core:
            host.start()
            host.thaw()
        names = [ZK, *(host.name for host in core)]
        for source in names:
            for target in names:
                self.network.unblock_all(source, target)
        for other in self.brokers:
            if other is not broker and any(self._is_cut(other.name, host.name) for host in core):
                self.network.block(other.name, ZK)
                self.network.block(ZK, other.name)

    def heal(self, host: Host) -> None:
        """Let one more host be well, and reach all that are."""
        self._healed.add(host.name)
        for other in (ZK, *sorted(self._healed)):
            self.network.unblock_all(host.name, other)
            self.network.unblock_all(other, host.name)
        host.start()
        host.thaw()

    def _is_stale(self, frame: Any) -> bool:
        """Tell whether a frame is one of a former leader."""
        return isinstance(frame, tuple) and 0 < frame[0] < self.invariants.table.epoch

    def _is_cut(self, here: str, there: str) -> bool:
        return not (self.network.passes(here, there) and self.network.passes(there, here))

    def _await_the_end(self) -> None:
        """Until all but endless commands are over; then those end, too."""
        self.patience = Patience(self)
        if self.loops.tasks:
            self._await_rest()
            self.loops.end()
            self.patience = Patience(self)
        self._rest()

    def _await_rest(self) -> None:
        while missing := self.invariants.missing():
            self.patience.check(missing)
            self.timeline.run(self.timeline.now + LOOK_EVERY_S)

    def _rest(self) -> None:
        resting = False
        while not resting:
            self._await_rest()
            ended = len(self.invariants.table.results)
            self.timeline.run(self.timeline.now + REST_S)
            # Else a task that could have waited longer has begun, or ended a moment ago.
            resting = not self.invariants.missing() and len(self.invariants.table.results) == ended


def run_seed(
    seed: int, mix: str = USUAL, *, printing: bool = False, hashing: bool = False
) -> tuple[Cluster, Violation | None]:
    """Run one seed, and return it with what it broke."""
    cluster = Cluster(seed, mix, printing=printing, hashing=hashing)
    try:
        cluster.run()
    except Violation as violation:
        return cluster, violation
    except Exception as error:  # noqa: BLE001 (a core that raises is a finding of its own)
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place is not None else "nowhere"
        return cluster, Violation("no_core_raises", f"{type(error).__name__}: {error} at {where}")
    return cluster, None
