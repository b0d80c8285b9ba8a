"""Groups of attempts: made, bounded, filled, asked and removed, on a drawn tree; killed, on the real one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from alb_core.bounds import NO_BOUNDS, Bounds
from alb_worker.runner import groups
from alb_worker.runner.groups import CGROUP1, CGROUP2, SAMPLING, AttemptGroup, RunnerGroups
from alb_worker.runner.hierarchies import Place, own_places

BOUNDS = Bounds(memory_bytes=100_000_000, processes=7)
FILES_V2 = (
    "cgroup.procs",
    "cgroup.kill",
    "cgroup.subtree_control",
    "cpu.weight",
    "memory.max",
    "memory.swap.max",
    "pids.max",
)
FILES_V1 = ("cgroup.procs", "memory.limit_in_bytes", "pids.max", "freezer.state")


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every folder that is made have the files that the kernel would put there."""
    mkdir, rmdir = os.mkdir, os.rmdir

    def make(path: str, mode: int = 0o777) -> None:
        mkdir(path, mode)
        if not str(path).startswith(str(tmp_path)):
            return
        for name in FILES_V1 if "/v1" in str(path) else FILES_V2:
            Path(path, name).touch()

    def remove(path: str) -> None:
        for name in Path(path).iterdir():
            if name.is_file():
                name.unlink()
        rmdir(path)

    monkeypatch.setattr(os, "mkdir", make)
    monkeypatch.setattr(os, "rmdir", remove)


def places(tmp_path: Path, *versions: tuple[int, str]) -> list[Place]:
    """Draw hierarchies: each a version and its controllers."""
    found = []
    for number, (version, controllers) in enumerate(versions):
        path = tmp_path / f"v{version}-{number}"
        path.mkdir()
        for name in ("cgroup.procs", "cgroup.subtree_control"):
            (path / name).touch()
        found.append(Place(version, frozenset(controllers.split()), str(path)))
    return found


@pytest.mark.usefixtures("drawn")
def test_version_2_with_controllers_holds_and_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner shares the controllers out, writes the bounds, and nothing but version 2 is needed."""
    (place,) = drawn_places = places(tmp_path, (2, "memory pids cpu"))
    monkeypatch.setattr(groups, "own_places", lambda: drawn_places)
    runner = RunnerGroups("alb-test")
    assert (runner.mechanism, runner.kills, runner.path) == (CGROUP2, True, f"{place.path}/alb-test")
    base = Path(runner.path)
    assert (base / "young/cgroup.procs").read_text() == "0"
    group = runner.make(BOUNDS)
    assert group is not None
    assert (group.mechanism, group.killer, group.holds) == (CGROUP2, CGROUP2, {"memory", "pids"})
    assert [(base / "a1" / name).read_text() for name in ("memory.max", "memory.swap.max")] == [
        "100000000",
        "0",
    ]
    assert (base / "a1/pids.max").read_text() == "7"
    assert group.weaken()
    assert (base / "a1/cpu.weight").read_text() == "1"
    group.add(42)
    assert group.members() == [42]
    assert group.kill()
    assert (base / "a1/cgroup.kill").read_text() == "1"
    runner.discard(group)
    assert not (base / "a1").exists()


@pytest.mark.usefixtures("drawn")
def test_what_the_kernel_counts_is_read(tmp_path: Path) -> None:
    """Version 2 tells time, peak, kills and refusals."""
    (place,) = places(tmp_path, (2, "memory pids"))
    group = AttemptGroup(1, [place.below("a1")], BOUNDS)
    told = {
        "cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
        "memory.peak": "4096\n",
        "memory.events": "oom 3\noom_kill 2\n",
        "pids.events": "max 5\n",
    }
    for name, text in told.items():
        Path(place.path, "a1", name).write_text(text)
    use = group.use()
    assert (use.cpu_s, use.peak_bytes, use.kernel_kills, use.refused_forks) == (2.5, 4096, 2, 5)


@pytest.mark.usefixtures("drawn")
def test_version_1_brings_what_version_2_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without controllers version 2 kills and version 1 holds; a freezer is not needed then."""
    found = places(tmp_path, (2, ""), (1, "freezer"), (1, "memory"), (1, "pids"))
    monkeypatch.setattr(groups, "own_places", lambda: found)
    runner = RunnerGroups("alb-test")
    assert runner.mechanism == CGROUP1
    assert not Path(found[1].path, "alb-test").exists()
    group = runner.make(BOUNDS)
    assert group is not None
    assert (group.mechanism, group.killer) == (CGROUP1, CGROUP2)
    assert Path(found[2].path, "alb-test/a1/memory.limit_in_bytes").read_text() == "100000000"
    unbounded = runner.make(NO_BOUNDS)
    assert unbounded is not None
    assert (unbounded.mechanism, unbounded.holds) == (SAMPLING, frozenset())


@pytest.mark.usefixtures("drawn")
def test_a_mechanism_can_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the hierarchies of that version are entered; with sampling none is."""
    found = places(tmp_path, (2, "memory"), (1, "freezer"), (1, "pids"))
    monkeypatch.setattr(groups, "own_places", lambda: found)
    first = RunnerGroups("alb-one", CGROUP1)
    assert (first.mechanism, first.kills) == (CGROUP1, True)
    assert not Path(found[0].path, "alb-one").exists()
    second = RunnerGroups("alb-two", SAMPLING)
    assert (second.mechanism, second.kills, second.path) == (SAMPLING, False, "")
    assert second.make(BOUNDS) is None
    assert second.number_of(os.getpid()) == 0


@pytest.mark.usefixtures("drawn")
def test_the_young_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork bomb meets a limit before it has a group; all attempts together leave room for others."""
    found = places(tmp_path, (1, "pids"))
    monkeypatch.setattr(groups, "own_places", lambda: found)
    base = Path(RunnerGroups("alb-test").path)
    young, everyone = int((base / "young/pids.max").read_text()), int((base / "pids.max").read_text())
    assert groups.YOUNG_PROCESSES_MIN <= young <= everyone
    assert everyone <= int(Path("/proc/sys/kernel/pid_max").read_text()) // 2


def test_a_hierarchy_that_refuses_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no group can be made nothing is left, and attempts are held by sampling."""
    monkeypatch.setattr(groups, "own_places", lambda: [Place(2, frozenset(), str(tmp_path / "gone"))])
    runner = RunnerGroups("alb-test")
    assert (runner.path, runner.mechanism) == ("", SAMPLING)
    runner.leave()


def test_an_agent_makes_way_for_its_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where controllers cannot be shared out because the agent is in the group, it is moved to a leaf."""
    (place,) = places(tmp_path, (2, "memory"))
    Path(place.path, "cgroup.procs").write_text(f"{os.getppid()}\n")
    leaf = Path(place.path, "alb-agent")
    leaf.mkdir()
    (leaf / "cgroup.procs").touch()
    refused: list[str] = []

    def write(path: str, _text: str) -> bool:
        refused.append(path)
        return len(refused) > 1

    monkeypatch.setattr(groups, "_try_write", write)
    assert groups._share(place, "memory")
    assert (leaf / "cgroup.procs").read_text() == str(os.getppid())
    Path(place.path, "cgroup.procs").write_text("1\n2\n")
    refused.clear()
    assert not groups._share(place, "memory"), "others' processes are not ours to move"


@pytest.fixture(params=[CGROUP2, CGROUP1])
def real(request: pytest.FixtureRequest) -> Iterator[AttemptGroup]:
    version = 2 if request.param == CGROUP2 else 1
    found = [
        place
        for place in own_places()
        if place.version == version and (version == 2 or "freezer" in place.controllers)
    ]
    try:
        group = AttemptGroup(1, [place.below(f"alb-test-{os.getpid()}") for place in found[:1]], NO_BOUNDS)
    except OSError:
        pytest.skip("no control group can be made here")
    if not found:
        pytest.skip("there is no such hierarchy")
    yield group
    assert group.remove()


def test_everything_in_a_group_dies_at_once(real: AttemptGroup) -> None:
    """Also what is stopped; and while somebody is there the group stays."""
    sleepers = [subprocess.Popen(["sleep", "600"]) for _ in range(3)]
    sleepers[0].send_signal(signal.SIGSTOP)
    for sleeper in sleepers:
        real.add(sleeper.pid)
    assert sorted(real.members()) == sorted(sleeper.pid for sleeper in sleepers)
    assert not real.remove()
    assert real.kill()
    assert [sleeper.wait(60) for sleeper in sleepers] == [-signal.SIGKILL] * 3
