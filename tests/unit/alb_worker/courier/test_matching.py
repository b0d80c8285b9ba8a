"""Which files a pattern means: as in a shell, and never anything outside the directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alb_worker.courier import matching
from alb_worker.courier.errors import NotMoved
from alb_worker.courier.matching import Found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with files, folders, hidden ones, links, and a pipe; and a secret beside it."""
    (tmp_path / "secret").write_text("s")
    home = tmp_path / "home"
    for name in ("a.csv", "b.csv", ".hidden", "out/c.csv", "out/deep/d.csv", "out/.e", "[x]"):
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (home / "link").symlink_to(tmp_path / "secret")
    (home / "folder").symlink_to(tmp_path)
    (home / "inner").symlink_to(home / "out")
    os.mkfifo(home / "pipe")
    return home


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.csv", ["a.csv"]),
        ("*.csv", ["a.csv", "b.csv"]),
        ("?.csv", ["a.csv", "b.csv"]),
        ("[ab].csv", ["a.csv", "b.csv"]),
        ("[!a].csv", ["b.csv"]),
        ("[[]x]", ["[x]"]),
        ("*", ["[x]", "a.csv", "b.csv"]),
        (".*", [".hidden"]),
        ("out/*", ["out/c.csv"]),
        ("*/*.csv", ["out/c.csv"]),
        ("**/*.csv", ["a.csv", "b.csv", "out/c.csv", "out/deep/d.csv"]),
        ("out/**", ["out/c.csv", "out/deep/d.csv"]),
        ("**", ["[x]", "a.csv", "b.csv", "out/c.csv", "out/deep/d.csv"]),
        ("out", []),
        ("link", []),
        ("folder/secret", []),
        ("folder/*", []),
        ("inner/c.csv", []),
        ("pipe", []),
        ("a.csv/b", []),
        ("none*", []),
    ],
)
def test_a_pattern_means_these_files(home: Path, pattern: str, names: list[str]) -> None:
    """Regular files; no folder, no link, no pipe."""
    found = Found(str(home), [pattern])
    assert found.names == names
    assert found.unmatched == ([] if names else [pattern])


def test_a_file_comes_once(home: Path) -> None:
    """Whatever many patterns mean it."""
    assert Found(str(home), ["*.csv", "a*", "**/a.csv"]).names == ["a.csv", "b.csv"]


def test_a_directory_with_too_much_is_given_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command may leave a million files; who wants them back makes an archive."""
    monkeypatch.setattr(matching, "ENTRIES_MAX", 3)
    with pytest.raises(NotMoved, match="return one archive"):
        Found(str(home), ["**"])
