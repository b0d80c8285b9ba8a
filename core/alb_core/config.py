"""The configuration of each role: one frozen structure, read once at the start.

Defaults < TOML file < environment (``ALB_*``) < flags. Every field says its unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from alb_core import ids, limits, znodes
from alb_core.errors import ConfigError
from alb_core.origins import Origins
from alb_core.resources import CPUS_MAX, GPUS, Count, check_counts, check_labels, counts_of, parse_counts
from alb_core.spec import is_login

PORTS: Final = 4
#: That a broker listens on.
PORT_NUMBERS: Final = 65_536
#: Of TCP: libzmq takes a larger one for what is left of it.
_NO_HOST: Final = frozenset(" /,")
#: What stands in no address and in no name of a host.
LISTED: Final = frozenset(("labels", "ports", "allow_run_as", "resources"))
#: Settings that are lists: in flags and the environment with commas.


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every role needs."""

    zk: str
    #: ZooKeeper servers, ``host:port,host:port``, with an optional ``/chroot`` (default ``/alb``).

    def zk_hosts(self) -> str:
        """Return the servers without the chroot."""
        return self.zk.partition("/")[0]

    def zk_chroot(self) -> str:
        """Return the chroot, ``/alb`` unless the connection string names one."""
        _, slash, path = self.zk.partition("/")
        return "/" + path.strip("/") if slash and path.strip("/") else znodes.CHROOT

    def validate(self) -> None:
        """Check the relations between fields.

        Raises:
            ConfigError: Something cannot work; the text says what to change.
        """
        hosts = self.zk_hosts()
        if not hosts:
            raise ConfigError("no ZooKeeper given: use --zk host:2181 or set ALB_ZK")
        for host in hosts.split(","):
            name, colon, port = host.rpartition(":")
            if (
                not (name if colon else host)
                or ".." in host
                or any(character.isspace() for character in host)
                or (colon and not (port.isdigit() and 0 < int(port) < 65536))
            ):
                raise ConfigError(f"--zk: {host!r} is not host:port")


class BrokerConfig(Config, frozen=True, kw_only=True):
    """The settings of ``alb broker``."""

    name: str
    #: Unique among the brokers of one cluster.
    bind: str = "127.0.0.1"
    #: Address to listen on. alb has no authentication yet: keep it to networks that you trust.
    advertise: str = ""
    #: Address that others connect to; empty: the same as `bind`.
    ports: tuple[int, int, int, int] = (0, 0, 0, 0)
    #: TCP ports: clients, client output, workers, worker output; 0: any free one.
    session_timeout_s: float = 3.0
    #: ZooKeeper session asked for, in seconds; the server may grant another.
    store: str = ""
    #: URL of the results store: sqlite, postgresql, mariadb or redis; empty: none, and no history.
    store_keep_s: float = 0.0
    #: What ended longer ago leaves the store; 0: nothing does by its age.
    store_bytes: int = 0
    #: While the store takes more, the oldest tasks leave it; 0: any size.
    dump_dir: str = "/tmp"  # noqa: S108 (the files in it get names that nobody can guess)
    #: Where the state is written on hand-over.
    depot_port: int = 0
    #: TCP port of the depot, where files lie; 0: any free one.
    depot_dir: str = ""
    #: Where it keeps them; empty: ``/var/tmp/alb-<uid>/depots/<name>``.
    depot_bytes_max: int = limits.DEPOT_BYTES_MAX
    #: For all of them.
    log_level: str = "info"
    pending_max: int = limits.PENDING_MAX
    #: Tasks in the table that have no result.
    pending_bytes_max: int = limits.PENDING_BYTES_MAX
    done_kept_max: int = limits.DONE_KEPT_MAX
    #: Finished tasks that stay in the table.
    done_kept_s: float = limits.DONE_KEPT_S
    holding_s: float = limits.HOLDING_S
    #: A result that nobody acknowledged stays at least so many seconds.
    crash_limit: int = limits.CRASH_LIMIT
    stuck_s: float = 30.0
    #: A leader resigns when a task that fits stays unplaced so many seconds.
    quantum_s: float = limits.QUANTUM_S
    #: Who ran so many seconds gives its processors to those who wait, and runs on with the rest; 0: nobody.
    max_demoted: int = limits.DEMOTED_PER_CPU_MAX
    #: Such attempts on one worker, for each processor that it has; 0: none.

    def validate(self) -> None:
        """Check the relations between fields; raises ConfigError."""
        super().validate()
        _check_name("broker", self.name)
        _check_session(self.session_timeout_s)
        self._check_addresses()
        if self.pending_max < 1 or self.done_kept_max < 0 or self.crash_limit < 0:
            raise ConfigError("pending_max, done_kept_max and crash_limit cannot be negative (or 0)")
        if not all(0 <= time_s < math.inf for time_s in (self.done_kept_s, self.holding_s, self.stuck_s)):
            raise ConfigError("done_kept_s, holding_s and stuck_s are times, in seconds")
        if not 0 <= self.quantum_s < math.inf or not 0 <= self.max_demoted <= limits.MAX_DEMOTED_MAX:
            raise ConfigError(
                f"--quantum is a time, 0 for none, and --max-demoted between 0 and {limits.MAX_DEMOTED_MAX}"
            )
        if not math.isfinite(self.store_keep_s) or self.store_keep_s < 0:
            raise ConfigError("--store-keep is how long history stays, 30d for example; 0: for ever")
        if self.store_bytes and self.store_bytes < limits.STORE_BYTES_MIN:
            raise ConfigError(
                f"--store-bytes {self.store_bytes} may be what an empty database takes: give 16M or more"
            )

    def _check_addresses(self) -> None:
        """Check where it listens, and where others are to connect; raises ConfigError."""
        if self.bind in ("0.0.0.0", "::", "*") and not self.advertise:  # noqa: S104 (compares, does not bind)
            raise ConfigError("--bind to all addresses needs --advertise: the address that others connect to")
        for option, host in (("--bind", self.bind), ("--advertise", self.advertise)):
            if not host.isprintable() or set(host) & _NO_HOST:
                raise ConfigError(f"{option}: {host!r} is no address and no name of a host")
        fixed = [port for port in self.ports if port]
        if any(not 0 < port < PORT_NUMBERS for port in fixed) or len(set(fixed)) < len(fixed):
            raise ConfigError(
                f"--ports {','.join(map(str, self.ports))}: each is a TCP port of its own (0: any)"
            )
        if not 0 <= self.depot_port < PORT_NUMBERS or self.depot_bytes_max < 0:
            raise ConfigError("depot_port is a TCP port (0: any), and depot_bytes_max cannot be negative")

    def address(self) -> str:
        """Return the address that others connect to."""
        return self.advertise or self.bind


class WorkerConfig(Config, frozen=True, kw_only=True):
    """The settings of ``alb worker``."""

    name: str
    #: Unique among the workers of one cluster.
    cpus: float = 0.0
    #: Processors offered; 0: what the machine and its cgroup allow, which is also the most.
    oversubscribe: bool = False
    #: More processors may be offered than there are: commands then share them.
    memory_bytes: int = 0
    #: Memory offered; 0: what the machine and its cgroup allow.
    net_bps: int = 0
    #: Bandwidth offered in bits per second; 0: the link's speed where it is known.
    net_interface: str = ""
    #: The interface whose load is measured; empty: that of the default route.
    gpus_count: int | None = None
    #: GPUs offered, with the indexes from 0 on; None: all that NVIDIA's library finds.
    resources: tuple[str, ...] = ()
    #: What else is offered in whole units, each ``name=count``: licences, for example.
    labels: tuple[str, ...] = ()
    speed: float = 0.0
    #: How fast the machine is, compared with the cluster's others; 0: it is measured, once.
    work_dir: str = ""
    #: Spool and fresh directories of tasks; empty: ``/var/tmp/alb-<uid>/<name>``.
    session_timeout_s: float = 5.0
    spool_kept_s: float = limits.SPOOL_KEPT_S
    spool_bytes_max: int = limits.SPOOL_BYTES_MAX
    #: For finished tasks, all together.
    stream_bytes_max: int = 2 * 1024 * 1024 * 1024
    #: Of one running command's stdout or stderr; more is counted as truncated and not kept.
    cache_bytes_max: int = limits.CACHE_BYTES_MAX
    #: For files that tasks took along and that the next ones may need again.
    allow_run_as: tuple[str, ...] = ()
    #: Login names of users that tasks may run as, where the worker is root; root itself only if it is named.
    log_level: str = "info"

    def validate(self) -> None:
        """Check the relations between fields; raises ConfigError."""
        super().validate()
        _check_name("worker", self.name)
        _check_session(self.session_timeout_s)
        if not 0 <= self.cpus < CPUS_MAX or self.memory_bytes < 0 or self.net_bps < 0:
            raise ConfigError(
                f"cpus ({self.cpus:g}), memory and bandwidth cannot be negative, nor more than machines have"
            )
        wrong = check_labels(self.labels)
        if wrong is not None or any("!=" in label for label in self.labels):
            raise ConfigError(f"--labels: {wrong or 'KEY!=VALUE is what tasks say; workers have KEY=VALUE'}")
        self.counts()
        if not 0 <= self.speed <= limits.SPEED_MAX:
            raise ConfigError(
                f"--speed {self.speed:g}: how fast this machine is, 1 like an ordinary one, at most "
                f"{limits.SPEED_MAX:g}; 0, or nothing: that is measured"
            )
        if self.cache_bytes_max < 0:
            raise ConfigError("cache_bytes_max cannot be negative")
        for name in self.allow_run_as:
            if not is_login(name):
                raise ConfigError(f"--allow-run-as: {name[:40]!r} is no login name")
        if self.stream_bytes_max > self.spool_bytes_max:
            raise ConfigError(
                "stream_bytes_max is larger than spool_bytes_max: one command could fill the spool"
            )

    def counts(self) -> tuple[Count, ...]:
        """Return what is offered in whole units, as told; raises ConfigError."""
        try:
            amounts = parse_counts(self.resources)
        except ValueError as error:
            raise ConfigError(f"--resources: {error}") from None
        if self.gpus_count is not None:
            if self.gpus_count < 0 or GPUS in amounts:
                raise ConfigError("--gpus is how many GPUs are offered: 0 or more, and given once")
            if self.gpus_count > limits.GPUS_MAX:
                raise ConfigError(
                    f"--gpus: {self.gpus_count} are more than the {limits.GPUS_MAX} of any machine"
                )
            amounts |= {GPUS: self.gpus_count} if self.gpus_count else {}
        counts = counts_of(amounts)
        wrong = check_counts(counts)
        if wrong is not None:
            raise ConfigError(f"--resources: {wrong}")
        return counts


class ClientConfig(Config, frozen=True, kw_only=True):
    """The settings of a client."""

    user: str = ""
    #: Empty: the login name.
    progress_timeout_s: float = limits.PROGRESS_TIMEOUT_S
    holding_s: float = limits.HOLDING_S
    unanswered_max: int = 1000
    #: Submissions under way at once; more wait in the client.

    def validate(self) -> None:
        """Check the relations between fields; raises ConfigError."""
        super().validate()
        if len(self.user) > limits.USER_LENGTH_MAX or not self.user.isprintable():
            raise ConfigError(f"the user name {self.user[:80]!r} is too long or not printable")


C = TypeVar("C", bound=Config)


def expand_name(name: str, host: str) -> str:
    """Put a host's name in place of ``%H``, so that many hosts can share one configuration."""
    return name.replace("%H", host)


def load(  # noqa: PLR0913 (each source has its own)
    form: type[C],
    *,
    file: str | None,
    environ: Mapping[str, str],
    flags: Mapping[str, Any],
    host: str = "",
    path: str = "the configuration file",
) -> C:
    """Build a role's configuration from all its sources.

    Args:
        form: The role's structure.
        file: Text of a TOML file, or None.
        environ: The environment; ``ALB_ZK`` sets `zk`, ``ALB_LOG_LEVEL`` sets `log_level`, and so on.
        flags: What the command line gave; None values count as not given.
        host: What ``%H`` in a name stands for.
        path: Where the text of the file was, for errors.

    Raises:
        ConfigError: A value is missing, malformed or contradicts another.
    """
    values = {} if file is None else _parse(file, path)
    origins = Origins(form.__struct_fields__, path, file or "")
    for field in form.__struct_fields__:
        text = environ.get(f"ALB_{field.upper()}")
        if text is not None:
            values[field] = tuple(text.split(",")) if field in LISTED else text
            origins.note(f"ALB_{field.upper()} in the environment", field)
    for key, value in flags.items():
        if value is not None:
            values[key] = value
            origins.note(f"--{key.replace('_', '-')}", key)
    if not values.get("zk"):
        raise ConfigError("no ZooKeeper given: use --zk host:2181 or set ALB_ZK")
    if isinstance(values.get("name"), str):
        values["name"] = expand_name(values["name"], host)
    ports = values.get("ports")
    if isinstance(ports, list | tuple) and len(ports) != PORTS:
        shown = ",".join(map(str, ports))
        raise ConfigError(
            f"--ports {shown}: four are wanted: for clients, their output, workers, their output"
        )
    try:
        config = msgspec.convert(values, form, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(origins.explain(str(error), values)) from error
    config.validate()
    return config


def _parse(file: str, path: str) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 (a command without a configuration file starts faster)

    try:
        return tomllib.loads(file)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _check_name(role: str, name: str) -> None:
    if not ids.is_name(name):
        raise ConfigError(
            f"the {role} name {name[:80]!r} is not usable: letters, digits, '_', '.', '-', at most 64"
        )


def _check_session(seconds: float) -> None:
    if not 0.5 <= seconds <= 120:
        raise ConfigError(f"a ZooKeeper session of {seconds} s is not between 0.5 and 120 s")
