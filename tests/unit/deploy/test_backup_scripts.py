"""The scripts of a restore refuse what would lose data; what they do: ``tests/chaos/test_restore.py``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.source_tree import ROOT

SEALED = b"a snapshot\x00\x00\x00\x01/"
#: ZooKeeper ends a whole snapshot with a slash.


def _run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    words = ["sh", str(ROOT / "deploy" / script), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def member(tmp_path: Path) -> Path:
    """The dataDir of a member: a whole snapshot, one that is being written, a log, and the epoch files."""
    data = tmp_path / "member"
    (data / "version-2").mkdir(parents=True)
    (data / "myid").write_text("1\n")
    for name, content in {
        "snapshot.10": SEALED,
        "snapshot.20": SEALED[:-3],
        "log.1": b"log",
        "log.11": b"newer",
        "currentEpoch": b"1",
        "acceptedEpoch": b"1",
    }.items():
        (data / "version-2" / name).write_bytes(content)
    return data


def test_a_backup_holds_whole_snapshots_and_all_logs(member: Path, tmp_path: Path) -> None:
    """Neither a half-written snapshot nor the epoch files; nobody else may read it."""
    ran = _run("backup.sh", member, tmp_path / "backup")
    assert ran.returncode == 0, ran.stderr
    assert sorted(path.name for path in (tmp_path / "backup").iterdir()) == ["log.1", "log.11", "snapshot.10"]
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o700


def test_a_backup_is_never_written_over(member: Path, tmp_path: Path) -> None:
    """The one of yesterday may be the only good one."""
    assert _run("backup.sh", member, tmp_path / "backup").returncode == 0
    again = _run("backup.sh", member, tmp_path / "backup")
    assert again.returncode == 1
    assert "exists" in again.stderr


@pytest.mark.parametrize("missing", ["snapshot.10", "log.*"])
def test_a_backup_without_its_parts_is_none(member: Path, tmp_path: Path, missing: str) -> None:
    """It fails, and leaves nothing that looks like a backup."""
    for path in (member / "version-2").glob(missing):
        path.unlink()
    ran = _run("backup.sh", member, tmp_path / "backup")
    assert ran.returncode == 1
    assert "holds no" in ran.stderr
    assert not (tmp_path / "backup").exists()


def test_logs_may_lie_elsewhere(member: Path, tmp_path: Path) -> None:
    """A dataLogDir of its own is saved and restored to one."""
    logs = tmp_path / "logs" / "version-2"
    logs.mkdir(parents=True)
    for path in (member / "version-2").glob("log.*"):
        path.rename(logs / path.name)
    assert _run("backup.sh", member, tmp_path / "backup", logs.parent).returncode == 0
    fresh = tmp_path / "fresh"
    (fresh / "log").mkdir(parents=True)
    ran = _run("restore.sh", tmp_path / "backup", fresh, fresh / "log")
    assert ran.returncode == 0, ran.stderr
    assert [path.name for path in (fresh / "version-2").iterdir()] == ["snapshot.10"]
    assert sorted(path.name for path in (fresh / "log" / "version-2").iterdir()) == ["log.1", "log.11"]


def test_a_restore_does_not_mix_with_other_data(member: Path, tmp_path: Path) -> None:
    """A member that has files keeps them."""
    assert _run("backup.sh", member, tmp_path / "backup").returncode == 0
    ran = _run("restore.sh", tmp_path / "backup", member)
    assert ran.returncode == 1
    assert "holds files" in ran.stderr


def test_a_restore_needs_a_backup(tmp_path: Path) -> None:
    """An empty folder is none; nothing is made."""
    for name in ("backup", "fresh"):
        (tmp_path / name).mkdir()
    ran = _run("restore.sh", tmp_path / "backup", tmp_path / "fresh")
    assert ran.returncode == 1
    assert "no backup" in ran.stderr
    assert list((tmp_path / "fresh").iterdir()) == []


@pytest.mark.parametrize("script", ["backup.sh", "restore.sh", "new-table.sh"])
def test_wrong_usage_is_told(script: str) -> None:
    """No arguments: the usage."""
    ran = _run(script)
    assert ran.returncode == 1
    assert "usage:" in ran.stderr


def test_a_new_table_is_refused_while_brokers_are_registered(tmp_path: Path) -> None:
    """A table that is served must not change under its leader."""
    zkcli = tmp_path / "zkCli.sh"
    zkcli.write_text('#!/bin/sh\necho "$*" >>"$0.log"\necho "[b1, b2]"\n')
    zkcli.chmod(0o755)
    (tmp_path / "sleep").write_text("#!/bin/sh\n")
    (tmp_path / "sleep").chmod(0o755)
    ran = subprocess.run(
        ["sh", str(ROOT / "deploy" / "new-table.sh"), "127.0.0.1:1"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "ZKCLI": str(zkcli)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 1
    assert "[b1, b2]; stop them first" in ran.stderr
    assert " set " not in (tmp_path / "zkCli.sh.log").read_text()
