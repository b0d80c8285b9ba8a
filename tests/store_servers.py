"""Real database servers from Debian's packages: each an instance with its own new folder and port.

They run as nobody where the tests run as root, and are ended by the process that was started.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

import msgspec
import psycopg
import pymysql
import redis

from alb.local.ports import claim_ports

PASSWORD: Final = "open:sesame/7"  # noqa: S105 (of servers that live for a test)
#: With signs that a URL must quote.
QUOTED: Final = "open%3Asesame%2F7"
START_S: Final = 60.0

_NUMBERS: Final = itertools.count(1)


class Place(Protocol):
    """Where a store under test lives."""

    url: str

    def fresh(self) -> str:
        """Return the URL of a database that nobody used before."""

    def raise_schema(self, url: str, table: str) -> None:
        """Make the schema there newer than any that is known."""


class Server:
    """One server. As a context manager it runs inside the block, and its folder goes with it."""

    packages: tuple[str, ...] = ()
    program = ""

    def __init__(self) -> None:
        self.folder: Final = Path(tempfile.mkdtemp(prefix="alb-store-"))
        (self._held,) = claim_ports(1)
        self.port: Final = self._held.number
        self.process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody", "nogroup")

    @property
    def url(self) -> str:
        """Of its first database."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make what it needs before its first start."""

    def command(self) -> list[str]:
        """Return what starts it in the foreground."""
        raise NotImplementedError

    def connect(self) -> Any:
        """Connect with its own driver; raises while it is not ready."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.prepare()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._held.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, **_as_nobody()
            )
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.connect().close()
            except (psycopg.Error, pymysql.Error, redis.RedisError) as error:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    story = (self.folder / "log").read_text()[-2000:]
                    raise RuntimeError(f"{self.program} does not answer: {error}\n{story}") from error
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """End it as a power cut would; it can be started again."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def children(self) -> list[int]:
        """Return its own processes."""
        return _children(self.process)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def run(self, *command: str) -> None:
        """Run a command of its package as its user."""
        subprocess.run(
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=START_S,
            **_as_nobody(),
        )


def _as_nobody() -> dict[str, Any]:
    where = {"cwd": "/"}
    if os.geteuid() != 0:
        return where
    return where | {"user": "nobody", "group": "nogroup", "extra_groups": []}


def _postgresql_bin() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return found[-1] if found else Path("/nonexistent")


class PostgresqlServer(Server):
    """PostgreSQL."""

    packages = ("postgresql",)
    program = str(_postgresql_bin() / "postgres")

    @property
    def url(self) -> str:  # noqa: D102
        return self._url("postgres")

    def _url(self, name: str) -> str:
        return f"postgresql://alb:{QUOTED}@127.0.0.1:{self.port}/{name}"

    def prepare(self) -> None:  # noqa: D102
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        place = ("-D", str(self.folder / "data"), "-U", "alb", f"--pwfile={secret}")
        self.run(str(_postgresql_bin() / "initdb"), *place, "--auth=scram-sha-256", "-E", "UTF8", "--no-sync")

    def command(self) -> list[str]:  # noqa: D102
        settings = (f"unix_socket_directories={self.folder}", "listen_addresses=127.0.0.1", "fsync=on")
        flags = [word for setting in settings for word in ("-c", setting)]
        return [self.program, "-D", str(self.folder / "data"), "-p", str(self.port), *flags]

    def connect(self) -> Any:  # noqa: D102
        return psycopg.connect(self.url, autocommit=True, connect_timeout=5)

    def kill(self) -> None:
        """Its children notice that their parent is gone, and must be gone before it starts again."""
        children = _children(self.process)
        super().kill()
        _await_end(children)

    def fresh(self) -> str:  # noqa: D102
        name = f"fresh{next(_NUMBERS)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def raise_schema(self, url: str, table: str) -> None:  # noqa: D102, ARG002
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("UPDATE alb_schema SET version_num = '9999'")


class MariadbServer(Server):
    """MariaDB."""

    packages = ("mariadb-server",)
    program = "/usr/sbin/mariadbd"

    @property
    def url(self) -> str:  # noqa: D102
        return self._url("alb")

    def _url(self, name: str) -> str:
        return f"mariadb://alb:{QUOTED}@127.0.0.1:{self.port}/{name}"

    def prepare(self) -> None:  # noqa: D102
        data = f"--datadir={self.folder / 'data'}"
        self.run(
            *("mariadb-install-db", "--no-defaults", data, "--skip-test-db"),
            "--auth-root-authentication-method=normal",
        )
        (self.folder / "init.sql").write_text(
            "CREATE DATABASE IF NOT EXISTS alb;\n"
            f"CREATE USER IF NOT EXISTS 'alb'@'%' IDENTIFIED BY '{PASSWORD}';\n"
            "GRANT ALL ON *.* TO 'alb'@'%';\n"
        )

    def command(self) -> list[str]:  # noqa: D102
        return [
            *(self.program, "--no-defaults", f"--datadir={self.folder / 'data'}", f"--port={self.port}"),
            *(f"--socket={self.folder / 'socket'}", f"--pid-file={self.folder / 'pid'}"),
            *("--bind-address=127.0.0.1", f"--init-file={self.folder / 'init.sql'}", "--skip-name-resolve"),
        ]

    def connect(self) -> Any:  # noqa: D102
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="alb", password=PASSWORD, database="alb", connect_timeout=5
        )

    def fresh(self) -> str:  # noqa: D102
        name = f"fresh{next(_NUMBERS)}"
        with self.connect() as connection:
            connection.cursor().execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def raise_schema(self, url: str, table: str) -> None:  # noqa: D102, ARG002
        with self.connect() as connection:
            name = url.rpartition("/")[2]
            connection.cursor().execute(f"UPDATE {name}.alb_schema SET version_num = '9999'")  # noqa: S608
            connection.commit()


class RedisServer(Server):
    """Redis, as durable as it can be."""

    packages = ("redis-server",)
    program = "/usr/bin/redis-server"

    @property
    def url(self) -> str:  # noqa: D102
        return f"redis://:{QUOTED}@127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:  # noqa: D102
        return [
            *(self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--requirepass", PASSWORD),
        ]

    def connect(self) -> Any:  # noqa: D102
        client: Any = redis.Redis.from_url(self.url, socket_timeout=5)
        client.ping()
        return client

    def fresh(self) -> str:
        """Everything here belongs to a table; a new one finds nothing."""
        return self.url

    def raise_schema(self, url: str, table: str) -> None:  # noqa: D102, ARG002
        self.connect().set(f"alb:{{{table}}}:schema", 9999)


SERVERS: Final[dict[str, type[Server]]] = {
    "postgresql": PostgresqlServer,
    "mariadb": MariadbServer,
    "redis": RedisServer,
}


class SqliteFile(msgspec.Struct, frozen=True):
    """A place for files."""

    folder: Path

    @property
    def url(self) -> str:
        """Of the first file."""
        return f"sqlite:///{self.folder / 'store.db'}"

    def fresh(self) -> str:
        """Return the URL of another file."""
        return f"sqlite:///{self.folder / f'fresh{next(_NUMBERS)}.db'}"

    def raise_schema(self, url: str, table: str) -> None:  # noqa: ARG002
        """Make the schema there newer than any that is known."""
        import sqlite3  # noqa: PLC0415 (only SQLite's tests need it)

        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        connection.execute("UPDATE alb_schema SET version_num = '9999'")
        connection.close()


def _children(process: subprocess.Popen[bytes] | None) -> list[int]:
    if process is None:
        return []
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(word) for word in text.split()]


def _await_end(pids: Sequence[int]) -> None:
    deadline = time.monotonic() + START_S
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
