"""Real ZooKeeper servers on this machine: finding one, configuring one or an ensemble of them, starting them.

Used by ``alb up`` and the tests. In production ZooKeeper runs by itself; ``deploy/`` has its configuration.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from alb.local.daemons import Daemon, DaemonFailed, wait_until
from alb.local.ports import Port, claim_again, claim_ports
from alb_core.errors import AlbError, ConfigError

START_S: Final = 60.0
TICK_MS: Final = 500
#: Sessions may be 1 to 10 s with it.
HEAP_MIB: Final = 1024
#: Room for a full table: 200,000 tasks of 1 KiB and what ZooKeeper adds to each.

_JAVA_FLAGS: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
#: A local server shares its machine with everything else. Compiling thoroughly costs three times the
#: processor time during the first ten thousand transactions (measured: 1,250 against 450 us a task), and
#: saves a fifth later.
_MAIN: Final = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_DEBIAN_JARS: Final = Path("/usr/share/java")


class ZooKeeperMissing(AlbError):
    """Raised when this machine has no ZooKeeper server to start. Retrying helps after one was installed."""

    def __str__(self) -> str:
        return (
            f"{self.args[0]}. Install a ZooKeeper server (Debian, Ubuntu: `apt-get install zookeeper`), or "
            "unpack one from zookeeper.apache.org/releases.html and set ZOOKEEPER_HOME to its folder; "
            "it needs Java (`apt-get install default-jre-headless`). Or use one that runs elsewhere: "
            "`alb broker --zk host:2181`, and `alb worker` likewise"
        )


class Installation(msgspec.Struct, frozen=True):
    """A ZooKeeper server that can be started."""

    java: str
    classpath: str


def find_installation(environ: Mapping[str, str] = os.environ) -> Installation:
    """Find a ZooKeeper server: in ``$ZOOKEEPER_HOME``, else Debian's package.

    Raises:
        ZooKeeperMissing: There is none, or no Java.
    """
    java_home = environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{java_home}/bin" if java_home else environ.get("PATH"))
    if java is None:
        raise ZooKeeperMissing("there is no `java` in " + ("$JAVA_HOME/bin" if java_home else "PATH"))
    if home := environ.get("ZOOKEEPER_HOME"):
        if not list(Path(home).glob("lib/zookeeper-*.jar")):
            raise ZooKeeperMissing(f"ZOOKEEPER_HOME={home} holds no lib/zookeeper-*.jar")
        return Installation(java, f"{home}/conf:{home}/lib/*")
    server = _DEBIAN_JARS / "zookeeper.jar"
    if not server.exists():
        raise ZooKeeperMissing(
            f"there is no ZooKeeper server here: ZOOKEEPER_HOME is not set and {server} is absent"
        )
    return Installation(java, f"{server}:{_DEBIAN_JARS / 'slf4j-simple.jar'}")


class Ports(msgspec.Struct, frozen=True):
    """The TCP ports of one server."""

    clients: Port
    quorum: Port
    election: Port


class ZooKeeperServer(Daemon):
    """One server: a background process that has an address.

    Args:
        name: ``z1``, ``z2``, ….
        command: Starts it.
        log: Where its output is appended.
        ports: Held for it, also while it is down.
    """

    def __init__(self, name: str, command: tuple[str, ...], log: Path, ports: Ports) -> None:
        super().__init__(name, command, log)
        self.ports: Final = ports
        self.address: Final = f"127.0.0.1:{ports.clients.number}"
        #: Of its clients.

    @property
    def running(self) -> bool:
        """Whether it exists; also true while it is frozen."""
        if self._child is not None:
            # The first thread of a Java process looks dead before the others have ended; a wait is exact.
            return self._child.poll() is None
        return super().running

    @property
    def serving(self) -> bool:
        """Whether it answers clients now (a member without a quorum does not)."""
        return is_serving(self.address)

    def wait_serving(self, within_s: float = START_S) -> None:
        """Wait until it answers clients.

        Raises:
            DaemonFailed: It ended, or does not answer in time; the text has the end of its log.
        """
        if not wait_until(lambda: self.serving or not self.running, within_s):
            raise DaemonFailed(self.name, f"does not answer at {self.address} after {within_s:g} s", self.log)
        if not self.running:
            raise DaemonFailed(self.name, "ended right after its start", self.log)


class Ensemble:
    """One ZooKeeper server, or three that replace each other. As a context manager it is up inside the block.

    Args:
        folder: For configuration, data and logs; what it holds of a former life is used again.
        count: Servers: 1, 3 or 5.
        heap_mib: Memory for the objects of each.

    Raises:
        ZooKeeperMissing: There is none on this machine.
        ConfigError: An even number survives no more than the odd one below it.
    """

    def __init__(self, folder: Path, count: int = 1, *, heap_mib: int = HEAP_MIB) -> None:
        if count < 1 or count % 2 == 0:
            raise ConfigError(f"an ensemble of {count} ZooKeeper servers makes no sense; use 1, 3 or 5")
        found = find_installation()
        start = (
            found.java,
            f"-Xmx{heap_mib}m",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            *_JAVA_FLAGS,
            "-cp",
            found.classpath,
            _MAIN,
        )
        ports = _ports(folder, count)
        self.servers: Final = tuple(_prepare(folder, start, number, ports) for number in sorted(ports))
        self.hosts: Final = ",".join(server.address for server in self.servers)
        #: ``host:port,host:port``, as clients want it.

    def start(self, within_s: float = START_S) -> None:
        """Start what does not run, and wait until every server answers; frozen ones go on.

        Raises:
            DaemonFailed: A server does not come up; the text has the end of its log.
        """
        for server in self.servers:
            server.start()
            server.thaw()
        for server in self.servers:
            server.wait_serving(within_s)

    def stop(self) -> None:
        """End every server."""
        for server in self.servers:
            server.ask_to_stop()
        for server in self.servers:
            server.stop()

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


def is_serving(address: str) -> bool:
    """Ask a server whether it answers clients, with its four-letter command ``srvr``."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1) as connection:
            connection.sendall(b"srvr")
            return b"Mode: " in connection.makefile("rb").read()
    except OSError:
        return False


def _ports(folder: Path, count: int) -> dict[int, Ports]:
    """Choose each server's ports. Clients find it where it was in its former life, if that port is free."""
    former = {number: _former_port(folder / f"z{number}" / "zoo.cfg") for number in range(1, count + 1)}
    claimed = iter(claim_ports(3 * count))
    return {
        number: Ports(clients=port or next(claimed), quorum=next(claimed), election=next(claimed))
        for number, port in former.items()
    }


def _former_port(file: Path) -> Port | None:
    """Claim again the port that a server's configuration names; None where there is none, or it is taken."""
    if not file.exists():
        return None
    words = dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line)
    number = words.get("clientPort", "")
    return claim_again(int(number)) if number.isascii() and number.isdigit() else None


def _prepare(folder: Path, start: tuple[str, ...], number: int, ports: dict[int, Ports]) -> ZooKeeperServer:
    """Write what server `number` reads at its start."""
    name = f"z{number}"
    data = folder / name / "data"
    data.mkdir(parents=True, exist_ok=True)
    (data / "myid").write_text(f"{number}\n")
    file = folder / name / "zoo.cfg"
    file.write_text(_configuration(data, number, ports))
    return ZooKeeperServer(name, (*start, str(file)), folder / "logs" / f"{name}.log", ports[number])


def _configuration(data: Path, number: int, ports: dict[int, Ports]) -> str:
    lines = [
        f"tickTime={TICK_MS}",
        "initLimit=20",
        "syncLimit=10",
        f"dataDir={data}",
        f"clientPort={ports[number].clients.number}",
        "clientPortAddress=127.0.0.1",
        "maxClientCnxns=0",  # everybody comes from this machine
        "nio.numWorkerThreads=0",  # a dozen connections: handing each request to another thread costs more
        "autopurge.snapRetainCount=3",
        "autopurge.purgeInterval=1",
        "admin.enableServer=false",
        "4lw.commands.whitelist=srvr,mntr",
    ]
    if len(ports) > 1:
        lines += [
            f"server.{other}=127.0.0.1:{its.quorum.number}:{its.election.number}"
            for other, its in ports.items()
        ]
    return "\n".join(lines) + "\n"
