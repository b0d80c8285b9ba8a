"""Control groups are named after homes, and killing one ends all that is in it."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from pathlib import Path

import pytest

from alb_worker.runner import cgroup


def test_names_tell_homes_and_runners_apart() -> None:
    """All runners of a home share a prefix that no other home has."""
    one, two = cgroup.group_name("/a", "w1", "i.1"), cgroup.group_name("/a", "w1", "i.2")
    assert one != two
    assert one.startswith(cgroup.group_prefix("/a"))
    assert two.startswith(cgroup.group_prefix("/a"))
    assert not cgroup.group_name("/b", "w1", "i.1").startswith(cgroup.group_prefix("/a"))


def test_a_group_is_found_and_killed_with_all_in_it() -> None:
    """A process and one in a group below it are ended, and the groups are removed."""
    home = f"/nowhere/{uuid.uuid4().hex}"
    parent = cgroup.own_group()
    if parent is None or not os.access(parent / "cgroup.procs", os.W_OK):
        pytest.skip("no control group of version 2 that we may write to")
    group = parent / cgroup.group_name(home, "w1", "i")
    inner = group / "inner"
    inner.mkdir(parents=True)
    sleepers = [subprocess.Popen(["sleep", "600"]) for _ in range(2)]
    for directory, sleeper in zip((group, inner), sleepers, strict=True):
        (directory / "cgroup.procs").write_text(str(sleeper.pid))
    assert list(cgroup.groups_of(home)) == [group]
    assert sorted(cgroup.members(group)) == sorted(sleeper.pid for sleeper in sleepers)
    cgroup._kill_members(group)
    assert [sleeper.wait() for sleeper in sleepers] == [-signal.SIGKILL] * 2
    assert cgroup.kill(group, 10.0)
    assert not group.exists()
    assert list(cgroup.groups_of(home)) == []


def test_a_place_where_no_group_can_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is no group of version 2, or none may be made, the answer is None and nothing is left."""
    monkeypatch.setattr(cgroup, "mount_point", lambda: None)
    assert cgroup.enter("alb-test") is None
    assert list(cgroup.groups_of("/nowhere")) == []
    monkeypatch.setattr(cgroup, "own_group", lambda: tmp_path / "missing")
    assert cgroup.enter("alb-test") is None
