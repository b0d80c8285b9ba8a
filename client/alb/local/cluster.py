"""A cluster of real processes on this machine: for ``alb up``, the demo, the benchmarks and the tests.

Owns which processes there are, their folder and its state file. What runs is told by pid and start time in
the state file, so another command may look after, or end, what this one started.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

from alb.local.daemons import Daemon, DaemonFailed, Life, wait_until
from alb.local.zookeeper import Ensemble, is_serving
from alb_core.config import Config
from alb_core.errors import AlbError, ZooKeeperUnreachable
from alb_core.io.zookeeper import read_cluster
from alb_core.znodes import BrokerNode, LeaderNode, WorkerNode

START_S = 60.0
#: From the first process to a leader and registered workers; a busy machine takes most of it to start Python.
STATE_FILE = "cluster.json"
STORE_KEEP_S = "2592000"
STORE_BYTES = str(2 * 1024**3)
#: 30 days or 2 GiB of history: a cluster for trying things out must not fill a home directory.

Say = Callable[[str], None]
Role = Literal["zookeeper", "broker", "worker"]


class LocalClusterError(AlbError):
    """Raised when a local cluster cannot be started or does not come to life; the text says what to do."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a new local cluster consists of."""

    brokers: int = 3
    workers: int = 2
    zookeepers: int = 1
    #: 1, or 3 for an ensemble that survives the death of a member.
    cpus: float = 2.0
    #: Processors that each worker offers.
    environ: dict[str, str] = {}
    #: Added to the environment of brokers and workers, for example ``ALB_LOG_LEVEL``.
    store: bool = False
    #: Keep history, in SQLite.


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One process as the state file remembers it."""

    name: str
    role: Role
    command: tuple[str, ...]
    log: str
    environ: dict[str, str] = {}
    life: Life | None = None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The state file: where ZooKeeper is, and what was started."""

    zk: str
    members: tuple[Member, ...]


class LocalCluster:
    """ZooKeeper, brokers and workers as processes with names: ``z1 … b1 b2 b3 w1 w2``.

    As a context manager it starts on entry and ends every process on exit; the folder stays.

    Args:
        folder: Where data, logs and the state file live. A cluster that it holds already is taken over.
        plan: Of a new cluster.
    """

    def __init__(self, folder: Path, plan: Plan | None = None) -> None:
        self.folder = folder.resolve()
        self.processes: dict[str, Daemon] = {}
        self._roles: dict[str, Role] = {}
        self._plan = plan or Plan()
        state = read_state(self.folder)
        if state is not None:
            self.zk = state.zk
            for member in state.members:
                self._remember(member)
        else:
            self.zk = self._add_zookeepers(self._plan.zookeepers)
            for number in range(1, self._plan.brokers + 1):
                self.add_broker(f"b{number}")
            for number in range(1, self._plan.workers + 1):
                self.add_worker(f"w{number}")
        self._config = Config(zk=self.zk)

    # --- what there is -------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Daemon:
        return self.processes[name]

    def named(self, role: Role) -> list[Daemon]:
        """Return the processes of a role."""
        return [process for name, process in self.processes.items() if self._roles[name] == role]

    def add_broker(self, name: str) -> Daemon:
        """Plan one more broker; `Daemon.start` starts it."""
        command = (*alb_command(), "broker", "--zk", self.zk, "--name", name)
        environ = {"ALB_DUMP_DIR": str(self.folder), "ALB_DEPOT_DIR": str(self.folder / f"{name}-depot")}
        if self._plan.store:
            environ |= {
                "ALB_STORE": self.store,
                "ALB_STORE_KEEP_S": STORE_KEEP_S,
                "ALB_STORE_BYTES": STORE_BYTES,
            }
        return self._add(name, "broker", command, environ)

    @property
    def store(self) -> str:
        """The URL of the results store, where the plan has one."""
        return f"sqlite:///{self.folder.resolve() / 'results.db'}"

    def add_worker(self, name: str) -> Daemon:
        """Plan one more worker; `Daemon.start` starts it."""
        command = (
            *alb_command(),
            "worker",
            "--zk",
            self.zk,
            "--name",
            name,
            "--cpus",
            f"{self._plan.cpus:g}",
            "--oversubscribe",  # on whatever machine: the cluster is as large as it was planned
        )
        # All are on one machine: measuring how fast each is would cost their start and tell nothing.
        environ = {"ALB_WORK_DIR": str(self.folder / name), "ALB_SPEED": "1"}
        return self._add(name, "worker", command, environ)

    # --- life and death ------------------------------------------------------------------------------------

    def start(self, timeout_s: float = START_S) -> LeaderNode:
        """Start what does not run, and wait until the cluster can take tasks.

        Args:
            timeout_s: For the whole.

        Returns:
            The leader.

        Raises:
            LocalClusterError: Something did not come up; names the log to read.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            for process in self.named("zookeeper"):
                process.start()
            self._save()
            self._await(self._zookeeper_serves, timeout_s, "ZooKeeper does not answer", "zookeeper")
            for process in (*self.named("broker"), *self.named("worker")):
                process.start()
            self._save()
            self._await(self._usable, timeout_s, "no broker leads, or somebody is not registered,", "broker")
            self.check_alive()
        except DaemonFailed as error:
            raise LocalClusterError(str(error)) from error
        return self.wait_for_leader()

    def check_alive(self) -> None:
        """Hold every process that was started here, and not ended on purpose, to being there.

        Raises:
            DaemonFailed: One ended by itself; the text has the end of its log.
        """
        for process in self.processes.values():
            if process.wanted and not process.running:
                raise DaemonFailed(process.name, "has ended", process.log)

    def stop(self) -> None:
        """End every process: workers, then brokers, then ZooKeeper. Data and logs stay."""
        for role in ("worker", "broker", "zookeeper"):
            processes = self.named(role)
            for process in processes:
                process.ask_to_stop()
            for process in processes:
                process.stop()
        (self.folder / STATE_FILE).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- the leader ----------------------------------------------------------------------------------------

    def look(self, within_s: float = 5.0) -> tuple[LeaderNode | None, list[BrokerNode], list[WorkerNode]]:
        """Read in ZooKeeper who leads, and which brokers and workers are registered.

        Raises:
            ZooKeeperUnreachable: No server answered in time.
        """
        return read_cluster(self._config.zk_hosts(), self._config.zk_chroot(), within_s)

    def leader(self) -> LeaderNode | None:
        """Return who holds the leadership now; None: nobody, or ZooKeeper does not answer."""
        try:
            return self.look()[0]
        except ZooKeeperUnreachable:
            return None

    def wait_for_leader(self, *, after_epoch: int = 0, timeout_s: float = START_S) -> LeaderNode:
        """Wait for a leader of a later epoch than `after_epoch`.

        Raises:
            LocalClusterError: Nobody leads in that time.
        """
        found: list[LeaderNode] = []

        def leads() -> bool:
            leader = self.leader()
            if leader is not None and leader.epoch > after_epoch:
                found.append(leader)
            return bool(found)

        if not wait_until(leads, timeout_s):
            logs = ", ".join(str(process.log) for process in self.named("broker"))
            raise LocalClusterError(f"nobody leads after {timeout_s:g} s; read the brokers' logs: {logs}")
        return found[0]

    # --- inside --------------------------------------------------------------------------------------------

    def _await(self, condition: Callable[[], object], timeout_s: float, complaint: str, role: Role) -> None:
        """Wait for a condition while every started process stays alive."""

        def settled() -> bool:
            self.check_alive()
            return bool(condition())

        if not wait_until(settled, timeout_s, poll_s=0.1):
            logs = ", ".join(str(process.log) for process in self.named(role))
            raise LocalClusterError(f"{complaint} after {timeout_s:g} s; read {logs}")

    def _zookeeper_serves(self) -> bool:
        return all(is_serving(address) for address in self._config.zk_hosts().split(","))

    def _usable(self) -> bool:
        """Tell whether somebody leads, and every broker and worker of the plan is registered."""
        try:
            leader, brokers, workers = self.look()
        except ZooKeeperUnreachable:
            return False
        there = {*(node.broker for node in brokers), *(node.worker for node in workers)}
        planned = {process.name for process in (*self.named("broker"), *self.named("worker"))}
        return leader is not None and planned <= there

    def _add_zookeepers(self, count: int) -> str:
        ensemble = Ensemble(self.folder / "zookeeper", count)
        for server in ensemble.servers:
            self.processes[server.name] = server
            self._roles[server.name] = "zookeeper"
        return ensemble.hosts

    def _add(self, name: str, role: Role, command: tuple[str, ...], environ: Mapping[str, str]) -> Daemon:
        self._remember(
            Member(
                name=name,
                role=role,
                command=command,
                log=str(self.folder / "logs" / f"{name}.log"),
                environ={**environ, **self._plan.environ},
            )
        )
        return self.processes[name]

    def _remember(self, member: Member) -> None:
        self._roles[member.name] = member.role
        self.processes[member.name] = Daemon(
            member.name, member.command, Path(member.log), environ=member.environ, life=member.life
        )

    def _save(self) -> None:
        members = tuple(
            Member(
                name=name,
                role=self._roles[name],
                command=process.command,
                log=str(process.log),
                environ=process.environ,
                life=process.life,
            )
            for name, process in self.processes.items()
        )
        file = self.folder / STATE_FILE
        fresh = file.with_suffix(".new")
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(State(zk=self.zk, members=members))))
        fresh.replace(file)


def default_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where ``alb up`` keeps its cluster: ``$ALB_HOME/local``, else below the user's state folder."""
    if home := environ.get("ALB_HOME"):
        return Path(home) / "local"
    return Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "alb"


def up(folder: Path | None = None, plan: Plan | None = None, say: Say = print) -> LeaderNode:
    """Start a local cluster in the background; where there is one, start again what died of it.

    Args:
        folder: Of the cluster; None: `default_folder`.
        plan: Of a new cluster; one that is up keeps its own.
        say: Takes each line for the user.

    Returns:
        The leader.

    Raises:
        LocalClusterError: It did not come to life.
    """
    folder = folder or default_folder()
    with _locked(folder):
        known = read_state(folder) is not None
        cluster = LocalCluster(folder, plan)
        dead = [name for name, process in cluster.processes.items() if not process.running]
        if known and dead:
            say(f"already up, but not running: {', '.join(dead)}; starting again")
        elif known:
            say("already up, and stays as it was started: for another size, alb down first")
        leader = cluster.start()
    say(f"ZooKeeper  {cluster.zk}")
    for process in (*cluster.named("broker"), *cluster.named("worker")):
        leads = f", leads (epoch {leader.epoch})" if process.name == leader.broker else ""
        say(f"{process.name:<10} pid {process.pid}{leads}")
    say(f"logs       {cluster.folder / 'logs'}")
    say(f"now        export ALB_ZK={cluster.zk} ALB_STORE={cluster.store}")
    say("           alb submit 'echo hello from $ALB_WORKER'")
    return leader


def down(folder: Path | None = None, *, purge: bool = False, say: Say = print) -> list[str]:
    """End exactly the processes of the cluster that `up` started.

    Args:
        folder: Of the cluster; None: `default_folder`.
        purge: Remove its data and logs too.
        say: Takes each line for the user.

    Returns:
        The names of the processes that were ended.
    """
    folder = folder or default_folder()
    if not folder.exists():
        say(f"nothing is up ({folder} does not exist)")
        return []
    with _locked(folder):
        ended: list[str] = []
        if read_state(folder) is None:
            say(f"nothing is up ({folder} holds no {STATE_FILE})")
        else:
            cluster = LocalCluster(folder)
            ended = [name for name, process in cluster.processes.items() if process.running]
            cluster.stop()
            say(f"ended {', '.join(ended) or 'nothing: no process was left'}")
        if purge:
            shutil.rmtree(folder)
            say(f"removed {folder}")
    return ended


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one `up` or `down` at a time work on a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LocalClusterError(
                f"another `alb up` or `alb down` works on {folder}; wait for it"
            ) from error
        yield


def read_state(folder: Path) -> State | None:
    """Return what a folder's state file says; None where there is none.

    Raises:
        LocalClusterError: The file cannot be understood.
    """
    file = folder / STATE_FILE
    try:
        return msgspec.json.decode(file.read_bytes(), type=State)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise LocalClusterError(f"{file} cannot be understood ({error}); remove it") from error


def alb_command() -> tuple[str, ...]:
    """Return how the `alb` command of this installation is started."""
    beside = Path(sys.executable).with_name("alb")
    found = str(beside) if beside.exists() else shutil.which("alb")
    if found is None:
        raise LocalClusterError("there is no `alb` command beside this Python or in PATH; install alb")
    return (found,)
