"""The agent: one thread, one poll loop, which owns the core and carries out what it wants.

A turn takes a bounded amount from each side (ZooKeeper, the leader, its output link, the runner, the clock),
lets the core handle it event by event, and sends what gathered. Nothing else decides, and nothing here blocks
but the restart of a dead runner.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Container, Sequence
from typing import Any, Final

import zmq

from alb_core import codec, zk
from alb_core.errors import AlbError, ConfigError, RemoteProtocolError
from alb_core.increments import Line
from alb_core.io.clock import monotonic
from alb_core.io.logs import Logger, write_note
from alb_core.io.session import Session
from alb_core.io.sockets import Doorbell
from alb_core.messages import AttemptId, Grant
from alb_core.notes import Note
from alb_core.tasks import EXITED, Cause, Outcome
from alb_worker.core.actions import (
    ConnectLeader,
    ConnectOutput,
    DemoteAttempt,
    DisconnectLeader,
    DropSpool,
    Exit,
    KillAttempt,
    LaunchAttempt,
    SendChunk,
    SendToLeader,
    UseDepots,
)
from alb_worker.core.events import (
    Granted,
    LeaderSaid,
    LinkClosed,
    LoadMeasured,
    Reported,
    RunnerDemoted,
    RunnerEnded,
    RunnerLost,
    SpoolDropped,
    Tick,
    UsesMeasured,
    WorkerEvent,
)
from alb_worker.core.worker import WorkerCore
from alb_worker.runner.messages import Demoted, Ended, Noted, Output, Ready, Started, Used
from alb_worker.shell.checkpoints import Checkpoints
from alb_worker.shell.courier_link import CourierLink
from alb_worker.shell.gpus import gpu_environment
from alb_worker.shell.increments import IncrementFiles
from alb_worker.shell.kind_desk import KindDesk
from alb_worker.shell.links import LeaderSocket, OutputSocket, Source, Wanted
from alb_worker.shell.load import LoadMeter
from alb_worker.shell.luggage import Luggage
from alb_worker.shell.runner_link import Received, RunnerDied, RunnerLink
from alb_worker.shell.runner_news import RunnerNews
from alb_worker.shell.spool import Spool

TICK_S: Final = 0.1
LOAD_S: Final = 1.0
#: Between two measurements of the machine's load.
NOT_STARTED_STATUS: Final = 125
RUNNER_DEATHS_MAX: Final = 5
RUNNER_DEATHS_WITHIN_S: Final = 60.0
#: A runner that dies more often than that will not live: the worker ends, and its supervisor may try.


class Inbox:
    """Events from other threads and from signals, and the bell that wakes the loop for them."""

    def __init__(self) -> None:
        self.bell = Doorbell()
        self._events: deque[WorkerEvent] = deque()

    def post(self, event: WorkerEvent) -> None:
        """Put an event in, from any thread."""
        self._events.append(event)
        self.bell.ring()

    def take(self) -> list[WorkerEvent]:
        """Return what is there, oldest first."""
        self.bell.clear()
        return [self._events.popleft() for _ in range(len(self._events))]


class Agent:
    """One worker process.

    Args:
        core: Decides.
        inbox: Where `session` posts its events.
        session: The way to ZooKeeper; started and stopped by the owner.
        runner: Runs the commands; started and closed by the owner.
        courier: Moves their files; closed by the owner.
        kinds: Says what is started for tasks that are no plain commands.
        spool: Keeps their output.
        increments: The files to which they report increments; closed by the owner.
        meter: Measures the load.
        identity: How the leader's sockets name this worker.
        logger: Takes the core's notes.
    """

    def __init__(  # noqa: PLR0913 (the parts of a worker, made and ended by its owner)
        self,
        *,
        core: WorkerCore,
        inbox: Inbox,
        session: Session,
        runner: RunnerLink,
        courier: CourierLink,
        kinds: KindDesk,
        spool: Spool,
        increments: IncrementFiles,
        meter: LoadMeter,
        identity: bytes,
        logger: Logger,
    ) -> None:
        self._core = core
        self._inbox = inbox
        self._bell = inbox.bell.fileno()
        self._session = session
        self._runner = runner
        self._spool = spool
        self._increments = increments
        self._news = RunnerNews(spool)
        self._checkpoints = Checkpoints(courier, increments, logger)
        self._luggage = Luggage(
            self._launch, runner, courier, inbox.bell.ring, logger, self._checkpoints, kinds
        )
        self._meter = meter
        self._logger = logger
        self._leader = LeaderSocket(identity)
        self._output = OutputSocket(identity, self._read_spool)
        self._poller = zmq.Poller()
        self._wanted: tuple[Wanted, ...] = ()
        #: What the poller waits for.
        self._exit: Exit | None = None
        self._tick_at = monotonic()
        self._load_at = monotonic()
        self._runner_deaths: deque[float] = deque(maxlen=RUNNER_DEATHS_MAX)
        self._performers: dict[type, Callable[[Any], None]] = {
            SendToLeader: lambda action: self._leader.add(action.message),
            LaunchAttempt: self._luggage.launch,
            SendChunk: self._output.add,
            KillAttempt: self._luggage.kill,
            DemoteAttempt: lambda action: runner.demote(action.attempt),
            UseDepots: lambda action: courier.use_depots(action.depots),
            DropSpool: lambda action: self._spool.drop(action.attempt),
            ConnectLeader: self._connect_leader,
            DisconnectLeader: lambda _: self._disconnect_leader(),
            ConnectOutput: self._connect_output,
            Note: functools.partial(write_note, logger),
            zk.Multi: session.request,
            zk.ReadNodes: session.request,
            zk.ListChildren: session.request,
            Exit: self._note_exit,
        }

    def run(self) -> Exit:
        """Serve until the core wants to end; return why it does."""
        while self._exit is None:
            self._turn(self._wait())
        return self._exit

    def close(self) -> None:
        """Close the links."""
        self._disconnect_leader()

    # --- a turn -------------------------------------------------------------------------------------------

    def _wait(self) -> Container[Source]:
        """Wait for somebody or for the clock; return who has something."""
        runner_wish = zmq.POLLIN | zmq.POLLOUT if self._runner.wants_write else zmq.POLLIN
        wanted = (
            (self._bell, zmq.POLLIN),
            (self._runner.fileno(), runner_wish),
            *self._leader.wanted(),
            *self._output.wanted(),
            *_wishes_of(self._luggage.courier),
        )
        if wanted != self._wanted:
            self._wanted = wanted
            self._poller = zmq.Poller()
            for source, wish in wanted:
                self._poller.register(source, wish)
        timeout_ms = int(max(self._tick_at - monotonic(), 0) * 1000) + 1
        return dict(self._poller.poll(timeout_ms))

    def _turn(self, ready: Container[Source]) -> None:
        if self._bell in ready:
            for event in self._inbox.take():
                self._handle(event)
        if self._leader.stirred(ready):
            for change in self._leader.changes(monotonic()):
                self._handle(change)
        if self._leader.spoke(ready):
            self._hear_leader()
            self._runner.flush()  # first what commands wait for, then everything else
        if self._output.stirred(ready):
            self._hear_output()
        if self._runner.fileno() in ready:
            self._hear_runner()
            self._leader.flush(patient=True, ahead=self._core.attempts.waiting)
        self._hear_courier(ready)
        at = monotonic()
        ticked = at >= self._tick_at
        if ticked:
            self._tick(at)
        self._runner.flush()
        self._luggage.courier.flush()
        self._leader.flush(patient=not ticked, ahead=self._core.attempts.waiting)
        self._output.flush()

    def _hear_leader(self) -> None:
        at = monotonic()
        for frame in self._leader.receive():
            try:
                envelope = codec.decode_to_worker(frame)
            except RemoteProtocolError as error:
                self._logger.warning("frame_refused", link="leader", why=str(error))
                continue
            said = LeaderSaid(at=at, epoch=envelope.epoch, table=envelope.table, messages=envelope.messages)
            self._handle(said)

    def _hear_output(self) -> None:
        for frame in self._output.receive():
            try:
                messages = codec.decode_output(frame)
            except RemoteProtocolError as error:
                self._logger.warning("frame_refused", link="output", why=str(error))
                continue
            for message in messages:
                if isinstance(message, Grant):
                    self._handle(Granted(at=monotonic(), grant=message))

    def _hear_runner(self) -> None:
        pieces: list[Started | Output | Ended] = []
        demoted: list[Demoted] = []
        death: RunnerDied | None = None
        for message in self._runner.receive():  # isinstance of a Struct that says no costs 800 instructions
            if type(message) is Ended or type(message) is Started or type(message) is Output:
                pieces.append(message)
            elif type(message) is Demoted:
                demoted.append(message)
            elif type(message) is RunnerDied:
                death = message
            else:
                self._note_runner(message)
        unpacked = self._luggage.unpack(pieces)
        self._report_saved()
        self._take_in(unpacked)
        for told in demoted:
            self._on_demoted(told)
        if death is not None:
            self._replace_runner(death)

    def _note_runner(self, message: Received) -> None:
        """Take what the runner says of itself, and of what attempts use."""
        match message:
            case Used():
                self._handle(UsesMeasured(at=monotonic(), uses=message.uses))
            case Noted():
                write_note(self._logger, message.note)
            case Ready():
                self._logger.info(
                    "runner_started",
                    pid=message.pid,
                    cgroup=message.cgroup,
                    mechanism=message.mechanism,
                    dyed=message.dyed,
                )

    def _on_demoted(self, told: Demoted) -> None:
        if told.attempt in self._core.attempts.records:  # it may be over and forgotten meanwhile
            self._logger.info("attempt_demoted", attempt=str(told.attempt), mechanism=told.mechanism)
            self._handle(RunnerDemoted(at=monotonic(), attempt=told.attempt, mechanism=told.mechanism))

    def _hear_courier(self, ready: Container[Source]) -> None:
        if self._luggage.courier.fileno() in ready or self._luggage.courier.has_news:
            self._luggage.hear()
        self._report_saved()
        over = self._luggage.take()
        if over:
            self._take_in(over)

    def _take_in(self, pieces: Sequence[Started | Output | Ended]) -> None:
        """Keep the output of what the runner said, and tell the core the rest."""
        news = self._news.translate(monotonic(), pieces)
        ended = {event.attempt: event.outcome.cause is EXITED for event in news if type(event) is RunnerEnded}
        reported = self._increments.finish_all(ended) if ended else {}
        for event in news:
            if event.attempt in reported:
                self._report(event.attempt, reported[event.attempt])
            self._handle(event)

    def _replace_runner(self, death: RunnerDied) -> None:
        at = monotonic()
        self._logger.error("runner_died", exit_code=death.exit_code, signal=death.signal)
        self._runner_deaths.append(at)
        often = len(self._runner_deaths) == RUNNER_DEATHS_MAX
        if often and at - self._runner_deaths[0] < RUNNER_DEATHS_WITHIN_S:
            raise AlbError(f"the runner died {RUNNER_DEATHS_MAX} times within {RUNNER_DEATHS_WITHIN_S:.0f} s")
        for leftover in self._runner.restart():
            self._logger.warning("leftover_killed", pid=leftover.pid, task=leftover.task, gone=leftover.gone)
        self._news.abandon()
        self._luggage.abandon()
        for attempt, lines in self._increments.abandon():
            self._report(attempt, lines)
        self._handle(RunnerLost(at=monotonic()))

    def _tick(self, at: float) -> None:
        self._tick_at = at + TICK_S
        if at >= self._load_at:
            self._load_at = at + LOAD_S
            self._handle(LoadMeasured(at=at, load=self._meter.measure(at)))
            for attempt in self._spool.expire(at, self._core.keeping.owes):
                self._handle(SpoolDropped(at=at, attempt=attempt))
        for attempt, lines in self._increments.poll():
            if not self._checkpoints.hold(attempt, lines):
                self._report(attempt, lines)
        self._checkpoints.tick()
        self._handle(Tick(at=at))

    # --- the core -----------------------------------------------------------------------------------------

    def _handle(self, event: WorkerEvent) -> None:
        performers = self._performers
        for action in self._core.handle(event):
            performers[type(action)](action)

    def _launch(self, action: LaunchAttempt, prepared: str) -> None:
        """Start a command; its files are in the prepared directory, where it has some."""
        resume = action.resume
        try:
            marks = self._increments.open(action.attempt, resume, action.spec.run_as)
        except OSError as error:
            why = f"what earlier attempts reported could not be written for it: {error.strerror}"
            outcome = Outcome(cause=Cause.NOT_STARTED, exit_code=NOT_STARTED_STATUS, why=why)
            self._inbox.post(RunnerEnded(at=monotonic(), attempt=action.attempt, outcome=outcome))
            self._luggage.forget(action.attempt, prepared)
            return
        if action.gpus is not None:
            marks |= gpu_environment(action.gpus)
        first = resume.step + 1 if resume is not None else 1
        if action.bounds.output_bytes is not None:
            self._spool.bound(action.attempt, action.bounds.output_bytes)
        self._runner.start_attempt(
            action.attempt,
            action.spec,
            marks,
            first_step=first,
            prepared=prepared,
            bounds=action.bounds,
            time_limit_s=action.time_limit_s,
        )

    def _report_saved(self) -> None:
        """Report the increments whose checkpoint is safe."""
        for attempt, lines in self._checkpoints.take_lines():
            self._report(attempt, lines)

    def _report(self, attempt: AttemptId, lines: tuple[Line, ...]) -> None:
        if lines:
            self._handle(Reported(at=monotonic(), attempt=attempt, lines=lines))

    def _connect_leader(self, action: ConnectLeader) -> None:
        self._output.close()
        try:
            self._leader.connect(action.endpoint)
        except ConfigError as error:
            self._logger.warning("endpoint_refused", link="leader", why=str(error))
            self._inbox.post(LinkClosed(at=monotonic(), endpoint=action.endpoint, refused=True))

    def _connect_output(self, action: ConnectOutput) -> None:
        try:
            self._output.connect(action.endpoint)
        except ConfigError as error:
            self._logger.warning("endpoint_refused", link="output", why=str(error))

    def _disconnect_leader(self) -> None:
        self._output.close()
        self._leader.close()

    def _note_exit(self, action: Exit) -> None:
        self._exit = action

    def _read_spool(self, chunk: SendChunk) -> bytes:
        data = self._spool.read(chunk.attempt, chunk.stream, chunk.offset, chunk.size_bytes)
        if len(data) < chunk.size_bytes:  # the disk fails: nobody must wait for what cannot come
            self._inbox.post(SpoolDropped(at=monotonic(), attempt=chunk.attempt))
        return data


def _wishes_of(courier: CourierLink) -> tuple[Wanted, ...]:
    """Return what to wait for of a courier, if there is one."""
    if courier.fileno() < 0:
        return ()
    return ((courier.fileno(), zmq.POLLIN | zmq.POLLOUT if courier.wants_write else zmq.POLLIN),)
