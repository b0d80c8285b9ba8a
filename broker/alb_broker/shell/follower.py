"""A standby's link to the leader: it says Follow and hears heartbeats."""

from __future__ import annotations

from typing import Final

import zmq

from alb_broker.core.events import BrokerEvent, LeaderLinkClosed, LeaderSaid
from alb_core import codec, limits
from alb_core.errors import RemoteProtocolError
from alb_core.io.sockets import Dealer, LinkChange
from alb_core.messages import Follow

FRAMES_MAX: Final = 16
SAY_AGAIN_S: Final = limits.HEARTBEAT_S


class Follower:
    """Follows at most one leader.

    Args:
        broker: This broker's name.
        incarnation: Its life.
        poller: The loop's; the link's sockets are registered there.
    """

    def __init__(self, broker: str, incarnation: str, poller: zmq.Poller) -> None:
        self._follow: Final = Follow(broker=broker, incarnation=incarnation)
        self._identity: Final = f"{broker}/{incarnation}".encode()
        self._poller: Final = poller
        self._link: Dealer | None = None
        self._said_at = float("-inf")

    def follow(self, endpoint: str) -> None:
        """Follow the leader at this endpoint from now on; empty: nobody."""
        if self._link is not None:
            self._poller.unregister(self._link.socket)
            self._poller.unregister(self._link.monitor)
            self._link.close()
            self._link = None
        if endpoint:
            self._link = Dealer(endpoint, self._identity)
            self._poller.register(self._link.socket, zmq.POLLIN)
            self._poller.register(self._link.monitor, zmq.POLLIN)
            self._said_at = float("-inf")

    def receive(self, at: float) -> list[BrokerEvent]:
        """Take what the link brought."""
        link = self._link
        if link is None:
            return []
        received: list[BrokerEvent] = []
        for change in link.changes():
            if change is LinkChange.CONNECTED:
                self._said_at = float("-inf")
            else:
                received.append(LeaderLinkClosed(at=at))
        for frame in link.receive(FRAMES_MAX):
            try:
                envelope = codec.decode_to_client(frame)
            except RemoteProtocolError:
                continue  # whoever speaks so is no leader of ours
            received += [
                LeaderSaid(at=at, epoch=envelope.epoch, message=message) for message in envelope.messages
            ]
        if at - self._said_at >= SAY_AGAIN_S:
            self._said_at = at
            for frame in codec.encode_frames([self._follow]):
                link.send(frame)
        return received
