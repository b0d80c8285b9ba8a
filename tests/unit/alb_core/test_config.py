"""Configuration: four sources in their order, and an error for everything that cannot work."""

from __future__ import annotations

from typing import Any

import pytest

from alb_core import config, znodes
from alb_core.config import BrokerConfig, ClientConfig, Config, WorkerConfig
from alb_core.errors import ConfigError

ROLES: list[tuple[type[Config], dict[str, Any]]] = [
    (BrokerConfig, {"name": "b1"}),
    (WorkerConfig, {"name": "w1"}),
    (ClientConfig, {}),
]


def load(
    form: type[Any], file: str | None = None, environ: dict[str, str] | None = None, **flags: Any
) -> Any:
    """Build a configuration."""
    return config.load(form, file=file, environ=environ or {}, flags=flags)


@pytest.mark.parametrize(("form", "needed"), ROLES)
def test_defaults_suffice(form: type[Config], needed: dict[str, Any]) -> None:
    """Where ZooKeeper is, and a name: nothing else must be said."""
    made = load(form, zk="zk1:2181", **needed)
    assert (made.zk_hosts(), made.zk_chroot()) == ("zk1:2181", znodes.CHROOT)


def test_each_source_overrides_the_one_before() -> None:
    """Defaults, file, environment, flags."""
    file = 'zk = "file:1"\nname = "file"\nlog_level = "file"\nstuck_s = 7'
    environ = {"ALB_NAME": "environ", "ALB_LOG_LEVEL": "environ", "ALB_PENDING_MAX": "9", "HOME": "x"}
    made = load(BrokerConfig, file, environ, log_level="flag", bind=None)
    assert (made.zk, made.name, made.log_level, made.stuck_s) == ("file:1", "environ", "flag", 7.0)
    assert (made.pending_max, made.bind) == (9, "127.0.0.1")


def test_lists_in_the_environment_are_parted_by_commas() -> None:
    """Ports, labels, users."""
    environ = {"ALB_ZK": "zk:1", "ALB_LABELS": "ssd,arch=arm", "ALB_PORTS": "1,2,3,4"}
    assert load(WorkerConfig, None, environ, name="w").labels == ("ssd", "arch=arm")
    users = {**environ, "ALB_ALLOW_RUN_AS": "ann,bob"}
    assert load(WorkerConfig, None, users, name="w").allow_run_as == ("ann", "bob")
    assert load(BrokerConfig, None, environ, name="b").ports == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"store_keep_s": -1.0}, "--store-keep"),
        ({"store_keep_s": float("nan")}, "--store-keep"),
        ({"store_bytes": -1}, "--store-bytes"),
        ({"store_bytes": 4096}, "16M or more"),
    ],
)
def test_bounds_of_the_store_make_sense(fields: dict[str, Any], said: str) -> None:
    """A negative age, no number, or less than an empty database takes."""
    with pytest.raises(ConfigError, match=said):
        load(BrokerConfig, zk="zk:1", name="b", **fields)
    assert (
        load(BrokerConfig, zk="zk:1", name="b", store_keep_s=1.0, store_bytes=1 << 24).store_bytes == 1 << 24
    )


@pytest.mark.parametrize(
    ("zk", "hosts", "chroot"),
    [
        ("zk1:2181,zk2:2182", "zk1:2181,zk2:2182", "/alb"),
        ("zk1:2181/", "zk1:2181", "/alb"),
        ("zk1/other/place/", "zk1", "/other/place"),
        ("[::1]:2181", "[::1]:2181", "/alb"),
    ],
)
def test_a_connection_string_has_servers_and_perhaps_a_chroot(zk: str, hosts: str, chroot: str) -> None:
    """As ZooKeeper's own tools write it."""
    made = load(ClientConfig, zk=zk)
    assert (made.zk_hosts(), made.zk_chroot()) == (hosts, chroot)


def test_who_advertises_nothing_is_found_where_he_listens() -> None:
    """Unless that is everywhere."""
    assert load(BrokerConfig, zk="zk", name="b", bind="10.0.0.1").address() == "10.0.0.1"
    assert load(BrokerConfig, zk="zk", name="b", bind="0.0.0.0", advertise="b1").address() == "b1"  # noqa: S104


@pytest.mark.parametrize(
    ("form", "values", "part"),
    [
        (ClientConfig, {"zk": ""}, "use --zk"),
        (ClientConfig, {"zk": "/alb"}, "no ZooKeeper"),
        (ClientConfig, {"zk": "zk1:2181,"}, "not host:port"),
        (ClientConfig, {"zk": "zk1:port"}, "'zk1:port' is not host:port"),
        (ClientConfig, {"zk": "zk1\nzk2"}, "is not host:port"),
        (ClientConfig, {"zk": "zk1:70000"}, "not host:port"),
        (ClientConfig, {"zk": ":2181"}, "not host:port"),
        (ClientConfig, {"user": "x" * 65}, "user name"),
        (ClientConfig, {"user": "a\tb"}, "user name"),
        (ClientConfig, {"unknown": 1}, "unknown"),
        (ClientConfig, {"holding_s": "soon"}, "holding_s"),
        (BrokerConfig, {"name": "a/b"}, "broker name"),
        (BrokerConfig, {"name": "b", "session_timeout_s": 0.1}, "session"),
        (BrokerConfig, {"name": "b", "session_timeout_s": float("nan")}, "session"),
        (BrokerConfig, {"name": "b", "bind": "0.0.0.0"}, "--advertise"),  # noqa: S104
        (BrokerConfig, {"name": "b", "pending_max": 0}, "pending_max"),
        (BrokerConfig, {"name": "b", "ports": (1, 2)}, "ports"),
        (BrokerConfig, {"name": "b", "ports": (80_000, 1, 2, 3)}, "each is a TCP port of its own"),
        (BrokerConfig, {"name": "b", "ports": (7001, 7001, 7002, 0)}, "each is a TCP port of its own"),
        (BrokerConfig, {"name": "b", "ports": (-1, 0, 0, 0)}, "each is a TCP port of its own"),
        (BrokerConfig, {"name": "b", "advertise": "rack 7"}, "--advertise: 'rack 7' is no address"),
        (BrokerConfig, {"name": "b", "advertise": "tcp://b1"}, "--advertise: 'tcp://b1' is no address"),
        (BrokerConfig, {"name": "b", "bind": "10.0.0.1,10.0.0.2"}, "--bind: .* is no address"),
        (BrokerConfig, {"name": "b", "holding_s": float("nan")}, "are times, in seconds"),
        (BrokerConfig, {"name": "b", "stuck_s": -1.0}, "are times, in seconds"),
        (BrokerConfig, {}, "name"),
        (WorkerConfig, {"name": ""}, "worker name"),
        (WorkerConfig, {"name": "w", "cpus": -1}, "negative"),
        (BrokerConfig, {"name": "b", "ports": ("1", "2")}, "four are wanted"),
        (BrokerConfig, {"name": "b", "zk": "a..b:2181"}, "is not host:port"),
        (WorkerConfig, {"name": "w", "cpus": float("nan")}, r"cpus \(nan\)"),
        (WorkerConfig, {"name": "w", "cpus": float("inf")}, "more than machines have"),
        (WorkerConfig, {"name": "w", "labels": ("ssd", "")}, "--labels: '' is no label"),
        (WorkerConfig, {"name": "w", "labels": ("zone!=a",)}, "workers have KEY=VALUE"),
        (WorkerConfig, {"name": "w", "session_timeout_s": 500}, "session"),
        (WorkerConfig, {"name": "w", "allow_run_as": ("ann", "b b")}, "'b b' is no login name"),
        (WorkerConfig, {"name": "w", "stream_bytes_max": 2, "spool_bytes_max": 1}, "stream_bytes_max"),
    ],
)
def test_what_cannot_work_is_an_error_with_a_reason(
    form: type[Config], values: dict[str, Any], part: str
) -> None:
    """Before anything is started."""
    with pytest.raises(ConfigError, match=part):
        load(form, **{"zk": "zk:2181", **values})


def test_a_file_that_is_no_toml_is_an_error() -> None:
    """With what its reader says."""
    with pytest.raises(ConfigError, match="not TOML"):
        load(ClientConfig, "zk = = 1")


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (
            {"ALB_SESSION_TIMEOUT_S": "abc"},
            r"ALB_SESSION_TIMEOUT_S in the environment: session_timeout_s cannot be 'abc': it is a number",
        ),
        ({"ALB_PORTS": "1,2,x,4"}, r"ports cannot be \('1', '2', 'x', '4'\): each of it is a whole number"),
    ],
)
def test_a_value_that_does_not_fit_is_named(environ: dict[str, str], said: str) -> None:
    """Which setting, by the name that its author used, and what it was."""
    with pytest.raises(ConfigError, match=said):
        load(BrokerConfig, None, environ, zk="zk:1", name="b")


def test_what_is_no_setting_is_named() -> None:
    """A key of the file that nobody knows."""
    with pytest.raises(ConfigError, match=r"file, line 2: there is no setting 'sesion'"):
        load(BrokerConfig, "\nsesion = 3", zk="zk:1", name="b")
