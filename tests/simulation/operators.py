"""Operators: they drain workers, put them back, and choose policies; by clients, and by hand in ZooKeeper."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from tests.simulation.hosts import Source

from alb.core import events
from alb_core import zk, znodes
from alb_core.bounds import LimitsNode
from alb_core.choices import PolicyNode
from alb_core.copies import CopiesNode
from alb_core.drains import Drain
from alb_core.messages import DrainWorkers, SetCopies, SetLimits, SetPolicy, SetShare, UndrainWorkers
from alb_core.shares import NO_SHARES, Share

if TYPE_CHECKING:
    from tests.simulation.clients import ClientHost
    from tests.simulation.cluster import Cluster

    from alb.core.events import Query

DRAINS_MAX: Final = 3
POLICIES_CHOSEN_MAX: Final = 3
FATAL_SHARE: Final = 0.5
#: Of the seeds in which somebody may choose a policy that ends its leader.
LATEST: Final = 0.9
#: Part of the safety phase within which they act.
AGAIN_S: Final = 6.0
TIDY_AFTER_S: Final = 5.0
#: In the liveness phase: by then no request of before is on its way any more.


class Operators:
    """Takes workers out of service and puts them back, and lets other policies place.

    Args:
        cluster: Where.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._draws = random.Random(f"{cluster.seed}/operators")
        self._asked: list[tuple[ClientHost, int, int]] = []  #: Client, its life, token.

    def plan(self) -> None:
        """Plan who is drained when, and for how long."""
        draws, end = self._draws, self._cluster.knobs.safety_s * LATEST
        for _ in range(draws.choice((0, 0, 1, DRAINS_MAX))):
            begin = draws.uniform(1.0, end)
            names = [worker.name for worker in self._cluster.workers]
            chosen = tuple(draws.sample(names, draws.randint(1, len(names))))
            deadline_s = draws.choice((None, 0.0, 2.0))
            drain = DrainWorkers(seq=0, workers=chosen, reason="maintenance", deadline_s=deadline_s)
            self._cluster.timeline.at(begin, self._ask, drain)
            if draws.random() < 0.3:
                self._cluster.timeline.at(begin + draws.uniform(0.0, 3.0), self._write, chosen)
            undrain = UndrainWorkers(seq=0, workers=chosen[: draws.randint(0, len(chosen))] or chosen)
            self._cluster.timeline.at(begin + draws.uniform(1.0, 15.0), self._ask, undrain)
        self._plan_policies(random.Random(f"{self._cluster.seed}/policies"), end)
        self._plan_shares(random.Random(f"{self._cluster.seed}/shares"), end)
        self._plan_fatal(random.Random(f"{self._cluster.seed}/fatal"), end)
        self._plan_more(random.Random(f"{self._cluster.seed}/operators' habits"), end)

    def _plan_policies(self, draws: random.Random, end: float) -> None:
        """Plan which policies are chosen, for how long, and what somebody writes into the node instead."""
        for _ in range(draws.choice((0, 0, 1, POLICIES_CHOSEN_MAX))):
            policy = draws.choice(self._cluster.habits.policies)
            wish = SetPolicy(seq=0, policy=policy, try_s=draws.choice((0.0, 2.0, 20.0)))
            self._cluster.timeline.at(draws.uniform(1.0, end), self._ask, wish)
            if draws.random() < 0.3:
                by_hand = znodes.encode(PolicyNode(policy=policy))
                data = draws.choice((by_hand, b"uniform", b'{"policy":"fanciful"}', b'{"polcy":"uniform"}'))
                self._cluster.timeline.at(draws.uniform(1.0, end), self._write_node, znodes.POLICY, data)

    def _plan_fatal(self, draws: random.Random, end: float) -> None:
        """Plan who chooses a policy that ends its leader; perhaps once more, when it is known for that."""
        if not self._cluster.habits.fatal or draws.random() >= FATAL_SHARE:
            return
        for _ in range(draws.choice((1, 1, 2))):
            wish = SetPolicy(seq=0, policy="fatal", try_s=draws.choice((0.0, 0.0, 5.0)))
            self._cluster.timeline.at(draws.uniform(0.5, end), self._ask, wish)
        if draws.random() < 0.3:
            data = znodes.encode(PolicyNode(policy="fatal"))
            self._cluster.timeline.at(draws.uniform(0.5, end), self._write_node, znodes.POLICY, data)

    def _plan_shares(self, draws: random.Random, end: float) -> None:
        """Plan who is given another weight, or bounds."""
        for user in ("ann", "bob", ""):
            if draws.random() < 0.4:
                share = Share(weight=draws.choice((None, 0.5, 4.0)), cpus_max=draws.choice((None, 1.0, 2.5)))
                request = SetShare(seq=0, user=user, share=share)
                self._cluster.timeline.at(draws.uniform(1.0, end), self._ask, request)

    def _plan_more(self, draws: random.Random, end: float) -> None:
        """Plan what operators of heavier mixes do besides."""
        habits, timeline = self._cluster.habits, self._cluster.timeline
        names = [worker.name for worker in self._cluster.workers]
        for _ in range(habits.drains):
            begin, chosen = draws.uniform(1.0, end), tuple(draws.sample(names, draws.randint(1, len(names))))
            drain = DrainWorkers(seq=0, workers=chosen, reason="", deadline_s=draws.choice((None, 0.0, 1.0)))
            timeline.at(begin, self._ask, drain)
            timeline.at(begin + draws.uniform(0.0, 6.0), self._ask, UndrainWorkers(seq=0, workers=chosen))
        for _ in range(habits.changes):
            most = draws.choice((None, 0.5, 2.0))
            share = Share(
                weight=draws.choice((None, 0.01, 9.0)), cpus_max=most, tasks_max=draws.choice((None, 3))
            )
            limits = LimitsNode(time_limit_s=draws.choice((None, 2.0, 30.0)))
            wishes: tuple[Query, ...] = (
                SetPolicy(seq=0, policy=draws.choice(habits.policies)),
                SetShare(seq=0, user=draws.choice(("", "ann", "bob")), share=share),
                SetLimits(seq=0, limits=limits),
                SetCopies(seq=0, copies=CopiesNode(share=draws.choice((0.0, 0.5, 1.0)), slow_tasks=0.0)),
            )
            timeline.at(draws.uniform(1.0, end), self._ask, draws.choice(wishes))

    def _ask(self, query: Query) -> None:
        living = [client for client in self._cluster.clients if client.working]
        if living and not self._cluster.faults.lasting:
            client = self._draws.choice(living)
            self._asked.append((client, client.life, client.query(query)))

    def _write(self, chosen: tuple[str, ...]) -> None:
        """Write the node by hand: drains without a date, or nonsense."""
        if not self._cluster.faults.lasting:
            drains = {name: Drain(deadline_s=self._draws.choice((None, 1.0))) for name in chosen}
            by_hand = znodes.encode(znodes.DrainedNode(workers=drains))
            self._write_node(znodes.DRAINED, self._draws.choice((by_hand, b"w1, w2", b'{"worker":{}}')))

    def _write_node(self, path: str, data: bytes) -> None:
        if not self._cluster.faults.lasting:
            self._cluster.ensemble.operate((zk.SetData(path, data),))

    def tidy_up(self) -> None:
        """Let all workers work and nobody be bounded: who asked has stopped waiting, somebody uses zkCli."""
        for client, life, token in self._asked:
            if client.working and client.life == life and client.open_requests.pop(token, None) is not None:
                client.post(Source.SELF, lambda at, token=token: events.RequestAbandoned(at=at, token=token))
        self._cluster.timeline.after(TIDY_AFTER_S, self._undo_all)

    def _undo_all(self) -> None:
        nobody, alike = znodes.encode(znodes.DrainedNode()), znodes.encode(NO_SHARES)
        self._cluster.ensemble.operate((zk.SetData(znodes.DRAINED, nobody),))
        self._cluster.ensemble.operate((zk.SetData(znodes.SHARES, alike),))  # refused where there is no node
        self._cluster.timeline.after(AGAIN_S, self._undo_all)  # a write of before may have been on its way
