"""The faults: each kind is a function that breaks something and plans when it heals."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.brokers import BrokerHost
from tests.simulation.ensemble import ZK
from tests.simulation.fault_series import SERIES
from tests.simulation.hosts import Host
from tests.simulation.workers import WorkerHost

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

Kind = Callable[["Faults"], None]


class Faults:
    """Breaks things in one seed, as its draws have it.

    Args:
        cluster: What is broken.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.draws = random.Random(f"{cluster.seed}/faults")
        self.lasting = False  #: What is broken stays so.
        self._kinds = KINDS | SERIES if cluster.habits.in_series else KINDS

    def plan(self) -> list[str]:
        """Choose kinds and moments; returns the kinds."""
        draws, knobs = self.draws, self._cluster.knobs
        kinds = sorted(self._kinds)
        favoured = draws.sample(kinds, draws.randint(2, len(kinds)))
        favoured += self._cluster.habits.favoured
        chosen = [draws.choice(favoured) for _ in range(knobs.faults)]
        for kind in chosen:
            self._cluster.timeline.at(draws.uniform(3.0, knobs.safety_s), self._strike, kind)
        return chosen

    def _strike(self, kind: str) -> None:
        if not self.lasting:
            self._cluster.trace.fault(kind)
            self._kinds[kind](self)

    def count(self, kind: str) -> None:
        """Count a fault that took effect."""
        self._cluster.fault_counts[kind] += 1

    def follow_later(self, delay_s: float, kind: Kind) -> None:
        """Plan a fault that belongs to another one, unless faults are to last by then."""
        self._cluster.timeline.after(delay_s, self._follow, kind)

    def _follow(self, kind: Kind) -> None:
        if not self.lasting:
            kind(self)

    def heal_later(self, delay_s: float, call: Callable[..., None], *arguments: Any) -> None:
        """Plan the end of a fault, unless faults are to last by then."""
        self._cluster.timeline.after(delay_s, self._heal, call, arguments)

    def _heal(self, call: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if not self.lasting:
            self._cluster.trace.fault(f"healed: {call.__name__} {[getattr(a, 'name', a) for a in arguments]}")
            call(*arguments)

    # --- victims --------------------------------------------------------------------------------------------

    def broker(self) -> BrokerHost | None:
        """Choose a living broker, the leader more often than not."""
        living = [broker for broker in self._cluster.brokers if broker.working]
        leaders = [broker for broker in living if broker.leads]
        if leaders and self.draws.random() < 0.6:
            return self.draws.choice(leaders)
        return self.draws.choice(living) if living else None

    def worker(self) -> WorkerHost | None:
        """Choose a living worker, a busy one if there is one."""
        living = [worker for worker in self._cluster.workers if worker.working]
        busy = [worker for worker in living if worker.runner.processes]
        return self.draws.choice(busy or living) if living else None

    def host(self) -> Host | None:
        """Choose any living host."""
        kind = self.draws.random()
        if kind < 0.5:
            return self.broker()
        if kind < 0.85:
            return self.worker()
        living = [client for client in self._cluster.clients if client.working]
        return self.draws.choice(living) if living else None

    def path(self) -> tuple[list[str], list[str]]:
        """Choose two sides to be cut off from each other."""
        cluster, draws = self._cluster, self.draws
        broker, worker = self.broker(), self.worker()
        client = draws.choice(cluster.clients)
        a = broker.name if broker is not None else cluster.brokers[0].name
        b = worker.name if worker is not None else cluster.workers[0].name
        others = [host.name for host in cluster.hosts if host.name != a]
        return draws.choice(
            (
                ([a], [ZK]),
                ([b], [ZK]),
                ([b], [a]),
                ([b], [host.name for host in cluster.brokers]),
                ([a], [host.name for host in cluster.brokers if host.name != a]),
                ([client.name], [a]),
                ([client.name], [ZK]),
                ([a], [*others, ZK]),
                ([b], [*(host.name for host in cluster.hosts if host.name != b), ZK]),
            )
        )

    def cut(self, side: list[str], other: list[str], *, both: bool) -> None:
        """Block every path from one side to the other, and perhaps back."""
        network = self._cluster.network
        pairs = [(here, there) for here in side for there in other]
        if both:
            pairs += [(there, here) for here, there in pairs]
        elif self.draws.random() < 0.5:
            pairs = [(there, here) for here, there in pairs]
        self._cluster.trace.fault(f"cut {pairs}")
        for source, target in pairs:
            network.block(source, target)
        self.heal_later(
            self.draws.choice((1.0, 4.0, 12.0, 40.0)) * self.draws.uniform(0.5, 1.5), self._join, pairs
        )

    def _join(self, pairs: list[tuple[str, str]]) -> None:
        for source, target in pairs:
            self._cluster.network.unblock(source, target)

    @property
    def cluster(self) -> Cluster:
        """What is broken."""
        return self._cluster


# --- processes ----------------------------------------------------------------------------------------------


def _kill(faults: Faults, host: Host | None, kind: str) -> None:
    if host is not None:
        faults.count(kind)
        faults.cluster.trace.fault(f"kill {host.name}")
        host.kill()
        faults.heal_later(faults.draws.choice((0.3, 2.0, 8.0)) * faults.draws.uniform(0.5, 1.5), host.start)


def _kill_broker(faults: Faults) -> None:
    _kill(faults, faults.broker(), "kill broker")


def _kill_worker(faults: Faults) -> None:
    _kill(faults, faults.worker(), "kill worker")


def _kill_client(faults: Faults) -> None:
    living = [client for client in faults.cluster.clients if client.alive]
    _kill(faults, faults.draws.choice(living) if living else None, "kill client")


def _freeze(faults: Faults) -> None:
    host = faults.host()
    if host is not None:
        faults.count("freeze")
        faults.cluster.trace.fault(f"freeze {host.name}")
        host.freeze()
        faults.heal_later(
            faults.draws.choice((1.0, 3.0, 6.0, 12.0)) * faults.draws.uniform(0.8, 1.2), host.thaw
        )


def _freeze_loop(faults: Faults) -> None:
    host = faults.broker() if faults.draws.random() < 0.7 else faults.worker()
    if host is not None:
        faults.count("frozen loop")
        faults.cluster.trace.fault(f"freeze loop of {host.name}")
        host.freeze(loop_only=True)
        faults.heal_later(faults.draws.choice((1.0, 6.0, 15.0)) * faults.draws.uniform(0.8, 1.2), host.thaw)


def _kill_runner(faults: Faults) -> None:
    worker = faults.worker()
    if worker is not None:
        faults.count("runner death")
        worker.runner.fail()


def _hand_over(faults: Faults) -> None:
    broker = faults.broker()
    if broker is not None:
        faults.count("hand-over")
        broker.stop()


def _name_twice(faults: Faults) -> None:
    broker = faults.broker()
    if broker is not None:
        faults.count("second broker of a name")
        namesake = faults.cluster.namesakes[broker.name]
        namesake.begin_mistake()
        faults.heal_later(faults.draws.uniform(2.0, 25.0), namesake.end_mistake)


def _stop_worker(faults: Faults) -> None:
    worker = faults.worker()
    if worker is not None:
        faults.count("worker stop")
        faults.cluster.stopping.add(worker.incarnation)
        worker.stop()


# --- network ------------------------------------------------------------------------------------------------


def _cut_one_way(faults: Faults) -> None:
    faults.count("one-way partition")
    faults.cut(*faults.path(), both=False)


def _cut(faults: Faults) -> None:
    faults.count("full partition")
    faults.cut(*faults.path(), both=True)


def _break_links(faults: Faults) -> None:
    faults.count("broken links")
    network = faults.cluster.network
    for link in network.open_links():
        if faults.draws.random() < 0.5:
            network.break_link(link)


def _lose(faults: Faults) -> None:
    network = faults.cluster.network
    network.loss = faults.draws.choice((0.05, 0.3, 0.7))
    before = network.counts["lost"]
    faults.cluster.timeline.after(faults.draws.uniform(1.0, 8.0), _stop_losing, faults, before)


def _stop_losing(faults: Faults, before: int) -> None:
    network = faults.cluster.network
    network.loss = 0.0
    if network.counts["lost"] > before:
        faults.count("lost messages")


def _double(faults: Faults) -> None:
    network = faults.cluster.network
    network.doubling = faults.draws.choice((0.1, 0.5))
    before = network.counts["doubled"]
    faults.cluster.timeline.after(faults.draws.uniform(1.0, 8.0), _stop_doubling, faults, before)


def _stop_doubling(faults: Faults, before: int) -> None:
    network = faults.cluster.network
    network.doubling = 0.0
    if network.counts["doubled"] > before:
        faults.count("doubled messages")


def _stray(faults: Faults) -> None:
    network = faults.cluster.network
    network.straying = 0.3
    faults.cluster.timeline.after(faults.draws.uniform(2.0, 15.0), _stop_straying, faults)
    # What strays is late only where somebody else leads by then.
    change = faults.draws.choice((_kill_leader, _hand_over_leader))
    faults.follow_later(faults.draws.uniform(1.0, 5.0), change)


def _leader(faults: Faults) -> BrokerHost | None:
    leaders = [broker for broker in faults.cluster.brokers if broker.working and broker.leads]
    return leaders[0] if leaders else None


def _kill_leader(faults: Faults) -> None:
    _kill(faults, _leader(faults), "kill broker")


def _hand_over_leader(faults: Faults) -> None:
    leader = _leader(faults)
    if leader is not None:
        faults.count("hand-over")
        leader.stop()


def _stop_straying(faults: Faults) -> None:
    faults.cluster.network.straying = 0.0


# --- ZooKeeper ----------------------------------------------------------------------------------------------


def _expire(faults: Faults) -> None:
    host = faults.broker() if faults.draws.random() < 0.6 else faults.worker()
    session = host.session if host is not None else None
    if session is not None and faults.cluster.ensemble.lives(session.session):
        faults.count("session expiry")
        faults.cluster.ensemble.expire(session.session)


def _leader_session(faults: Faults) -> Any:
    leader = _leader(faults)
    return leader.session if leader is not None else None


def _cut_commit_before(faults: Faults) -> None:
    session = _leader_session(faults)
    if session is not None:
        session.cut_next = "before"


def _cut_commit_after(faults: Faults) -> None:
    session = _leader_session(faults)
    if session is not None:
        session.cut_next = "after"


def _replay(faults: Faults) -> None:
    session = _leader_session(faults)
    if session is not None:
        session.replay_next = True
        session.cut_next = faults.draws.choice(("before", "after"))


def _jump_clock(faults: Faults) -> None:
    faults.count("clock jump")
    faults.cluster.ensemble.jump_s += faults.draws.choice((-3600.0, -5.0, -0.5, 0.5, 5.0, 3600.0))


def _slow(faults: Faults) -> None:
    faults.count("slow ZooKeeper")
    faults.cluster.ensemble.slow_s = faults.draws.choice((0.1, 0.5, 2.0))
    faults.cluster.timeline.after(faults.draws.uniform(1.0, 8.0), _stop_slowness, faults)


def _stop_slowness(faults: Faults) -> None:
    faults.cluster.ensemble.slow_s = 0.0


def _lag(faults: Faults) -> None:
    ensemble = faults.cluster.ensemble
    ensemble.lag_s = faults.draws.choice((0.5, 2.0, 8.0))
    faults.cluster.timeline.after(faults.draws.uniform(2.0, 15.0), _catch_up, faults)


def _catch_up(faults: Faults) -> None:
    faults.cluster.ensemble.lag_s = 0.0


def _lose_store(faults: Faults) -> None:
    cluster = faults.cluster
    if cluster.knobs.store and not cluster.store.away:
        faults.count("results store away")
        cluster.store.away = True
        cluster.timeline.after(faults.draws.choice((1.0, 5.0, 20.0)), _regain_store, faults)


def _regain_store(faults: Faults) -> None:
    faults.cluster.store.away = False


KINDS: Final[dict[str, Kind]] = {
    "kill broker": _kill_broker,
    "kill worker": _kill_worker,
    "kill client": _kill_client,
    "freeze": _freeze,
    "frozen loop": _freeze_loop,
    "runner death": _kill_runner,
    "hand-over": _hand_over,
    "second broker of a name": _name_twice,
    "worker stop": _stop_worker,
    "one-way partition": _cut_one_way,
    "full partition": _cut,
    "broken links": _break_links,
    "lost messages": _lose,
    "doubled messages": _double,
    "late frames of a former leader": _stray,
    "session expiry": _expire,
    "unknown commit, not applied": _cut_commit_before,
    "unknown commit, applied": _cut_commit_after,
    "late replay": _replay,
    "clock jump": _jump_clock,
    "slow ZooKeeper": _slow,
    "lagging follower": _lag,
    "results store away": _lose_store,
}
#: All kinds. Those of commits, late frames and stale reads are counted when they strike.

COUNTED_BY_ENSEMBLE: Final = {
    "cut before": "unknown commit, not applied",
    "cut after": "unknown commit, applied",
    "replayed": "late replay",
}
