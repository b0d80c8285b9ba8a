"""A local cluster remembers its processes in its folder, and ends exactly those."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from alb.local.cluster import (
    STATE_FILE,
    LocalCluster,
    LocalClusterError,
    Member,
    State,
    default_folder,
    down,
    read_state,
)
from alb.local.daemons import Daemon, Life


@pytest.fixture
def sleepers(tmp_path: Path) -> Iterator[list[Daemon]]:
    """Two processes that live, to stand for a broker and a worker."""
    daemons = [Daemon(name, ("sleep", "60"), tmp_path / f"{name}.log") for name in ("b1", "w1")]
    for daemon in daemons:
        daemon.start()
    yield daemons
    for daemon in daemons:
        daemon.kill()


def _remember(folder: Path, *members: tuple[str, Life | None]) -> None:
    folder.mkdir(exist_ok=True)
    roles = {"b": "broker", "w": "worker", "z": "zookeeper"}
    state = State(
        zk="127.0.0.1:1",
        members=tuple(
            Member(
                name=name, role=roles[name[0]], command=("sleep", "60"), log=f"{folder}/{name}.log", life=life
            )
            for name, life in members
        ),
    )
    (folder / STATE_FILE).write_bytes(msgspec.json.encode(state))


def test_the_folder_is_where_the_environment_says() -> None:
    """``$ALB_HOME`` comes first, then ``$XDG_STATE_HOME``, then the user's state folder."""
    assert default_folder({"ALB_HOME": "/a", "XDG_STATE_HOME": "/x"}) == Path("/a/local")
    assert default_folder({"XDG_STATE_HOME": "/x"}) == Path("/x/alb")
    assert default_folder({}) == Path.home() / ".local" / "state" / "alb"


def test_down_ends_what_the_state_file_names(tmp_path: Path, sleepers: list[Daemon]) -> None:
    """Another command ends the processes, by pid and start time, and says their names."""
    _remember(tmp_path / "c", *((daemon.name, daemon.life) for daemon in sleepers))
    said: list[str] = []
    assert down(tmp_path / "c", say=said.append) == ["b1", "w1"]
    assert not any(daemon.running for daemon in sleepers)
    assert said == ["ended b1, w1"]
    assert read_state(tmp_path / "c") is None


def test_down_spares_who_has_the_pid_now(tmp_path: Path, sleepers: list[Daemon]) -> None:
    """A process that only has the pid of one of ours, and began at another time, lives on."""
    stranger = sleepers[0].life
    assert stranger is not None
    _remember(tmp_path / "c", ("b1", Life(stranger.pid, stranger.started - 1)), ("w1", None))
    assert down(tmp_path / "c", say=lambda _: None) == []
    assert sleepers[0].running


def test_down_without_a_cluster_says_so(tmp_path: Path) -> None:
    """It is no error: the wish is fulfilled."""
    said: list[str] = []
    assert down(tmp_path / "none", say=said.append) == []
    assert "nothing is up" in said[0]
    assert not (tmp_path / "none").exists()


def test_purge_removes_the_folder(tmp_path: Path) -> None:
    """Data and logs stay unless the user wants them gone."""
    folder = tmp_path / "c"
    _remember(folder)
    down(folder, say=lambda _: None)
    assert folder.exists()
    down(folder, purge=True, say=lambda _: None)
    assert not folder.exists()


def test_two_commands_at_once_do_not_mix(tmp_path: Path) -> None:
    """While one `up` or `down` works on a folder, another is told to wait."""
    _remember(tmp_path / "c")
    with (tmp_path / "c" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LocalClusterError, match="another"):
            down(tmp_path / "c")


def test_a_broken_state_file_is_named(tmp_path: Path) -> None:
    """The error says which file, and what to do about it."""
    (tmp_path / STATE_FILE).write_text("{")
    with pytest.raises(LocalClusterError, match=rf"{STATE_FILE} cannot be understood .* remove it"):
        read_state(tmp_path)


def test_a_process_that_dies_at_its_start_is_reported_with_its_log(tmp_path: Path) -> None:
    """`start` does not wait for a leader among the dead: it shows the end of the log."""
    _remember(tmp_path, ("b1", None))
    cluster = LocalCluster(tmp_path)
    cluster["b1"].command = ("sh", "-c", "echo no such thing >&2; exit 3")
    cluster._zookeeper_serves = lambda: True  # type: ignore[method-assign]
    with pytest.raises(LocalClusterError, match=r"(?s)b1 has ended.*no such thing"):
        cluster.start(timeout_s=60)
