"""Control groups: limits of a group and its ancestors, in both versions, from files as kernels write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from alb_worker.shell.cgroup import Cgroup

V2_MOUNT = "41 31 0:38 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "33 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


def tree(root: Path, group: str, mounts: str, files: dict[str, str]) -> Cgroup:
    """Write a machine's files and return its control group."""
    written = {"proc/self/cgroup": group, "proc/self/mountinfo": mounts} | {
        f"sys/fs/cgroup/{path}": text for path, text in files.items()
    }
    for path, text in written.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return Cgroup(root)


def test_version_2_takes_the_least_of_group_and_ancestors(tmp_path: Path) -> None:
    """A limit of a parent holds too: half a processor here, a quarter of the memory there."""
    group = tree(
        tmp_path,
        "0::/user/alb\n",
        V2_MOUNT,
        {
            "user/alb/cpu.max": "max 100000\n",
            "user/cpu.max": "50000 100000\n",
            "user/alb/memory.max": "2000\n",
            "user/memory.max": "max\n",
            "user/alb/cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
            "user/alb/memory.current": "900\n",
            "user/alb/memory.stat": "anon 5\ninactive_file 300\n",
        },
    )
    assert group.cpus_max() == 0.5
    assert group.memory_max_bytes() == 2000
    assert group.cpu_used_s() == 2.5
    assert group.memory_used_bytes() == 600


def test_version_1_takes_the_least_too(tmp_path: Path) -> None:
    """Quota and period make processors; -1 and huge numbers are no limit."""
    group = tree(
        tmp_path,
        "4:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n1:name=systemd:/x\n",
        V1_MOUNTS,
        {
            "cpu,cpuacct/docker/a/cpu.cfs_quota_us": "-1\n",
            "cpu,cpuacct/docker/a/cpu.cfs_period_us": "100000\n",
            "cpu,cpuacct/docker/cpu.cfs_quota_us": "150000\n",
            "cpu,cpuacct/docker/cpu.cfs_period_us": "100000\n",
            "cpu,cpuacct/docker/a/cpuacct.usage": "1500000000\n",
            "memory/docker/a/memory.limit_in_bytes": "4096\n",
            "memory/docker/memory.limit_in_bytes": "9223372036854771712\n",
            "memory/docker/a/memory.usage_in_bytes": "1000\n",
        },
    )
    assert group.cpus_max() == 1.5
    assert group.memory_max_bytes() == 4096
    assert group.cpu_used_s() == 1.5
    assert group.memory_used_bytes() == 1000


def test_a_container_sees_its_own_group_at_the_mount(tmp_path: Path) -> None:
    """Version 1 names the host's path, which a container does not have: its limits are at the mount point."""
    group = tree(
        tmp_path,
        "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n",
        V1_MOUNTS.replace(" / /sys", " /docker/abc /sys"),
        {"memory/memory.limit_in_bytes": "777\n", "cpu,cpuacct/cpu.cfs_quota_us": "-1\n"},
    )
    assert group.memory_max_bytes() == 777
    assert group.cpus_max() is None


def test_a_mixed_machine_uses_version_1_where_it_has_the_controllers(tmp_path: Path) -> None:
    """Version 2 mounted beside version 1 holds no limits then, in whatever order the mounts are listed."""
    for order, mounts in enumerate(
        (V1_MOUNTS + V2_MOUNT.replace("cgroup rw", "cgroup/unified rw"), V2_MOUNT + V1_MOUNTS)
    ):
        group = tree(
            tmp_path / str(order),
            "4:memory:/a\n3:cpu,cpuacct:/a\n0::/\n",
            mounts,
            {"memory/a/memory.limit_in_bytes": "5000\n", "cpu,cpuacct/a/cpu.cfs_quota_us": "-1\n"},
        )
        assert group.memory_max_bytes() == 5000


@pytest.mark.parametrize("text", ["max 100000", "", "x y", "5", "100 0"])
def test_a_limit_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    """Nothing here is an error: without a number there is no limit."""
    group = tree(tmp_path, "0::/a\n", V2_MOUNT, {"a/cpu.max": text, "a/memory.max": "max"})
    assert group.cpus_max() is None
    assert group.memory_max_bytes() is None


def test_a_machine_without_control_groups_has_no_limits(tmp_path: Path) -> None:
    """No file, no limit, no use."""
    group = Cgroup(tmp_path)
    found = (group.cpus_max(), group.memory_max_bytes(), group.cpu_used_s(), group.memory_used_bytes())
    assert found == (None, None, None, None)
