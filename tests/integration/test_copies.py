"""A straggler on a real cluster: its copy succeeds elsewhere, and its processes are killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.harness import PATIENCE_S, alb, alb_json, wait_for

from alb import Client
from alb.local.cluster import LocalCluster
from alb_core.copies import CopiesNode
from alb_core.errors import InvalidTask

LAGS = """\
[ "$ALB_INDEX" = 5 ] && mkdir "{folder}/lags" 2>/dev/null || exit 0
echo $$ >"{folder}/new" && mv "{folder}/new" "{folder}/pid"
while :; do sleep 0.1; done
"""
#: The first attempt of the last task never ends; its copy finds the directory, and is done.


def test_a_straggler_is_outrun_by_its_copy(cluster: LocalCluster, client: Client, tmp_path: Path) -> None:
    """One result, of the copy; nothing is left of the other; who asks is told what happened, and the cost."""
    array = client.array(LAGS.format(folder=tmp_path), indexes=range(1, 6), speculative=True)
    results = {task.index: task.result() for task in array}
    array.result(PATIENCE_S)
    assert {result.exit_status for result in results.values()} == {0}
    task = f"{array.id}.5"
    record = client.task(task)
    first, copy = record.attempts
    assert (results[5].attempt, copy.copy_of, first.ended_as) == (2, 1, "outrun")
    assert first.worker != copy.worker
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not _lives(pid), "the straggler to be killed")
    wait_for(lambda: all(not each.reserved_cpus for each in client.workers()), "its room to be given back")
    page = client.copies()
    assert page.made >= page.won >= 1
    assert page.wasted_s > 0
    assert page.running == 0
    assert "as a copy of attempt 1" in alb(cluster, "explain", task).stdout
    assert "a copy of 1" in alb(cluster, "status", task).stdout
    assert "ran in vain" in alb(cluster, "status").stdout


def test_copies_are_switched_off_and_on(cluster: LocalCluster, client: Client) -> None:
    """By the command line; what makes no sense changes nothing."""
    before = client.copies().copies
    try:
        assert alb_json(cluster, "copies", "set", "--share", "0")["copies"]["share"] == 0
        assert client.copies().copies.share == 0
        with pytest.raises(InvalidTask, match="not between 0"):
            client.set_copies(CopiesNode(share=7.0))
    finally:
        client.set_copies(before)
    assert client.copies().copies == before


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
