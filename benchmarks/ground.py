"""Where a benchmark runs: a folder on the checkout's disk, and clusters of real processes in it.

Owns the rules that hold for every benchmark: no memory file system, ZooKeeper that syncs, product defaults.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from alb.local.cluster import STATE_FILE, LocalCluster, Plan
from alb_core.errors import AlbError
from disk import is_in_memory, measure_fsync_ms

CHECKOUT: Final = Path(__file__).resolve().parent.parent
HOME: Final = CHECKOUT / ".bench"
ROLES: Final[tuple[Literal["worker", "broker"], ...]] = ("worker", "broker")
#: What of a cluster is stopped, in this order.


class BenchmarkFailed(AlbError):
    """Raised when a benchmark cannot be trusted: a wrong result, or a place that it must not run at."""


def say(line: str) -> None:
    """Tell the person who waits; stdout is for the figures."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class Ground:
    """A benchmark's folder. What an earlier run left there is ended and removed.

    Args:
        name: Of the benchmark.
    """

    def __init__(self, name: str) -> None:
        self.folder: Final = HOME / name
        self._clusters = 0
        end_leftovers(self.folder)
        self.folder.mkdir(parents=True)
        if is_in_memory(self.folder):
            raise BenchmarkFailed(f"{self.folder} is in memory: ZooKeeper's data must be on a disk")
        self.fsync_ms: Final = measure_fsync_ms(self.folder)

    def remove(self) -> None:
        """Remove the folder: the run was good, nobody needs its logs."""
        shutil.rmtree(self.folder)

    @contextmanager
    def cluster(self, *, workers: int = 2, cpus: float = 2.0, store: str = "") -> Iterator[LocalCluster]:
        """Run a new cluster within the block; its data goes with it.

        Args:
            workers: How many.
            cpus: The slots of each.
            store: URL of its results store; empty: none.
        """
        self._clusters += 1
        environ = {"ALB_STORE": store} if store else {}
        plan = Plan(brokers=3, zookeepers=1, workers=workers, cpus=cpus, environ=environ)
        cluster = LocalCluster(self.folder / f"cluster-{self._clusters}", plan)
        for server in cluster.named("zookeeper"):
            demand_sync(server.command)
        with cluster:
            yield cluster
        shutil.rmtree(cluster.folder)  # not where an error passes through: its logs stay


@contextmanager
def only_zookeeper(cluster: LocalCluster) -> Iterator[None]:
    """End brokers and workers for the block, and start them again after it."""
    for role in ROLES:
        for process in cluster.named(role):
            process.ask_to_stop()
        for process in cluster.named(role):
            process.stop()
    yield
    cluster.start()


@contextmanager
def stopped(cluster: LocalCluster) -> Iterator[None]:
    """Let nothing of a cluster run within the block.

    ZooKeeper is frozen, not ended: nobody has a session that could expire, and its Java machine keeps what it
    compiled. A server that was started a second ago is not what anybody uses.
    """
    with only_zookeeper(cluster):
        for server in cluster.named("zookeeper"):
            server.freeze()
        try:
            yield
        finally:
            for server in cluster.named("zookeeper"):
                server.thaw()


def end_leftovers(folder: Path) -> None:
    """End the clusters of a run that was killed, and remove its folder."""
    if folder.exists():
        for state in folder.glob(f"*/{STATE_FILE}"):
            say(f"ending what an earlier run left in {state.parent}")
            LocalCluster(state.parent).stop()
        shutil.rmtree(folder)


def demand_sync(command: tuple[str, ...]) -> None:
    """Refuse a ZooKeeper server whose writes are not synced to the disk.

    Args:
        command: Starts the server; its last word is the configuration file.

    Raises:
        BenchmarkFailed: ``forceSync`` is switched off (it is on unless somebody says otherwise).
    """
    settings = [*command, *Path(command[-1]).read_text().splitlines()]
    for setting in settings:
        if "forcesync" in setting.lower() and not setting.endswith("=yes"):
            raise BenchmarkFailed(f"ZooKeeper would not sync its writes: {setting}")
