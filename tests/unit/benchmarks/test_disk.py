"""Where a benchmark may run: on a disk, and on a ZooKeeper that syncs to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from disk import MEMORY_FILE_SYSTEMS, file_system_of, measure_fsync_ms
from ground import BenchmarkFailed, demand_sync

MOUNTS = """\
/dev/vda / ext4 rw,relatime 0 0
tmpfs /run tmpfs rw,nosuid 0 0
/dev/vdb /run/lock ext4 rw 0 0
tmpfs /mnt/a\\040b tmpfs rw 0 0
/dev/vdc /home xfs rw 0 0
tmpfs /home tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/srv/checkout", "ext4"),
        ("/run/x", "tmpfs"),
        ("/run", "tmpfs"),
        ("/running", "ext4"),
        ("/run/lock/x", "ext4"),
        ("/mnt/a b/c", "tmpfs"),
        ("/home/me", "tmpfs"),
    ],
)
def test_a_path_lies_on_its_innermost_newest_mount(path: str, expected: str) -> None:
    """The deepest mount wins, of two at one place the later, and a common prefix of names means nothing."""
    assert file_system_of(Path(path), MOUNTS) == expected


def test_memory_is_told_from_disks() -> None:
    """What the kernel keeps in memory is refused, what it keeps on disks is not."""
    assert {"tmpfs", "ramfs"} <= MEMORY_FILE_SYSTEMS
    assert not MEMORY_FILE_SYSTEMS & {"ext4", "xfs", "btrfs", "overlay", "zfs"}


def test_an_fsync_takes_time_and_leaves_nothing(tmp_path: Path) -> None:
    """The measurement is positive, and its file is gone afterwards."""
    assert measure_fsync_ms(tmp_path) > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flag", "line", "allowed"),
    [
        ("-Xmx1g", "tickTime=500", True),
        ("-Xmx1g", "forceSync=yes", True),
        ("-Xmx1g", "forceSync=no", False),
        ("-Dzookeeper.forceSync=no", "tickTime=500", False),
        ("-Dzookeeper.forceSync=yes", "tickTime=500", True),
    ],
)
def test_a_zookeeper_that_does_not_sync_is_refused(
    tmp_path: Path, flag: str, line: str, *, allowed: bool
) -> None:
    """ZooKeeper syncs by default; switching it off, in its file or as a property, ends the benchmark."""
    file = tmp_path / "zoo.cfg"
    file.write_text(f"{line}\n")
    command = ("java", flag, "Main", str(file))
    if allowed:
        demand_sync(command)
    else:
        with pytest.raises(BenchmarkFailed, match="sync"):
            demand_sync(command)
