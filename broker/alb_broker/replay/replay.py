"""One replay: a workload, machines and a policy in, when and where each job ran out.

It owns virtual time. The leader is the real core (`Broker`), fed turn by turn as its shell does; around it
stand a tree without faults, machines, and one client for each user. Time jumps from one event to the next:
messages take none, and a commit neither.
"""

from __future__ import annotations

import heapq
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count, pairwise
from typing import Any, Final

import msgspec

from alb_broker.core import actions, events
from alb_broker.core.broker import Broker
from alb_broker.core.placement import PASS_MAX
from alb_broker.core.reign import Phase, Reign
from alb_broker.policies import Policy
from alb_broker.replay.machines import Alarm, ReplayedMachine
from alb_broker.replay.tree import Tree
from alb_core import codec, limits, zk, znodes
from alb_core.choices import Choice, Parameter, PolicyNode
from alb_core.config import BrokerConfig
from alb_core.errors import ReplayBroken
from alb_core.messages import (
    Accepted,
    Ack,
    AttemptStarted,
    Busy,
    ClientMessage,
    Finished,
    Hello,
    Register,
    Rejected,
    Submit,
    ToClient,
    WorkerMessage,
)
from alb_core.resources import Request
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskState
from alb_core.traces import Job, Machine
from alb_core.znodes import BrokerNode, WorkerNode

EPOCH_S: Final = 1_700_000_000.0
#: Cluster time at which every replay begins, plus its seed: from the claim's time the core seeds its draws.
SESSION_S: Final = 3.0
TICK_S: Final = 0.2
#: Between two ticks of a broker, at least.
TURN_S: Final = 0.01
#: A turn of a leader and its commit take about as long.
TICKS: Final = 5_000
#: Of one replay, about so many at most: over a year of virtual time they are minutes apart.
SUBMISSIONS_A_TURN: Final = 200
#: As the shell hands over.
OPENING_TICKS: Final = 100
#: Within which the leader must be ready.
IDLE_TICKS: Final = 1000
#: So long nothing may happen while jobs wait: longer than a policy may let one wait.
TELL_EVERY: Final = 200
#: Ended jobs, until the caller is told again how many there are.
BOUNDLESS: Final = 1 << 40
#: A trace is held in memory anyway: the leader of a replay turns nobody away.
CONFIG: Final = BrokerConfig(
    zk="replay:2181",
    name="replay",
    pending_max=BOUNDLESS,
    pending_bytes_max=BOUNDLESS,
    quantum_s=0.0,  # nobody is demoted: how little is left over for who is, no trace tells
)
NODE: Final = BrokerNode(
    broker=CONFIG.name, incarnation="replay", clients="", client_output="", workers="", worker_output=""
)
CONFIRMATIONS: Final = frozenset({Ack, AttemptStarted})
#: After these nothing new can be placed.


class Ran(msgspec.Struct, kw_only=True):
    """What became of the jobs, in the order in which they were given."""

    started: array[float]
    #: In the time of the trace, as is the next: of the attempt that delivered.
    ended: array[float]
    machine: array[int]
    #: Index of the machine.
    attempts: int
    wasted_s: float
    #: Run time of attempts that delivered nothing.
    policy_failures: int
    #: Times that the policy raised, or answered nonsense, and the default placed instead.


class Replay:
    """A replay that has not begun.

    Args:
        jobs: In the order of their submission.
        machines: The workers, all there from the beginning.
        policies: The installed policies, by name.
        policy: Which of them places,
        parameters: and what it is given instead of its own parameters.
        seed: Of the core's draws.
        sharing: By how much a full machine slows each of its runs down; 0: runs do not disturb each other.
        turn_s: What happens within so long the leader hears in one turn, at its end.
        tell: Is told now and then how many jobs have ended.
    """

    def __init__(  # noqa: PLR0913 (what a replay consists of)
        self,
        jobs: Sequence[Job],
        machines: Sequence[Machine],
        policies: Mapping[str, Policy],
        policy: str,
        *,
        parameters: Mapping[str, Parameter] | None = None,
        seed: int = 0,
        turn_s: float = TURN_S,
        sharing: float = 0.0,
        tell: Callable[[int], None] = lambda _ended: None,
    ) -> None:
        if any(later.submitted < earlier.submitted for earlier, later in pairwise(jobs)):
            raise ValueError("the jobs of a replay must be in the order of their submission")
        self._jobs: Final = jobs
        self._tell: Final = tell
        self._at = 0.0
        self._origin = 0.0  #: Own clock of the leader at the trace's beginning.
        self._ticked_at = 0.0
        self._beaten_at = 0.0  #: When everybody was heard last.
        self._tick_s = TICK_S
        self._turn_s: Final = turn_s
        self._requests: deque[zk.Request] = deque()
        self._inbox: deque[events.ClientSaid | events.WorkerSaid] = deque()  #: What peers answered.
        self._alarms: list[tuple[float, int, Alarm]] = []
        self._again: list[tuple[float, int]] = []  #: Jobs that were told to come again, and when.
        self._numbers: Final = count()
        self._next = 0  #: The first job that was not submitted yet.
        self._ended = 0
        self._attempts = 0
        self._wires: dict[tuple[str, Request, int, float | None], msgspec.Raw] = {}
        self._started: Final = array("d", [0.0]) * len(jobs)
        self._end: Final = array("d", [0.0]) * len(jobs)
        self._where: Final = array("l", [-1]) * len(jobs)
        self._machines: Final = {
            machine.name: ReplayedMachine(
                machine,
                index,
                self._request_of,
                self._run_s_of,
                self._hear_worker,
                self._set_alarm,
                self._note_run,
                sharing,
            )
            for index, machine in enumerate(machines)
        }
        self._by_peer: Final = {each.peer: each for each in self._machines.values()}
        self._choice: Final = Choice(policy=policy, parameters=dict(parameters or {}))
        self._tree: Final = Tree(_first_nodes(machines, self._choice), EPOCH_S + seed)
        self._broker: Final = Broker(CONFIG, NODE, policies)
        self._carriers: Final[dict[type[actions.Action], Callable[[Any], None]]] = {
            actions.SendToClient: self._to_client,
            actions.SendToWorker: self._to_worker,
            zk.Multi: self._requests.append,
            zk.ReadNodes: self._requests.append,
            zk.ListChildren: self._requests.append,
            actions.WriteDump: self._on_dump,
            actions.Exit: self._on_exit,
        }

    def run(self) -> Ran:
        """Replay the workload.

        Raises:
            ReplayBroken: A job fits on no machine, jobs wait for ever all the same, or the core broke.
        """
        self._open()
        total = len(self._jobs)
        while self._ended < total:
            self._step()
        self._tell(self._ended)
        return Ran(
            started=self._started,
            ended=self._end,
            machine=self._where,
            attempts=self._attempts,
            wasted_s=sum(each.wasted_s for each in self._machines.values()),
            policy_failures=self._reign.state.placer.failures,
        )

    @property
    def _reign(self) -> Reign:
        reign = self._broker.reign
        if reign is None:
            raise ReplayBroken("the broker does not lead any more")
        return reign

    # --- the beginning --------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Let the broker lead, and the workers and clients find it."""
        self._feed(zk.SessionConnected(at=self._at, session=1, timeout_s=SESSION_S))
        self._settle()
        for _ in range(OPENING_TICKS):
            if self._broker.reign is not None and self._broker.reign.phase is Phase.LEADING:
                break
            self._tick(self._at + TICK_S)
        for machine in self._machines.values():
            self._hear_worker(
                machine.peer,
                Register(
                    worker=machine.machine.name,
                    incarnation=machine.machine.name,
                    capacity=machine.machine.capacity,
                ),
            )
        for user in sorted({job.user for job in self._jobs}):
            self._hear_client(user.encode(errors="surrogateescape"), Hello(user=user))
        self._settle()
        for _ in range(OPENING_TICKS):
            if self._reign.state.placer.choice == self._choice:
                break
            self._tick(self._at + TICK_S)
        if self._reign.state.placer.choice != self._choice:
            refused = self._reign.state.placer.refusal(self._choice)
            raise ReplayBroken(refused or f"the policy {self._choice.words()} cannot be used")
        self._origin = self._at
        if self._jobs:
            self._tick_s = max(TICK_S, (self._jobs[-1].submitted - self._jobs[0].submitted) / TICKS)

    # --- time -----------------------------------------------------------------------------------------------

    def _step(self) -> None:
        """Go to the next moment at which anything happens, and let it happen."""
        at = self._next_at()
        if at - self._ticked_at >= self._tick_s:
            self._pass_time(at)
            at = self._next_at()  # a tick may have set something going
        self._at = max(self._at, at + self._turn_s)
        self._submit()
        while self._alarms and self._alarms[0][0] <= self._at:
            due, _, alarm = heapq.heappop(self._alarms)
            alarm.machine.on_alarm(alarm, due)
        self._settle()

    def _next_at(self) -> float:
        """Return when something happens next; infinite: nothing does by itself."""
        at = self._alarms[0][0] if self._alarms else float("inf")
        if self._next < len(self._jobs):
            at = min(at, self._origin + self._jobs[self._next].submitted)
        return min(at, self._again[0][0]) if self._again else at

    def _pass_time(self, until: float) -> None:
        """Give the ticks that are due before a moment; one is enough where nothing waits."""
        idle = 0
        while self._next_at() >= until and self._reign.state.table.counts[TaskState.QUEUED]:
            at = self._ticked_at + self._tick_s
            if at >= until:
                break
            idle += 1
            if until == float("inf") and idle > IDLE_TICKS:
                raise ReplayBroken(self._why_stranded())
            self._tick(max(at, self._at))
        if self._next_at() < until:
            return
        if until == float("inf"):
            raise ReplayBroken(self._why_stranded())
        if until - self._ticked_at >= self._tick_s:
            self._tick(until)

    def _tick(self, at: float) -> None:
        self._at = at
        self._ticked_at = at
        reign = self._broker.reign
        if reign is not None and at - self._beaten_at >= limits.HEARTBEAT_S:
            # Beats and pings of everybody, said at once: in time that jumps nobody is silent.
            self._beaten_at = at
            for worker in reign.state.workers:
                worker.heard = at
            for client in reign.state.clients:
                client.heard = at
        self._feed(events.Tick(at=at))
        self._settle()

    def _settle(self) -> None:
        """Take turns until nobody has anything to say, at this moment."""
        again = True
        while again:
            self._take_inbox()
            again = self._turn()

    def _take_inbox(self) -> None:
        while self._inbox:
            self._feed(self._inbox.popleft())

    def _turn(self) -> bool:
        """End a turn, and have ZooKeeper answer; returns whether another turn could bring anything new.

        It could not where the pass placed all that fits, all of that is written, and peers only confirm.
        """
        placed = self._placed()
        self._feed(events.TurnEnded(at=self._at))
        if not self._requests:
            return bool(self._inbox)
        plain = True
        while self._requests:
            request = self._requests.popleft()
            plain = plain and type(request) is zk.Multi
            self._feed(self._tree.apply(request, self._at))
        reign = self._broker.reign
        if reign is None or not plain:
            return True
        confirmed = all(type(event.message) in CONFIRMATIONS for event in self._inbox)
        self._take_inbox()
        full = self._placed() - placed >= PASS_MAX
        return full or not confirmed or bool(self._requests) or reign.state.ledger.pending > 0

    def _placed(self) -> int:
        reign = self._broker.reign
        return reign.state.counters.get("tasks_placed", 0) if reign is not None else 0

    def _feed(self, event: events.BrokerEvent) -> None:
        carriers = self._carriers
        for action in self._broker.handle(event):
            carrier = carriers.get(type(action))
            if carrier is not None:
                carrier(action)

    # --- clients --------------------------------------------------------------------------------------------

    def _submit(self) -> None:
        """Submit the jobs that are due, a turn's worth; the others follow at the same moment."""
        jobs, at = self._jobs, self._at - self._origin
        room = SUBMISSIONS_A_TURN
        while self._again and self._again[0][0] <= self._at:
            self._submit_job(heapq.heappop(self._again)[1])
        while room and self._next < len(jobs) and jobs[self._next].submitted <= at:
            self._submit_job(self._next)
            self._next += 1
            room -= 1

    def _submit_job(self, index: int) -> None:
        job = self._jobs[index]
        submit = Submit(id=f"{index:032x}", spec=self._wire(job))
        self._hear_client(job.user.encode(errors="surrogateescape"), submit)

    def _wire(self, job: Job) -> msgspec.Raw:
        key = (job.name, job.request, job.priority, job.time_limit_s)
        wire = self._wires.get(key)
        if wire is None:
            spec = TaskSpec(
                command=(job.name or "job",),
                request=job.request,
                priority=job.priority,
                time_limit_s=job.time_limit_s,
            )
            wire = self._wires[key] = msgspec.Raw(codec.encode_spec(spec))
        return wire

    def _to_client(self, action: actions.SendToClient) -> None:
        message: ToClient = action.message
        kind = type(message)
        if kind is Accepted:
            return
        if isinstance(message, Finished):
            self._finish(message)
            self._hear_client(action.peer, Ack(id=message.id))
        elif isinstance(message, Busy):
            heapq.heappush(self._again, (self._at + message.delay_s, int(message.id, 16)))
        elif isinstance(message, Rejected):
            raise ReplayBroken(f"job {int(message.id, 16)} was rejected: {message.why}")

    def _finish(self, message: Finished) -> None:
        index = int(message.id, 16)
        result = message.result
        if result.state is not TaskState.SUCCEEDED:
            raise ReplayBroken(f"job {index} ended {result.state.value}: {result.why}")
        self._where[index] = self._machines[result.worker].index
        self._attempts += result.attempt
        self._ended += 1
        if self._ended % TELL_EVERY == 0:
            self._tell(self._ended)

    # --- workers --------------------------------------------------------------------------------------------

    def _to_worker(self, action: actions.SendToWorker) -> None:
        self._by_peer[action.peer].hear(action.message, self._at)

    def _request_of(self, task: str) -> Request:
        return self._jobs[int(task, 16)].request

    def _run_s_of(self, task: str) -> float:
        return self._jobs[int(task, 16)].run_s

    def _hear_worker(self, peer: bytes, message: WorkerMessage) -> None:
        self._inbox.append(events.WorkerSaid(at=self._at, peer=peer, message=message))

    def _hear_client(self, peer: bytes, message: ClientMessage) -> None:
        self._inbox.append(events.ClientSaid(at=self._at, peer=peer, message=message))

    def _note_run(self, task: str, began: float, ended: float) -> None:
        index = int(task, 16)
        self._started[index], self._end[index] = began - self._origin, ended - self._origin

    def _set_alarm(self, at: float, alarm: Alarm) -> None:
        heapq.heappush(self._alarms, (at, next(self._numbers), alarm))

    # --- what ends a replay ---------------------------------------------------------------------------------

    def _on_dump(self, action: actions.WriteDump) -> None:
        raise ReplayBroken(f"the leader gave up ({action.why}): tasks that fit stayed unplaced")

    def _on_exit(self, action: actions.Exit) -> None:
        raise ReplayBroken(f"the broker ended: {action.why}")

    def _why_stranded(self) -> str:
        state = self._reign.state
        for task in state.queue.unplaced():
            why = state.workers.why_never(task.request)
            if why:
                return f"job {int(task.id, 16)} is never placed: {why}"
        waiting = state.table.counts[TaskState.QUEUED]
        return f"{waiting} jobs wait for ever under {self._choice.policy}, though nothing runs any more"


def _first_nodes(machines: Sequence[Machine], choice: Choice) -> dict[str, bytes]:
    nodes = znodes.first_nodes("replay")
    nodes[znodes.POLICY] = znodes.encode(PolicyNode(policy=choice.policy, parameters=choice.parameters))
    for machine in machines:
        node = WorkerNode(worker=machine.name, incarnation=machine.name, capacity=machine.capacity)
        nodes[znodes.worker_path(machine.name)] = znodes.encode(node)
    return nodes
