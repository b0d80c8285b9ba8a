"""A simulated client: the real core, and the program of a user that submits, cancels, asks, and remembers.

What the program remembers (its jobs) survives the process: started again, it asks for the same ids.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tests.simulation.ensemble import ZK
from tests.simulation.hosts import Host, Make, Source
from tests.simulation.network import Link
from tests.simulation.workload import rewritten

from alb.core import actions as acts
from alb.core import events
from alb.core.notices import OutputRestarted
from alb.core.session import ClientCore
from alb_core import codec, znodes
from alb_core.config import ClientConfig
from alb_core.messages import (
    Chunk,
    QueryArrays,
    QueryCluster,
    QueryCopies,
    QueryDump,
    QueryHistory,
    QueryIncrements,
    QueryOutput,
    QueryPolicies,
    QueryRows,
    QueryShares,
    QueryTask,
    QueryTasks,
    QueryWorkers,
    QueryWorks,
    StreamName,
    Suspect,
)
from alb_core.tasks import Result
from alb_core.works import work_of
from alb_core.znodes import BrokerNode, LeaderNode

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.workload import UserTask

VISIT_S: Final = 3.0
#: After that time a client gives a silent ZooKeeper up.


class JobState(enum.Enum):
    """What the user's program knows of one task that it wants."""

    WANTED = "wanted"  #: It waits for the result.
    DETACHED = "detached"  #: It went on without waiting.
    SETTLED = "settled"  #: It has the result.
    FAILED = "failed"  #: It was told that there is none.


class Job(msgspec.Struct):
    """One task as one user's program sees it."""

    task: UserTask
    state: JobState = JobState.WANTED
    attach: bool = False
    #: Somebody else submitted it, or an earlier life did and detached.
    result: Result | None = None
    code: str = ""
    #: Of its failure.


def _all_else(task_id: str) -> tuple[events.Query, ...]:
    """Return what else people ask, of a task and of the cluster."""
    return (
        QueryTask(seq=0, id=task_id, explain=True),
        QueryTask(seq=0, id=task_id, explain=True),
        QueryIncrements(seq=0, id=task_id, newest=True),
        QueryOutput(seq=0, id=task_id, stream=StreamName.STDOUT, offset=-100),
        QueryWorkers(seq=0, tasks=True),
        QueryArrays(seq=0),
        QueryHistory(seq=0),
        QueryCluster(seq=0),
        QueryPolicies(seq=0),
        QueryShares(seq=0),
        QueryCopies(seq=0),
        QueryDump(seq=0),
    )


class ClientHost(Host):
    """One client."""

    def __init__(self, cluster: Cluster, name: str, user: str) -> None:
        super().__init__(cluster, name, cluster.knobs.tick_s)
        self.user = user
        self.core: ClientCore | None = None
        self.jobs: dict[str, Job] = {}
        self._links: dict[int, Link] = {}
        self._tokens = 0
        self.open_requests: dict[
            int, float
        ] = {}  #: Tokens of requests without an answer, and when they were made.

    # --- life -----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start the program, which wants again what it has no result of."""
        knobs = self.cluster.knobs
        config = ClientConfig(zk="zk:2181", user=self.user, holding_s=knobs.holding_s - 20.0)
        self.core = ClientCore(config, client=self.name, seed=self.draws.getrandbits(32))
        self._links = {}
        self.open_requests = {}
        resubmits = self.cluster.habits.resubmits and self.cluster.workload.keeps_long
        for job in self.jobs.values():
            if job.state is JobState.WANTED or (job.state is JobState.SETTLED and resubmits):
                job.state, job.result = JobState.WANTED, None
                job.task = rewritten(job.task)
                self._want(job)

    def end(self) -> None:
        """The process is gone."""
        self.core = None

    @property
    def peer(self) -> bytes:
        """Its address on the links."""
        return self.incarnation.encode()

    # --- the user's program ---------------------------------------------------------------------------------

    def submit(self, task: UserTask) -> None:
        """Want a task run."""
        if task.id not in self.jobs:
            self._want(self.jobs.setdefault(task.id, Job(task)))

    def attach(self, task: UserTask) -> None:
        """Want the result of a task that was accepted before."""
        job = self.jobs.get(task.id)
        if job is None or job.state is JobState.DETACHED:
            job = self.jobs[task.id] = Job(task, attach=True)
            self._want(job)

    def detach(self, task: UserTask) -> None:
        """Go on without waiting for a task."""
        job = self.jobs.get(task.id)
        if job is not None and job.state is JobState.WANTED and self.working:
            job.state = JobState.DETACHED
            self.post(Source.SELF, lambda at: events.TaskAbandoned(at=at, id=task.id))

    def cancel(self, task: UserTask) -> None:
        """Want a task ended."""
        if self.working:
            self.cluster.cancels.add(task.id)
            token = self._token()
            self.post(Source.SELF, lambda at: events.CancelRequested(at=at, token=token, id=task.id))

    def ask(self, task: UserTask) -> None:
        """Ask for something."""
        if self.working:
            works = (work_of(self.user, codec.decode_spec(task.wire)),)
            questions: tuple[events.Query, ...] = (
                QueryTask(seq=0, id=task.id),
                QueryTasks(seq=0),
                QueryWorkers(seq=0),
                QueryWorks(seq=0, works=works),
                QueryRows(seq=0, family="attempts"),
            )
            if self.cluster.habits.curious:
                questions += _all_else(task.id)
            self.query(self.draws.choice(questions))

    def query(self, query: events.Query) -> int:
        """Ask this; returns the request's token."""
        token = self._token()
        self.post(Source.SELF, lambda at: events.QueryRequested(at=at, token=token, message=query))
        return token

    def _token(self) -> int:
        self._tokens += 1
        self.open_requests[self._tokens] = self.cluster.timeline.now
        return self._tokens

    def _want(self, job: Job) -> None:
        task = job.task
        self.cluster.invariants.clients.on_wanted(self, task)
        if job.attach:
            self.post(
                Source.SELF, lambda at: events.AttachRequested(at=at, id=task.id, live=task.live, output=True)
            )
        else:
            self.post(
                Source.SELF,
                lambda at: events.SubmitRequested(
                    at=at, id=task.id, spec=task.wire, live=task.live, moves=task.live
                ),
            )

    # --- events ---------------------------------------------------------------------------------------------

    def take(self, _source: Source, make: Make) -> None:
        """Handle an event."""
        core = self.core
        if core is None:
            return
        event = make(at=self.clock())
        self.cluster.trace.event(self.name, event)
        for action in core.handle(event):
            if not self.alive:
                return
            self._perform(action)

    def tick(self) -> None:
        """The clock ticked."""
        self.take(Source.CLOCK, events.Tick)

    def on_opened(self, link: Link) -> None:
        """A link is up."""
        self._post_of(link, events.LinkOpened)

    def on_closed(self, link: Link, *, refused: bool) -> None:
        """A link broke, or nobody listens."""
        self._post_of(link, events.LinkRefused if refused else events.LinkClosed)

    def _post_of(self, link: Link, kind: Callable[..., events.Event]) -> None:
        if self._links.get(link.number) is link:
            self.post(Source.SELF, lambda at: kind(at=at, link=link.number))

    def on_message(self, link: Link, message: Any) -> None:
        """A broker said something, or sent output."""
        if self._links.get(link.number) is not link:
            return
        if isinstance(message, Chunk):
            self.post(Source.SELF, lambda at: events.OutputSaid(at=at, link=link.number, chunk=message))
        else:
            epoch, table, said = message
            self.post(
                Source.SELF,
                lambda at: events.BrokerSaid(
                    at=at, link=link.number, epoch=epoch, table=table, messages=(said,)
                ),
            )

    # --- actions --------------------------------------------------------------------------------------------

    def _perform(self, action: acts.ClientAction) -> None:  # noqa: C901, PLR0912 (a flat table)
        network = self.cluster.network
        self.cluster.trace.action(self.name, action)
        match action:
            case acts.Send(link, message):
                if link in self._links:
                    self.cluster.invariants.on_client_sent(message)
                    network.send(self._links[link], message)
            case acts.SendGrant(link, grant):
                if link in self._links:
                    network.send(self._links[link], grant)
            case acts.Connect(link, endpoint) | acts.ConnectOutput(link, endpoint):
                self._links[link] = network.connect(self, self, endpoint, self.peer, link)
            case acts.Disconnect(link):
                closing = self._links.pop(link, None)
                if closing is not None:
                    network.close(closing)
            case acts.LookUp():
                self._look_up()
            case acts.SendSuspect(endpoints, epoch, why):
                for endpoint in endpoints:
                    network.send_once(self, endpoint, self.peer + b"-suspects", Suspect(epoch=epoch, why=why))
            case acts.Settle():
                self._settle(action)
            case acts.FailTask(task_id, code, why):
                job = self.jobs[task_id]
                job.state, job.code = JobState.FAILED, code
                self.cluster.invariants.clients.on_failed(self, job.task, code, why)
            case acts.DeliverOutput():
                self._consume(action)
            case acts.AnswerQuery(token, message):
                self.cluster.holders.on_answer(self, token, message)
                self.open_requests.pop(token, None)
                self.cluster.invariants.clients.on_answer(self, message)
            case acts.Tell(notice):
                if isinstance(notice, OutputRestarted):
                    self.cluster.invariants.clients.on_restarted(self, notice.id)

    def _settle(self, action: acts.Settle) -> None:
        job = self.jobs[action.id]
        job.state, job.result = JobState.SETTLED, action.result
        self.cluster.invariants.clients.on_settled(self, job.task, action)

    def _consume(self, action: acts.DeliverOutput) -> None:
        self.cluster.invariants.clients.on_output(self, action)
        if self.jobs[action.id].task.live:
            reached = action.offset + len(action.data)
            taken = lambda at: events.OutputTaken(  # noqa: E731 (an event's maker, like everywhere here)
                at=at, id=action.id, attempt=action.attempt, stream=action.stream, offset=reached
            )
            self.cluster.timeline.after(self.draws.uniform(0.0, 0.2), self._post_in, self.life, taken)

    def _post_in(self, life: int, make: Make) -> None:
        if life == self.life:
            self.post(Source.SELF, make)

    # --- ZooKeeper ------------------------------------------------------------------------------------------

    def _look_up(self) -> None:
        network = self.cluster.network
        if network.passes(self.name, ZK) and network.passes(ZK, self.name):
            self.cluster.timeline.after(4 * network.latency(), self._looked_up, self.life)
        else:
            failed = lambda at: events.LookUpFailed(at=at, why="no answer")  # noqa: E731
            self.cluster.timeline.after(VISIT_S, self._post_in, self.life, failed)

    def _looked_up(self, life: int) -> None:
        ensemble = self.cluster.ensemble
        found = ensemble.read_leader(0.0)
        leader = znodes.decode(LeaderNode, znodes.LEADER, found.data) if found is not None else None
        brokers = []
        for name in ensemble.children(znodes.BROKERS):
            node = ensemble.read(znodes.broker_path(name))
            if node is not None:
                brokers.append(znodes.decode(BrokerNode, node.path, node.data))
        self._post_in(life, lambda at: events.LeaderFound(at=at, leader=leader, brokers=tuple(brokers)))
