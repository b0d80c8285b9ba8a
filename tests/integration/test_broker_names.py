"""Two brokers of one name, as processes: the one that came later gives way, and nobody is deposed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.harness import PATIENCE_S, environ_of

from alb.local.cluster import LocalCluster, alb_command


def test_a_second_broker_of_the_leaders_name_ends(cluster: LocalCluster, tmp_path: Path) -> None:
    """It says who holds the name, where, and what to do; the leader goes on under its epoch."""
    leader = cluster.wait_for_leader()
    second = subprocess.run(
        [*alb_command(), "broker", "--name", leader.broker],
        env=environ_of(cluster) | {"ALB_DUMP_DIR": str(tmp_path), "ALB_DEPOT_DIR": str(tmp_path / "depot")},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    words = f"the name {leader.broker} is held by a living broker on {leader.host} (pid {leader.pid})"
    assert words in second.stderr
    assert "leadership_claimed" not in second.stderr
    assert second.returncode == 1
    after = cluster.wait_for_leader()
    assert (after.epoch, after.incarnation) == (leader.epoch, leader.incarnation)
    cluster.check_alive()
