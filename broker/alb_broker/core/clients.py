"""The clients that a leader hears, what they watch, and which results they have not acknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from alb_broker.core.array import Array, Follower
from alb_broker.core.task import ENDS, Task, Watcher, Watchers

SILENT_S: Final = 30.0
#: A client that says nothing so long is forgotten; it says Hello again when it returns.


class Client:
    """One client on the requests link."""

    __slots__ = ("alone", "follower", "following", "heard", "peer", "unacknowledged", "user", "watching")

    def __init__(self, peer: bytes, user: str, at: float, *, follower: str = "") -> None:
        self.peer: Final = peer
        self.user = user
        self.heard = at
        self.follower: Final = follower  #: Name of the standby that follows on this link; empty: a client.
        self.alone: Final[Watchers] = {peer: ENDS}  #: Of a task of whose end it hears, and nobody else does.
        self.watching: dict[str, Task] = {}
        self.following: dict[str, Array] = {}  #: Arrays of which it hears.
        self.unacknowledged: dict[str, float] = {}  #: Result sent at (own clock), oldest first.


class Clients:
    """All clients, by their address."""

    def __init__(self) -> None:
        self.by_peer: dict[bytes, Client] = {}

    def __iter__(self) -> Iterator[Client]:
        return iter(self.by_peer.values())

    def get(self, peer: bytes) -> Client | None:
        """Return the client at an address, if it said Hello."""
        return self.by_peer.get(peer)

    def add(self, client: Client) -> None:
        """Know a client; what it watched on an earlier link stays with it."""
        known = self.by_peer.get(client.peer)
        if known is None:
            self.by_peer[client.peer] = client
        else:
            known.user, known.heard = client.user, client.heard

    def watch(self, client: Client, task: Task, watcher: Watcher) -> None:
        """Tell the client of this task from now on."""
        client.watching[task.id] = task
        task.watch(client.alone if watcher == ENDS else {client.peer: watcher})

    def follow(self, client: Client, array: Array, *, results: bool) -> None:
        """Tell the client of this array from now on.

        Args:
            client: The client.
            array: The array.
            results: And of each of its tasks that ends.
        """
        client.following[array.id] = array
        known = array.followers.get(client.peer)
        if known is None:
            array.followers[client.peer] = Follower(results=results)
        else:
            known.results = known.results or results

    def remove(self, peer: bytes) -> Client | None:
        """Forget a client, what it watched and what it followed; returns it."""
        client = self.by_peer.pop(peer, None)
        if client is None:
            return None
        for task in client.watching.values():
            task.unwatch(peer)
        for array in client.following.values():
            array.followers.pop(peer, None)
        return client

    def silent(self, at: float) -> list[bytes]:
        """Return the clients that have not been heard for too long."""
        return [client.peer for client in self.by_peer.values() if at - client.heard > SILENT_S]
