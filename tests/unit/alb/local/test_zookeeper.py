"""Finding, configuring, starting and killing ZooKeeper servers."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from tests.zookeeper_servers import make_ensemble

from alb.local import zookeeper
from alb.local.daemons import DaemonFailed
from alb.local.zookeeper import (
    Ensemble,
    ZooKeeperMissing,
    ZooKeeperServer,
    find_installation,
    is_serving,
)
from alb_core.errors import ConfigError


@pytest.fixture
def java(tmp_path: Path) -> Path:
    """A folder with something that is called java."""
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


def test_home_is_preferred(java: Path, tmp_path: Path) -> None:
    """A server in $ZOOKEEPER_HOME is taken, with its own logging configuration."""
    (tmp_path / "zk" / "lib").mkdir(parents=True)
    (tmp_path / "zk" / "lib" / "zookeeper-3.9.5.jar").touch()
    found = find_installation({"PATH": str(java.parent), "ZOOKEEPER_HOME": str(tmp_path / "zk")})
    assert (found.java, found.classpath) == (str(java), f"{tmp_path}/zk/conf:{tmp_path}/zk/lib/*")


def test_home_without_a_server_is_an_error(java: Path, tmp_path: Path) -> None:
    """A wrong $ZOOKEEPER_HOME is said, not passed over."""
    with pytest.raises(ZooKeeperMissing, match=r"ZOOKEEPER_HOME=.*holds no lib/zookeeper"):
        find_installation({"PATH": str(java.parent), "ZOOKEEPER_HOME": str(tmp_path)})


def test_package_of_debian_is_found(java: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a home the jar of Debian's package is taken; without that, the error says what to install."""
    monkeypatch.setattr(zookeeper, "_DEBIAN_JARS", tmp_path)
    with pytest.raises(ZooKeeperMissing, match=r"apt-get install zookeeper.*ZOOKEEPER_HOME"):
        find_installation({"PATH": str(java.parent)})
    (tmp_path / "zookeeper.jar").touch()
    assert find_installation({"PATH": str(java.parent)}).classpath.startswith(f"{tmp_path}/zookeeper.jar:")


def test_java_is_needed(tmp_path: Path) -> None:
    """A machine without Java is told so; $JAVA_HOME counts."""
    with pytest.raises(ZooKeeperMissing, match=r"no `java` in PATH.*default-jre-headless"):
        find_installation({"PATH": str(tmp_path)})
    with pytest.raises(ZooKeeperMissing, match=r"no `java` in \$JAVA_HOME/bin"):
        find_installation({"PATH": "/usr/bin", "JAVA_HOME": str(tmp_path)})


@pytest.mark.parametrize("count", [0, 2, 4])
def test_even_ensembles_make_no_sense(tmp_path: Path, count: int) -> None:
    """Two servers survive no more than one."""
    with pytest.raises(ConfigError, match=f"an ensemble of {count}"):
        Ensemble(tmp_path, count)


def test_configuration_of_an_ensemble(tmp_path: Path) -> None:
    """Every server knows all others, its own number, and keeps its log durable and purged."""
    ensemble = Ensemble(tmp_path, 3)
    texts = [(tmp_path / f"z{number}" / "zoo.cfg").read_text().splitlines() for number in (1, 2, 3)]
    members = [[line for line in text if line.startswith("server.")] for text in texts]
    assert len(members[0]) == 3
    assert members[0] == members[1] == members[2]
    assert (tmp_path / "z2" / "data" / "myid").read_text() == "2\n"
    for server, text in zip(ensemble.servers, texts, strict=True):
        assert f"clientPort={server.address.rpartition(':')[2]}" in text
        assert {"tickTime=500", "autopurge.purgeInterval=1", "clientPortAddress=127.0.0.1"} <= set(text)
        assert not any("forceSync" in line for line in text)
    assert ensemble.hosts == ",".join(server.address for server in ensemble.servers)


def test_an_ensemble_is_found_where_it_was(tmp_path: Path) -> None:
    """Clients know its address: each server takes its port again, also where servers are added."""
    before = Ensemble(tmp_path).hosts
    again = Ensemble(tmp_path, 3).hosts.split(",")
    assert (again[0], len(set(again))) == (before, 3)


def test_a_port_that_is_taken_by_now_is_chosen_anew(tmp_path: Path) -> None:
    """Neither that, nor a configuration that names none, keeps a server from starting."""
    before = Ensemble(tmp_path).servers[0].ports.clients.number
    with socket.create_server(("127.0.0.1", before)):
        now = Ensemble(tmp_path).servers[0].ports.clients.number
    assert now != before
    for wrong in ("clientPort=\n", "clientPort=99999\n", ""):
        (tmp_path / "z1" / "zoo.cfg").write_text(wrong)
        assert Ensemble(tmp_path).servers[0].ports.clients.number < 32768


def states(server: ZooKeeperServer) -> tuple[bool, bool]:
    """Return whether a server runs, and whether it serves."""
    return server.running, server.serving


def test_server_lives_dies_and_returns(tmp_path: Path) -> None:
    """A server serves once started, not while frozen or dead, and again after that."""
    with make_ensemble(tmp_path) as ensemble:
        (server,) = ensemble.servers
        assert states(server) == (True, True)
        server.freeze()
        assert states(server) == (True, False)
        server.thaw()
        assert states(server) == (True, True)
        server.kill()
        assert states(server) == (False, False)
        ensemble.start()
        assert states(server) == (True, True)
    assert states(server) == (False, False)


def test_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    """The error has the name, and the end of the log that says why."""
    ensemble = make_ensemble(tmp_path)
    (server,) = ensemble.servers
    (tmp_path / "z1" / "zoo.cfg").write_text("clientPort=nonsense\n")
    with pytest.raises(DaemonFailed, match=r"(?s)z1 ended right after its start.*nonsense"):
        ensemble.start()
    assert not is_serving(server.address)
