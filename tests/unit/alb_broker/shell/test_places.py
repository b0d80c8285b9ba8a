"""What a broker says at its start of the directories that it will write to."""

from __future__ import annotations

from pathlib import Path

import pytest

from alb_broker.shell.places import examine_places
from alb_core.config import BrokerConfig


def _said(dump_dir: object, depot_dir: object) -> list[tuple[str, str]]:
    config = BrokerConfig(zk="zk:1", name="b", dump_dir=str(dump_dir), depot_dir=str(depot_dir))
    notes = examine_places(config)
    assert {note.event for note in notes} <= {"directory_unusable"}
    return [(note.fields["setting"], note.fields["why"]) for note in notes]


def test_directories_that_will_do_are_not_mentioned(tmp_path: Path) -> None:
    """Also where that of the depot is still to be made, or is the usual one."""
    assert _said(tmp_path, tmp_path / "to" / "be" / "made") == []
    assert _said(tmp_path, "") == []


def test_a_directory_that_is_missing_or_none_is_told(tmp_path: Path) -> None:
    """Nobody makes the one for dumps; a file is no place for a depot."""
    (tmp_path / "file").write_text("")
    assert _said(tmp_path / "absent", tmp_path / "file" / "depot") == [
        ("dump_dir", "there is no such directory"),
        ("depot_dir", "there is no such directory"),
    ]


def test_a_directory_of_somebody_else_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a volume is that was made by another image."""
    monkeypatch.setattr("os.access", lambda *_: False)  # the tests may run as root, who may write anywhere
    why = "this user cannot write to it"
    assert _said(tmp_path, tmp_path / "depot") == [("dump_dir", why), ("depot_dir", why)]
