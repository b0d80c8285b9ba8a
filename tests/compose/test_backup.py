"""What ``docs/operations.md`` types to save the table of the compose cluster, and to bring it back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.compose.console import perform, read_blocks
from tests.compose.stack import Stack
from tests.harness import wait_for
from tests.source_tree import ROOT

PAGE = ROOT / "docs" / "operations.md"
TITLE = "\n### Backup and restore with `docker compose`\n"


def test_backup_and_restore(stack: Stack, tmp_path: Path) -> None:
    """The whole ensemble is lost with its volumes: tasks, results and history are there again."""
    if os.geteuid() != 0:
        pytest.skip("the files of volumes belong to root: run this as root")
    waiting = stack.alb("submit", "--detach", "--label", "nowhere", "true").stdout.decode().strip()
    ended = stack.alb("submit", "--detach", "--name", "saved", "exit 7").stdout.decode().strip()
    assert stack.alb("wait", ended).returncode == 7
    section = PAGE.read_text().partition(TITLE)[2].partition("\n## ")[0]
    blocks = read_blocks(section.replace("/var/backups", str(tmp_path)))
    assert len(blocks) == 2
    perform(blocks, ROOT)
    states = {task: stack.alb_json("status", task)[0]["state"] for task in (waiting, ended)}
    assert states == {waiting: "QUEUED", ended: "FAILED"}
    named = "FROM v_tasks WHERE name = 'saved' GROUP BY exit_code"
    query = f"SELECT exit_code, count(DISTINCT table_id) AS tables {named}"
    wait_for(
        lambda: stack.alb_json("sql", query) == [{"exit_code": 7, "tables": 2}], "the history of both tables"
    )
    assert stack.alb("submit", "echo goes on").stdout == b"goes on\n"
    (dump,) = tmp_path.glob("*/history")
    assert dump.read_bytes().startswith(b"PGDMP")
