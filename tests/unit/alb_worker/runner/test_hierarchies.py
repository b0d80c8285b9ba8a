"""Where a process is in the hierarchies of control groups, on machines of every kind, drawn as folders."""

from __future__ import annotations

from pathlib import Path

from alb_worker.runner.hierarchies import Place, mount_points, own_places


def machine(root: Path, cgroup: str, mounts: list[str], folders: dict[str, str]) -> Path:
    """Draw a machine: ``/proc/self/cgroup``, its mounts, and folders with what their controllers are."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    (root / "proc/self/mountinfo").write_text("".join(f"{mount}\n" for mount in mounts))
    for folder, controllers in folders.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / "cgroup.controllers").write_text(controllers)
    return root


def test_version_2_alone(tmp_path: Path) -> None:
    """The group's controllers are what it may share out."""
    root = machine(
        tmp_path,
        "0::/alb.service\n",
        ["30 1 0:1 / /cg rw - cgroup2 cgroup2 rw"],
        {"cg/alb.service": "cpu memory pids"},
    )
    (place,) = own_places(root)
    assert place == Place(2, frozenset({"cpu", "memory", "pids"}), str(root / "cg/alb.service"))
    assert mount_points(root) == [str(root / "cg")]


def test_both_versions_beside_each_other(tmp_path: Path) -> None:
    """Version 2 comes first; of version 1 those hierarchies count that hold or end something."""
    root = machine(
        tmp_path,
        "5:pids:/\n4:memory:/a/b\n2:cpu,cpuacct:/x\n0::/\n",
        [
            "30 1 0:1 / /cg/unified rw - cgroup2 cgroup2 rw",
            "31 1 0:2 / /cg/pids rw - cgroup cgroup rw,pids",
            "32 1 0:3 / /cg/memory rw - cgroup cgroup rw,memory",
            "33 1 0:4 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct",
        ],
        {"cg/unified": "", "cg/pids": "", "cg/memory/a/b": "", "cg/cpu/x": ""},
    )
    assert [(place.version, sorted(place.controllers)) for place in own_places(root)] == [
        (2, []),
        (1, ["memory"]),
        (1, ["pids"]),
    ]


def test_a_container_sees_only_its_part(tmp_path: Path) -> None:
    """The mount's own root in the hierarchy is no part of the path below the mount."""
    root = machine(
        tmp_path,
        "4:memory:/docker/abc/worker\n",
        ["32 1 0:3 /docker/abc /cg/memory rw - cgroup cgroup rw,memory"],
        {"cg/memory/worker": ""},
    )
    assert [place.path for place in own_places(root)] == [str(root / "cg/memory/worker")]


def test_an_agent_that_made_way_counts_as_where_it_was(tmp_path: Path) -> None:
    """The next runner's group is beside the agent's, not below it."""
    root = machine(
        tmp_path,
        "0::/alb.service/alb-agent\n",
        ["30 1 0:1 / /cg rw - cgroup2 cgroup2 rw"],
        {"cg/alb.service/alb-agent": "", "cg/alb.service": "memory"},
    )
    assert [place.path for place in own_places(root)] == [str(root / "cg/alb.service")]


def test_no_control_groups_at_all(tmp_path: Path) -> None:
    """Where nothing is mounted, or nothing can be read, there is no place."""
    assert own_places(machine(tmp_path / "one", "", [], {})) == []
    assert own_places(tmp_path / "other") == []
    hidden = machine(tmp_path / "third", "0::/x\n", ["30 1 0:1 / /cg rw - cgroup2 cgroup2 rw"], {})
    assert own_places(hidden) == []
