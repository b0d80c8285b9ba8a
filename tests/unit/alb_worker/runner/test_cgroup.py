"""Control groups are named after homes, and killing one ends all that is in it."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from pathlib import Path

import pytest

from alb_worker.runner import cgroup
from alb_worker.runner.hierarchies import Place, own_places


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
    places = [place for place in own_places() if os.access(f"{place.path}/cgroup.procs", os.W_OK)]
    if not places:
        pytest.skip("no control group that we may write to")
    group = Path(places[0].path) / cgroup.group_name(home, "w1", "i")
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


def test_a_runners_groups_are_found_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are looked for where this process is, in every hierarchy; where there is none, none is told."""
    one, other = (Place(2, frozenset(), str(tmp_path / name)) for name in ("one", "other"))
    (tmp_path / "one" / "alb-test").mkdir(parents=True)
    monkeypatch.setattr(cgroup, "own_places", lambda **_: [one, other])
    assert cgroup.groups_named("alb-test") == [tmp_path / "one" / "alb-test"]
