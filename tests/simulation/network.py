"""The network between hosts, as ZeroMQ and TCP make it: ordered links that break, stall, and forget.

A `Link` is one DEALER socket and what it meets at the other end: a ROUTER socket, which knows its peers by
their addresses. Messages of one direction keep their order. A blocked path holds what is under way (TCP sends
it again) until it opens, or until the link breaks: then everything under way is gone, and nobody is told what
that was. A link whose far end died notices only if the news can reach it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from tests.simulation.timeline import Timeline

if TYPE_CHECKING:
    import random

    from tests.simulation.hosts import Host
    from tests.simulation.knobs import Knobs

UP: Final = 0  #: From the DEALER to the ROUTER.
DOWN: Final = 1
STRAY_S: Final = 15.0


class LinkOwner(Protocol):
    """What hears of a link at its DEALER end."""

    def on_opened(self, link: Link) -> None:
        """The link is connected, for the first time or again."""

    def on_closed(self, link: Link, *, refused: bool) -> None:
        """The link broke, or nobody listens there; it goes on trying."""

    def on_message(self, link: Link, message: Any) -> None:
        """A message came."""


class Link:
    """One DEALER socket, linked to one endpoint until it is closed."""

    __slots__ = (
        "broken",
        "closed",
        "endpoint",
        "handler",
        "held",
        "last",
        "number",
        "open",
        "owner",
        "peer",
        "server",
        "server_life",
        "socket",
    )

    def __init__(self, owner: Host, handler: LinkOwner, endpoint: str, peer: bytes, number: int) -> None:
        self.owner = owner
        self.handler = handler
        self.endpoint = endpoint
        self.peer = peer
        self.number = number  #: Of the owner's choice.
        self.open = False
        self.closed = False
        self.broken = 0  #: Times that the connection ended: what was under way before is gone.
        self.server: Host | None = None
        self.server_life = 0
        self.socket = ""
        self.last = [0.0, 0.0]  #: When the last message of each direction arrives.
        self.held: tuple[deque[Any], deque[Any]] = (deque(), deque())  #: Stalled by a blocked path.


class Network:
    """All paths and links.

    Args:
        timeline: Virtual time.
        draws: Every chance of this network.
        knobs: Latencies and patience.
    """

    def __init__(self, timeline: Timeline, draws: random.Random, knobs: Knobs) -> None:
        self._timeline = timeline
        self._draws = draws
        self._knobs = knobs
        self._blocked: Counter[tuple[str, str]] = Counter()
        self._listeners: dict[str, tuple[Host, str]] = {}
        self._routes: dict[tuple[str, str], dict[bytes, Link]] = {}
        self._links: list[Link] = []
        self.loss = 0.0  #: Probability that a message vanishes.
        self.doubling = 0.0  #: Probability that a message comes twice.
        self.straying = (
            0.0  #: Probability that a broker's message comes once more, much later and by another way.
        )
        self.muted: frozenset[type] = frozenset()  #: Messages of these kinds vanish.
        self.is_stale: Callable[[Any], bool] = lambda _: False  #: Tells frames of former leaders.
        self.counts: Counter[str] = Counter()  #: Messages carried, lost, doubled.

    # --- paths ----------------------------------------------------------------------------------------------

    def passes(self, source: str, target: str) -> bool:
        """Tell whether packets get from one host to another."""
        return not self._blocked[source, target]

    def block(self, source: str, target: str) -> None:
        """Let no packet through in this direction, until as many calls of `unblock` came."""
        self._blocked[source, target] += 1
        for link in self._between(source, target):
            soon = self._draws.random() < self._knobs.break_chance
            patience_s = self._draws.uniform(0.5, 6.0) if soon else self._draws.uniform(6.0, 8.0)
            self._timeline.after(patience_s, self._give_up, link, link.broken)

    def unblock(self, source: str, target: str) -> None:
        """Take one block away."""
        self._blocked[source, target] -= 1
        if self.passes(source, target):
            for link in self._between(source, target):
                self._flush(link)

    def unblock_all(self, source: str, target: str) -> None:
        """Take every block of a direction away."""
        while not self.passes(source, target):
            self.unblock(source, target)

    def latency(self) -> float:
        """Draw how long a packet takes."""
        knobs = self._knobs
        if self._draws.random() < knobs.slow_chance:
            return self._draws.uniform(knobs.latency_s, knobs.latency_slow_s)
        return self._draws.uniform(0.1, 1.0) * knobs.latency_s

    def _between(self, source: str, target: str) -> list[Link]:
        return [
            link
            for link in self._links
            if link.open
            and link.server is not None
            and {link.owner.name, link.server.name} == {source, target}
        ]

    # --- servers --------------------------------------------------------------------------------------------

    def listen(self, host: Host, endpoint: str, socket: str) -> None:
        """Accept links at an endpoint."""
        self._listeners[endpoint] = (host, socket)
        self._routes[host.name, socket] = {}

    def send_to_peer(self, host: Host, socket: str, peer: bytes, message: Any) -> None:
        """Send from a ROUTER; a peer that is not linked gets nothing, and nobody is told."""
        link = self._routes.get((host.name, socket), {}).get(peer)
        if link is not None:
            self._transmit(link, DOWN, message)

    def on_death(self, host: Host) -> None:
        """The process of a host ended: its sockets are closed by its machine."""
        for endpoint in [end for end, (owner, _) in self._listeners.items() if owner is host]:
            del self._listeners[endpoint]
        for link in list(self._links):
            if link.owner is host:
                self.close(link)
            elif link.server is host:
                self._timeline.after(self.latency(), self._hear_of_death, link, link.broken)

    def on_freeze(self, host: Host) -> None:
        """A process stopped: its peers' heartbeats go unanswered."""
        for link in self._links:
            if link.open and host in (link.owner, link.server):
                self._timeline.after(self._draws.uniform(6.0, 8.0), self._give_up, link, link.broken)

    def probe(self, source: Host, endpoint: str) -> str:
        """Tell what a plain TCP connection meets: ``open``, ``refused`` or ``silent``."""
        target = endpoint_host(endpoint)
        if not (self.passes(source.name, target) and self.passes(target, source.name)):
            return "silent"
        return "open" if endpoint in self._listeners else "refused"

    # --- links ----------------------------------------------------------------------------------------------

    def connect(self, owner: Host, handler: LinkOwner, endpoint: str, peer: bytes, number: int = 0) -> Link:
        """Make a link; its handler hears when it is open."""
        link = Link(owner, handler, endpoint, peer, number)
        self._links.append(link)
        self._timeline.after(self.latency(), self._try, link, link.broken)
        return link

    def close(self, link: Link) -> None:
        """Close a link from the DEALER's end; what it sent before still arrives."""
        if link.closed:
            return
        link.closed = True
        self._links.remove(link)
        self._timeline.after(self.latency(), self._forget_route, link, link.server)

    def send(self, link: Link, message: Any) -> None:
        """Send from a DEALER; while the link is not open the message is gone."""
        if link.open and not link.closed:
            self._transmit(link, UP, message)

    def break_link(self, link: Link) -> None:
        """End the connection under a link, and all that is under way on it; it connects again by itself."""
        if link.closed or not link.open:
            return
        self._forget_route(link, link.server)
        link.open = False
        link.broken += 1
        for held in link.held:
            held.clear()
        link.handler.on_closed(link, refused=False)
        self._retry(link)

    def send_once(self, source: Host, endpoint: str, peer: bytes, message: Any) -> None:
        """Send one message over a link that is closed at once after it."""
        self._timeline.after(3 * self.latency(), self._arrive_once, source, endpoint, peer, message)

    def _arrive_once(self, source: Host, endpoint: str, peer: bytes, message: Any) -> None:
        if self.probe(source, endpoint) == "open":
            server, socket = self._listeners[endpoint]
            server.receive(socket, peer, message)

    def open_links(self) -> list[Link]:
        """Return the links that are open."""
        return [link for link in self._links if link.open]

    def _try(self, link: Link, broken: int) -> None:
        if link.closed or link.open or link.broken != broken:
            return
        verdict = self.probe(link.owner, link.endpoint)
        if verdict == "refused":
            link.handler.on_closed(link, refused=True)
        elif verdict == "open":
            server, socket = self._listeners[link.endpoint]
            if not server.stopped:
                self._open(link, server, socket)
                return
        self._retry(link)

    def _retry(self, link: Link) -> None:
        self._timeline.after(self._draws.uniform(0.05, 0.3), self._try, link, link.broken)

    def _open(self, link: Link, server: Host, socket: str) -> None:
        link.open = True
        link.server, link.server_life, link.socket = server, server.life, socket
        link.last = [self._timeline.now, self._timeline.now]
        self._routes[server.name, socket][link.peer] = link
        link.handler.on_opened(link)

    def _forget_route(self, link: Link, server: Host | None) -> None:
        if server is not None:
            routes = self._routes.get((server.name, link.socket), {})
            if routes.get(link.peer) is link:
                del routes[link.peer]

    def _give_up(self, link: Link, broken: int) -> None:
        """A side that hears nothing for long ends the connection."""
        server = link.server
        if link.broken != broken or link.closed or server is None:
            return
        here, there = link.owner.name, server.name
        frozen = link.owner.stopped or server.stopped
        if frozen or not (self.passes(here, there) and self.passes(there, here)):
            self.break_link(link)

    def _hear_of_death(self, link: Link, broken: int) -> None:
        server = link.server
        if link.broken == broken and server is not None and self.passes(server.name, link.owner.name):
            self.break_link(link)

    # --- messages -------------------------------------------------------------------------------------------

    def _transmit(self, link: Link, direction: int, message: Any) -> None:
        self.counts["carried"] += 1
        if self.loss and self._draws.random() < self.loss:
            self.counts["lost"] += 1
            return
        if self.muted and type(message[2] if isinstance(message, tuple) else message) in self.muted:
            return
        arrival = max(self._timeline.now + self.latency(), link.last[direction])
        link.last[direction] = arrival
        self._timeline.at(arrival, self._arrive, link, link.broken, direction, message)
        if self.doubling and self._draws.random() < self.doubling:
            self.counts["doubled"] += 1
            latest = self._timeline.now + self._knobs.latency_slow_s + self._knobs.double_delay_s
            late = arrival + self._draws.uniform(0.0, self._knobs.double_delay_s)
            late = link.last[direction] = max(arrival, min(late, latest))  # a link does not lag more and more
            self._timeline.at(late, self._arrive, link, link.broken, direction, message)

        if direction is DOWN and self.straying and self._draws.random() < self.straying:
            delay_s = self._draws.uniform(1.0, STRAY_S)
            self._timeline.after(delay_s, self._stray, link.owner, link.owner.life, link.socket, message)

    def _stray(self, owner: Host, life: int, socket: str, message: Any) -> None:
        """Deliver a frame from the past over the peer's present link, where it comes from a former leader."""
        if owner.life != life or not self.is_stale(message):
            return
        for link in self._links:
            if link.owner is owner and link.open and link.socket == socket:
                self.counts["strayed"] += 1
                link.handler.on_message(link, message)
                return

    def _arrive(self, link: Link, broken: int, direction: int, message: Any) -> None:
        server = link.server
        if link.broken != broken or server is None or (link.closed and direction is DOWN):
            return
        source, target = link.owner.name, server.name
        if direction is DOWN:
            source, target = target, source
        if link.held[direction] or not self.passes(source, target):
            if not link.closed:
                link.held[direction].append(message)
            return
        self._deliver(link, direction, message, server)

    def _deliver(self, link: Link, direction: int, message: Any, server: Host) -> None:
        if direction is DOWN:
            link.handler.on_message(link, message)
        elif server.alive and server.life == link.server_life:
            server.receive(link.socket, link.peer, message)
        else:
            self._hear_of_death(link, link.broken)

    def _flush(self, link: Link) -> None:
        for direction in (UP, DOWN):
            broken, held = link.broken, link.held[direction]
            waiting = list(held)
            held.clear()
            for message in waiting:
                if link.broken == broken:
                    self._arrive(link, broken, direction, message)


def endpoint_host(endpoint: str) -> str:
    """Return the host in an endpoint."""
    return endpoint.removeprefix("tcp://").partition(":")[0]
