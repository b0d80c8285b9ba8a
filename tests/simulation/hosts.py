"""A host: one process of alb on its machine, with a clock of its own. It can die, freeze, and start again.

A frozen process (SIGSTOP) does nothing; what comes meanwhile waits and is handed over in a burst when it goes
on. A process whose loop alone is frozen still accepts links and keeps its ZooKeeper session alive.
"""

from __future__ import annotations

import enum
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.sessions import SessionModel

Make = Callable[..., Any]
#: Makes an event from the moment, on the host's clock, at which it is handled.


class Source(enum.IntEnum):
    """Where an event comes from; what comes from one source keeps its order."""

    ZOOKEEPER = 0
    CLIENTS = 1
    WORKERS = 2
    CLOCK = 3
    SELF = 4


class Host:
    """The base of brokers, workers and clients.

    Args:
        cluster: Where it lives.
        name: Of the machine and of what runs on it.
        tick_s: Between two ticks of the clock.
    """

    def __init__(self, cluster: Cluster, name: str, tick_s: float) -> None:
        self.cluster = cluster
        self.name = name
        self.draws = random.Random(f"{cluster.seed}/{name}")
        self.life = 0  #: Rises with every start of the process.
        self.incarnation = f"{name}-0"  #: The random id of this life.
        self.alive = False
        self.stopped = False  #: The whole process is frozen.
        self.stalled = False  #: Its loop is.
        self._tick_s = tick_s
        self._zero = self.draws.uniform(0.0, 1e5)  #: The clock's value at the beginning of time.
        self._rate = self.draws.choice((1.0, 1.0, 0.9995, 1.0005))
        self.session: SessionModel | None = None  #: Its way to ZooKeeper, if it keeps one.
        self._backlog: deque[tuple[Source, Make]] = deque()

    def clock(self) -> float:
        """Return the host's monotonic seconds: they go on while it is frozen."""
        return self._zero + self.cluster.timeline.now * self._rate

    @property
    def working(self) -> bool:
        """Whether its loop runs."""
        return self.alive and not self.stopped and not self.stalled

    # --- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin a new life."""
        if self.alive:
            return
        self.life += 1
        self.incarnation = f"{self.name}-{self.life}"
        self.alive = True
        self.stopped = self.stalled = False
        self._backlog.clear()
        self.begin()
        self.cluster.timeline.after(self.draws.uniform(0.0, self._tick_s), self._tick, self.life)

    def kill(self) -> None:
        """End the process at once (SIGKILL)."""
        if not self.alive:
            return
        self.alive = False
        self.stopped = self.stalled = False
        self._backlog.clear()
        self.end()
        self.cluster.network.on_death(self)

    def freeze(self, *, loop_only: bool = False) -> None:
        """Stop the process (SIGSTOP), or its loop alone."""
        if loop_only:
            self.stalled = True
        else:
            self.stopped = True
            self.cluster.network.on_freeze(self)

    def thaw(self) -> None:
        """Let it go on; what waited comes in a burst."""
        if not self.alive:
            return
        self.stopped = self.stalled = False
        backlog, self._backlog = self._backlog, deque()
        for source, make in backlog:
            self.post(source, make)

    def begin(self) -> None:
        """Make what a life needs."""
        raise NotImplementedError

    def end(self) -> None:
        """Take leave of what the network does not notice by itself."""
        raise NotImplementedError

    # --- events ---------------------------------------------------------------------------------------------

    def receive(self, socket: str, peer: bytes, message: Any) -> None:
        """Take a message of a peer from one of its ROUTER sockets."""
        raise NotImplementedError

    def post(self, source: Source, make: Make) -> None:
        """Hand an event to the process: now, or when its loop goes on."""
        if not self.alive:
            return
        if self.stopped or self.stalled:
            self._backlog.append((source, make))
        else:
            self.take(source, make)

    def take(self, source: Source, make: Make) -> None:
        """Handle an event; `make` takes `at`."""
        raise NotImplementedError

    def tick(self) -> None:
        """The clock ticked."""
        raise NotImplementedError

    def _tick(self, life: int) -> None:
        if life != self.life or not self.alive:
            return
        self.cluster.timeline.after(self._tick_s, self._tick, life)
        if self.working:
            self.tick()


class Mistaken(Host):
    """A process that bears another one's name. Its supervisor starts it again until somebody sees that."""

    _mistaken = False

    def begin_mistake(self) -> None:
        """Let it live, and come back as often as it gives way."""
        self._mistaken = True
        self.start()

    def end_mistake(self) -> None:
        """Somebody saw it."""
        self._mistaken = False
        self.kill()

    def start(self) -> None:
        """Begin a new life, as long as nobody saw the mistake."""
        if self._mistaken:
            super().start()
