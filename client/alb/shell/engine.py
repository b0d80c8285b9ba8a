"""The client's one thread: it owns the core and the sockets, and runs what the core decides.

User threads only append events and ring. Whatever concerns them goes to a `Receiver`, on this thread.
A process that forks must make its clients after the fork: neither threads nor sockets survive it.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, get_args

import zmq

from alb.core import actions, events, notices
from alb.core.events import ClientEvent
from alb.core.session import ClientCore
from alb.shell.glance import look
from alb.shell.links import Decode, Link, decode_output, decode_requests
from alb_core.codec import encode_frames
from alb_core.config import ClientConfig
from alb_core.errors import RemoteProtocolError
from alb_core.io.clock import host_name, monotonic, new_id, random_seed
from alb_core.io.sockets import Dealer, Doorbell, LinkChange
from alb_core.messages import Message, Suspect

TICK_S: Final = 0.2
EVENTS_PER_TURN: Final = 500
#: Of users, before the links get their turn.
SUSPECT_LINK_S: Final = 2.0
#: How long the link that carries a Suspect stays: libzmq sends in the background.
CLOSE_S: Final = 2.0


class _Forks:
    """Counts the forks that this process descends from: who asks for its number makes a system call."""

    def __init__(self) -> None:
        self.count = 0
        os.register_at_fork(after_in_child=self._note)

    def _note(self) -> None:
        self.count += 1


_forks: Final = _Forks()


class Receiver(Protocol):
    """Who takes what concerns the user. Called on the engine's thread; must not block."""

    def on_settle(self, action: actions.Settle) -> None:
        """A task has its result."""

    def on_fail(self, action: actions.FailTask) -> None:
        """A task ends without a result."""

    def on_output(self, action: actions.DeliverOutput) -> None:
        """Output arrived."""

    def on_array(self, action: actions.ArrayAction) -> None:
        """Something about an array."""

    def on_answer(self, action: actions.AnswerQuery) -> None:
        """A request was answered."""

    def on_tell(self, notice: notices.AnyNotice) -> None:
        """Something that the person may want to know."""

    def on_end(self, error: BaseException | None) -> None:
        """The engine has stopped; with an error, against its will."""


class Engine:
    """Runs a `ClientCore` in a thread of its own.

    Args:
        config: The client's settings.
        receiver: Takes what concerns the user.
        look_up_s: A visit to ZooKeeper that takes longer has failed; the next one follows soon.
    """

    def __init__(self, config: ClientConfig, receiver: Receiver, look_up_s: float) -> None:
        self._config = config
        self._look_up_s = look_up_s
        self._receiver = receiver
        self._forks = _forks.count
        client = f"{host_name()}:{os.getpid()}"
        self._identity = f"c-{new_id()}".encode()
        self._core = ClientCore(config, client=client, seed=random_seed())
        self._inbox: deque[ClientEvent] = deque()
        self._doorbell = Doorbell()
        self._rung = False
        self._stopping = False
        self._links: dict[int, tuple[Link, Decode]] = {}
        self._passing: list[tuple[float, Dealer, bytes]] = []
        #: Links that carry one Suspect each, and until when they stay.
        self._poller = zmq.Poller()
        self._poller.register(self._doorbell.fileno(), zmq.POLLIN)
        self._carry_out: dict[type, Callable[[Any], None]] = {
            actions.Send: self._send,
            actions.SendGrant: self._send_grant,
            actions.Settle: receiver.on_settle,
            actions.FailTask: receiver.on_fail,
            actions.DeliverOutput: receiver.on_output,
            **dict.fromkeys(get_args(actions.ArrayAction), receiver.on_array),
            actions.AnswerQuery: receiver.on_answer,
            actions.Tell: lambda action: receiver.on_tell(action.notice),
            actions.LookUp: self._look_up,
            actions.Connect: self._connect,
            actions.ConnectOutput: self._connect_output,
            actions.Disconnect: self._disconnect,
            actions.SendSuspect: self._send_suspect,
        }
        self._thread = threading.Thread(target=self._run, name="alb-client", daemon=True)

    # --- any thread ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look for the leader."""
        self._thread.start()

    def post(self, event: ClientEvent) -> None:
        """Give the core an event.

        Raises:
            RuntimeError: This is a child of the process that the engine lives in: nobody would take it.
        """
        if self.forked():
            raise RuntimeError("a Client does not survive a fork: make a new one in the child process")
        self._inbox.append(event)
        # The flag is lowered before the inbox is emptied: an event behind a raised flag is still seen.
        if not self._rung:
            self._rung = True
            self._doorbell.ring()

    def forked(self) -> bool:
        """Tell whether this process is a child of the one that the engine lives in."""
        return _forks.count != self._forks

    def stop(self) -> None:
        """Say goodbye, close everything and wait until that is done. Harmless twice."""
        if self.forked() or not self._thread.is_alive():
            return
        self._stopping = True
        self._doorbell.ring()
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_S)

    # --- the loop -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._loop()
        except BaseException as caught:
            error = caught
            raise
        finally:
            self._close()
            self._receiver.on_end(error)

    def _loop(self) -> None:
        tick_at = monotonic()
        while not self._stopping:
            now = monotonic()
            if now >= tick_at:
                tick_at = now + TICK_S
                self._handle(events.Tick(at=now))
                self._close_passing(now)
                self._flush()
            wait_s = 0.0 if self._inbox else max(tick_at - monotonic(), 0.0)
            self._turn({source for source, _ in self._poller.poll(int(wait_s * 1000) + 1 if wait_s else 0)})

    def _turn(self, ready: set[object]) -> None:
        """Take what the sources that are ready have. To ask the others costs an exception each."""
        if self._doorbell.fileno() in ready:
            self._doorbell.clear()
            self._rung = False
        for _ in range(min(len(self._inbox), EVENTS_PER_TURN)):
            self._handle(self._inbox.popleft())
        for number, (link, decode) in list(self._links.items()):
            if number not in self._links:
                continue  # what a link before it brought has closed it
            changed = link.dealer.monitor in ready
            if not changed and link.dealer.socket not in ready:
                continue
            try:
                link.receive(self._handle, decode, changed=changed)
            except RemoteProtocolError as error:
                self._receiver.on_tell(notices.BrokerRefused(code="protocol", why=str(error)))
        self._flush(patient=True)

    def _flush(self, *, patient: bool = False) -> None:
        for link, _ in self._links.values():
            stuck = bool(link.backlog)
            link.flush(patient=patient)
            if stuck != bool(link.backlog):
                wanted = zmq.POLLIN | (zmq.POLLOUT if link.backlog else 0)
                self._poller.register(link.dealer.socket, wanted)

    def _handle(self, event: ClientEvent) -> None:
        carry_out = self._carry_out
        for action in self._core.handle(event):
            carry_out[type(action)](action)

    # --- actions ------------------------------------------------------------------------------------------

    def _send(self, action: actions.Send) -> None:
        self._queue(action.link, action.message)

    def _send_grant(self, action: actions.SendGrant) -> None:
        self._queue(action.link, action.grant)

    def _queue(self, number: int, message: Message) -> None:
        entry = self._links.get(number)
        if entry is not None:
            entry[0].put(message)

    def _connect(self, action: actions.Connect) -> None:
        self._add(action.link, action.endpoint, decode_requests)

    def _connect_output(self, action: actions.ConnectOutput) -> None:
        self._add(action.link, action.endpoint, decode_output)

    def _add(self, number: int, endpoint: str, decode: Decode) -> None:
        link = Link(number, endpoint, self._identity)
        self._links[number] = (link, decode)
        self._poller.register(link.dealer.socket, zmq.POLLIN)
        self._poller.register(link.dealer.monitor, zmq.POLLIN)

    def _disconnect(self, action: actions.Disconnect) -> None:
        entry = self._links.pop(action.link, None)
        if entry is not None:
            link, _ = entry
            self._poller.unregister(link.dealer.socket)
            self._poller.unregister(link.dealer.monitor)
            link.close()

    def _send_suspect(self, action: actions.SendSuspect) -> None:
        (frame,) = encode_frames([Suspect(epoch=action.epoch, why=action.why)])
        until = monotonic() + SUSPECT_LINK_S
        for endpoint in action.endpoints:
            self._passing.append((until, Dealer(endpoint, f"s-{new_id()}".encode()), frame))

    def _close_passing(self, now: float) -> None:
        """Send each Suspect once its link is open, and close the links whose time is over."""
        for _, dealer, frame in self._passing:
            if LinkChange.CONNECTED in dealer.changes():
                dealer.send(frame)
        for until, dealer, _ in self._passing:
            if now >= until:
                dealer.close()
        self._passing = [passing for passing in self._passing if now < passing[0]]

    def _look_up(self, _action: actions.LookUp) -> None:
        try:
            threading.Thread(target=self._visit, name="alb-look-up", daemon=True).start()
        except RuntimeError:  # the interpreter ends and makes no more threads, but somebody waits for results
            self._visit()

    def _visit(self) -> None:
        """Read ZooKeeper, in a thread of its own: it may take seconds to say no."""
        try:
            leader, brokers = look(self._config.zk_hosts(), self._config.zk_chroot(), self._look_up_s)
        except Exception as error:  # noqa: BLE001 (whatever it is, the core must hear that this visit is over)
            self.post(events.LookUpFailed(at=monotonic(), why=str(error)))
        else:
            self.post(events.LeaderFound(at=monotonic(), leader=leader, brokers=tuple(brokers)))

    def _close(self) -> None:
        self._handle(events.CloseRequested(at=monotonic()))
        for link, _ in self._links.values():
            link.close()
        for _, dealer, _ in self._passing:
            dealer.close()
        self._doorbell.close()
