"""A broker's one thread: it polls everything, feeds the core, and carries out what the core wants.

A turn takes a bounded number of frames from each link, hands the messages to the core, tells it that the
turn is over (it places tasks and commits then), and sends what was released. ZooKeeper's callbacks only put
events into an inbox and ring.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any, Final

import zmq

from alb_broker.core import actions, events
from alb_broker.core.actions import Action
from alb_broker.core.broker import Broker
from alb_broker.core.events import BrokerEvent
from alb_broker.policies import Policy
from alb_broker.shell.depot_link import DepotLink
from alb_broker.shell.follower import Follower
from alb_broker.shell.intake import Intake
from alb_broker.shell.keeper import Keeper
from alb_broker.shell.outbox import Outbox, OutputBox
from alb_broker.store.events import StoreEvent
from alb_core import codec, zk
from alb_core.config import BrokerConfig
from alb_core.errors import RemoteProtocolError
from alb_core.io import clock, collector, logs
from alb_core.io.probe import Finding, Probe
from alb_core.io.session import Session
from alb_core.io.sockets import Doorbell, Router
from alb_core.messages import Chunk, Grant
from alb_core.notes import Note
from alb_core.znodes import BrokerNode, MetaNode

TICK_S: Final = 0.2
FRAMES_A_TURN: Final = 64
#: Taken from each output link before others get their turn.
MESSAGES_A_TURN: Final = 200
#: Handled from each requests link before the core places and commits.
LISTEN_EVERY: Final = 16
#: Messages, between two looks at what ZooKeeper has answered.
PROBE_WITHIN_S: Final = 1.0
SWITCH_INTERVAL_S: Final = 0.0005
#: kazoo's threads hand over answers that the loop waits for: they must not wait 5 ms for the interpreter.


class Links(Mapping[str, Router]):
    """The four sockets that a broker listens on."""

    def __init__(self, config: BrokerConfig) -> None:
        names = ("clients", "client_output", "workers", "worker_output")
        self._routers: Final = {
            name: Router(config.bind, port, advertise=config.advertise)
            for name, port in zip(names, config.ports, strict=True)
        }

    def __getitem__(self, name: str) -> Router:
        return self._routers[name]

    def __iter__(self) -> Any:
        return iter(self._routers)

    def __len__(self) -> int:
        return len(self._routers)

    def close(self) -> None:
        """Close all."""
        for router in self._routers.values():
            router.close()


class BrokerProcess:
    """Runs one broker until it exits.

    Args:
        config: Its settings.
        node: How it stands in ZooKeeper; names the links' endpoints.
        meta: The table that it serves.
        links: Its sockets.
        depot: Its depot.
        policies: The installed policies.
        spent: Tells how often each was asked, and how many seconds that took.
        log: Where notes go.
    """

    def __init__(  # noqa: PLR0913, PLR0917 (it is the place where the parts come together)
        self,
        config: BrokerConfig,
        node: BrokerNode,
        meta: MetaNode,
        links: Links,
        depot: DepotLink,
        policies: Mapping[str, Policy],
        spent: Callable[[], Mapping[str, tuple[int, float]]],
        log: logs.Logger,
    ) -> None:
        self.core: Final = Broker(config, node, policies)
        self._config: Final = config
        self._links: Final = links
        self._depot: Final = depot
        self._spent: Final = spent
        self._log: Final = log
        self._scribe: Final = logs.NoteWriter(log)
        self._bell: Final = Doorbell()
        self._inbox: Final[deque[BrokerEvent]] = deque()
        self._asleep = False  #: This thread waits, or is about to, and has not been rung for.
        self._session: Final = Session(
            config.zk_hosts(), config.zk_chroot(), config.session_timeout_s, self._post
        )
        self._poller: Final = zmq.Poller()
        self._follower: Final = Follower(node.broker, node.incarnation, self._poller)
        self._probes: Final[dict[int, Probe]] = {}
        self._clients: Final = Outbox(links["clients"], meta.table)
        self._workers: Final = Outbox(links["workers"], meta.table)
        self._grants: Final = OutputBox(links["worker_output"])
        self._chunks: Final = OutputBox(links["client_output"])
        self._reports: Final = Intake(
            links["workers"], codec.decode_from_worker, events.WorkerSaid, events.WorkerGarbled
        )
        self._wishes: Final = Intake(
            links["clients"], codec.decode_from_client, events.ClientSaid, events.ClientGarbled
        )
        self._keeper: Final = Keeper(config.store, meta.table, self._post)
        self._exit: actions.Exit | None = None
        self._collector: Final = collector.Loads()
        self._notes: list[Note] = []  #: Of this turn; written at its end, for nobody waits for a line.
        self._ticked_at = float("-inf")
        self._clients_polled: int = zmq.POLLIN
        self._depot_polled = False
        self._carriers: Final[dict[type[Action], Callable[[Any], None]]] = {
            actions.SendToClient: lambda a: self._clients.put(a.peer, a.epoch, a.message),
            actions.SendToWorker: lambda a: self._workers.put(a.peer, a.epoch, a.message),
            actions.SendGrant: lambda a: self._grants.put(a.peer, a.grant),
            actions.SendChunk: lambda a: self._chunks.put(a.peer, a.chunk),
            actions.FollowLeader: lambda a: self._follower.follow(a.endpoint),
            actions.Probe: self._probe,
            actions.WriteDump: self._write_dump,
            actions.BeginStore: self._keeper.begin,
            actions.StoreRows: self._keeper.keep,
            actions.ScanStore: self._keeper.scan,
            actions.ClearStore: self._keeper.clear,
            actions.MeasureStore: self._keeper.measure,
            actions.GetRows: self._keeper.get,
            actions.TellDepots: depot.tell,
            actions.Exit: self._on_exit,
            Note: self._notes.append,
            zk.Multi: self._session.request,
            zk.ReadNodes: self._session.request,
            zk.ListChildren: self._session.request,
        }

    def _post(self, event: zk.SessionEvent | StoreEvent | events.StopRequested) -> None:
        """Take an event from one of the session's threads, or the store's."""
        self._inbox.append(event)
        # Who is awake looks into the inbox before it sleeps again. To ring hands the interpreter over, and
        # while this thread has something to do that costs both threads more than the event.
        if self._asleep:
            self._asleep = False
            self._bell.ring()

    def stop(self) -> None:
        """Ask the broker to hand over and end; for signal handlers."""
        self._post(events.StopRequested(at=clock.monotonic()))

    def run(self) -> int:
        """Serve until the core wants to exit; returns the process's exit status."""
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        collector.serve()
        for router in self._links.values():
            self._poller.register(router.socket, zmq.POLLIN)
        self._poller.register(self._bell.fileno(), zmq.POLLIN)
        self._session.start()
        try:
            while self._exit is None:
                self._turn()
        except Exception:  # noqa: BLE001 (the one place: it logs, leaves evidence, and ends the process)
            self._write_notes()
            self._log.exception("broker_broken", epoch=self.core.epoch)
            self._dump_after_defect()
            return 1
        finally:
            self._close()
        self._log.info("broker_exits", why=self._exit.why)
        return self._exit.code

    def _turn(self) -> None:
        ready = self._wait()
        at = clock.monotonic()
        if self._bell.fileno() in ready:
            self._bell.clear()
        self._take_inbox()
        if self.core.batch_waits:
            self._feed(events.TurnEnded(at=at))
        self._workers.flush()  # what a commit released: they begin while the leader takes more messages
        self._clients.flush()
        if self._depot_polled and self._depot.fileno() in ready:
            self._poll_depot(wanted=False)  # the next tick looks whether it could be started
            self._depot.on_connection()
        if self._probes:
            self._take_probes(at)
        for event in self._follower.receive(at):
            self._feed(event)
        self._take_frames(ready, at)
        ticked = at - self._ticked_at >= TICK_S
        if ticked:
            self._ticked_at = at
            self._depot.tick()
            self._poll_depot(wanted=self._depot.waits)
            self._feed(events.PoliciesTimed(at=at, spent=self._spent()))
            self._feed(events.Tick(at=at))
        self._feed(events.TurnEnded(at=clock.monotonic(), more=self._reports.waiting or self._wishes.waiting))
        self._workers.flush(patient=not ticked)
        for box in (self._clients, self._grants, self._chunks):
            box.flush()
        self._write_notes()
        reigns = self.core.reign is not None or self._exit is not None  # who exits has nothing to tidy up
        self._collector.follow(loads=self.core.loading, keeps=reigns)

    def _write_notes(self) -> None:
        for note in self._notes:
            self._scribe.write(note)
        self._notes.clear()
        logs.flush()

    def _wait(self) -> Container[Any]:
        """Sleep until something happens, or the next tick is due; returns what is ready.

        A core that has enough to write leaves submissions in the socket, which must not keep waking it then.
        """
        wanted = zmq.POLLIN if not self.core.backlogged else 0
        if wanted != self._clients_polled:
            self._clients_polled = wanted
            self._poller.modify(self._links["clients"].socket, wanted)
        if self._reports.waiting or (wanted and self._wishes.waiting):
            self._session.hear()
            return dict(self._poller.poll(0))
        now = clock.monotonic()
        until_tick = max(0.0, self._ticked_at + TICK_S - now)
        # Who leads waits for ZooKeeper, most often: a thread between the two costs more than the answer.
        lent = self._session.lend(now) if self.core.epoch and not self.core.loading else -1
        if lent >= 0:
            self._poller.register(lent, zmq.POLLIN)
        self._asleep = True  # from here on who posts rings; what was posted before is seen now
        patience_s = 0.0 if self._inbox else min(TICK_S, until_tick)
        ready = dict(self._poller.poll(math.ceil(patience_s * 1000)))
        self._asleep = False
        if lent >= 0:
            self._poller.unregister(lent)  # for the next time its number may be somebody else's
            if lent in ready:
                self._session.hear()
        return ready

    def _poll_depot(self, *, wanted: bool) -> None:
        """Wait for connections to a depot that is not there, or leave them to the one that is."""
        if wanted is not self._depot_polled:
            self._depot_polled = wanted
            if wanted:
                self._poller.register(self._depot.fileno(), zmq.POLLIN)
            else:
                self._poller.unregister(self._depot.fileno())

    def _feed(self, event: BrokerEvent) -> None:
        carriers = self._carriers
        for action in self.core.handle(event):
            carriers[type(action)](action)

    # --- taking in ------------------------------------------------------------------------------------------

    def _take_inbox(self) -> None:
        for _ in range(len(self._inbox)):
            event = self._inbox.popleft()
            self._note_session(event)
            self._feed(event)

    def _note_session(self, event: BrokerEvent) -> None:
        match event:
            case zk.SessionConnected(session=session, timeout_s=granted):
                self._log.info(
                    "session_connected",
                    session=hex(session),
                    timeout_s=granted,
                    asked_s=self._config.session_timeout_s,
                )
            case zk.SessionSuspended():
                self._log.warning("session_suspended")
            case zk.SessionExpired():
                self._log.warning("session_expired")

    def _take_frames(self, ready: Container[Any], at: float) -> None:
        """Take what arrived, results before submissions; asking a socket that has nothing costs as much."""
        links = self._links
        if links["workers"].socket in ready or self._reports.waiting:
            self._take_messages(self._reports, at)
        if (links["clients"].socket in ready or self._wishes.waiting) and not self.core.backlogged:
            self._take_messages(self._wishes, at)
        if links["client_output"].socket in ready or links["worker_output"].socket in ready:
            self._take_output(at)

    def _take_messages(self, intake: Intake, at: float) -> None:
        """Hand on what arrived, a turn's worth; when ZooKeeper answers, its next batch comes first."""
        for number, event in enumerate(intake.arrived(at), start=1):
            self._feed(event)
            if not number % LISTEN_EVERY:
                self._session.hear()
            if self._inbox or number == MESSAGES_A_TURN:
                return

    def _take_output(self, at: float) -> None:
        for peer, frame in self._links["client_output"].receive(FRAMES_A_TURN):
            for message in self._output(frame):
                if isinstance(message, Grant):
                    self._feed(events.ClientGranted(at=at, peer=peer, grant=message))
        for peer, frame in self._links["worker_output"].receive(FRAMES_A_TURN):
            for message in self._output(frame):
                if isinstance(message, Chunk):
                    self._feed(events.ChunkArrived(at=at, peer=peer, chunk=message))

    def _output(self, frame: bytes) -> list[Any]:
        try:
            return list(codec.decode_output(frame))
        except RemoteProtocolError as error:
            self._log.warning("message_dropped", trigger="garbled_output", why=str(error))
            return []

    # --- carrying out ---------------------------------------------------------------------------------------

    def _probe(self, action: actions.Probe) -> None:
        probe = Probe(action.endpoint, PROBE_WITHIN_S)
        self._probes[action.token] = probe
        if probe.finding() is None:
            self._poller.register(probe.fileno(), zmq.POLLOUT)
        self._bell.ring()

    def _take_probes(self, at: float) -> None:
        for token, probe in list(self._probes.items()):
            finding = probe.finding()
            if finding is None:
                continue
            del self._probes[token]
            if probe.fileno() in self._poller:
                self._poller.unregister(probe.fileno())
            probe.close()
            verdict = _VERDICTS[finding]
            self._log.info("leader_probed", verdict=verdict.value)
            self._feed(events.ProbeEnded(at=at, token=token, verdict=verdict))

    def _write_dump(self, action: actions.WriteDump) -> None:
        name = f"alb-dump-{self.core.node.broker}-{clock.new_id()}.json"
        path = Path(self._config.dump_dir) / name
        try:
            with path.open("xb") as file:
                path.chmod(0o600)
                file.write(action.data)
        except OSError as error:
            self._log.error("dump_failed", path=str(path), error=str(error))
            return
        self._log.info("dump_written", path=str(path), why=action.why)

    def _dump_after_defect(self) -> None:
        """The core broke in the middle of an event: its state is evidence, not something to go on with."""
        reign = self.core.reign
        if reign is not None:
            self._write_dump(actions.WriteDump(reign.dump("defect"), "defect"))

    def _on_exit(self, action: actions.Exit) -> None:
        self._exit = action

    def _close(self) -> None:
        for probe in self._probes.values():
            probe.close()
        self._follower.follow("")
        self._session.stop()
        self._keeper.close()
        self._depot.close()
        self._links.close()
        self._bell.close()


_VERDICTS: Final = {
    Finding.REFUSED: events.ProbeVerdict.REFUSED,
    Finding.OPEN: events.ProbeVerdict.OPEN,
    Finding.SILENT: events.ProbeVerdict.SILENT,
}
