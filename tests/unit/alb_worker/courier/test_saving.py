"""Saving while the command writes: whole files, of one moment where that is possible, each sent once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.worker_parts import attempt

from alb_core import limits
from alb_core.errors import WrongContent
from alb_core.io import transfer
from alb_core.io.transfer import Content
from alb_worker.courier.depots import RETURN_S
from alb_worker.courier.errors import NotMoved
from alb_worker.courier.messages import Save, Saved
from alb_worker.courier.saving import READS_MAX, WHILE_RUNNING_S, Saver


class Depots:
    """Depots that take everything, unless a test wants something to happen meanwhile."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.within: list[float] = []
        self.meanwhile: Callable[[], None] | None = None

    def store(self, content: Content, descriptor: int, _goes_on: object, within_s: float) -> None:
        """Take a file; complain where it is something else by now, as depots do."""
        self.within.append(within_s)
        if self.meanwhile is not None:
            self.meanwhile()
        found = transfer.content_of(descriptor)
        if found != content:
            raise WrongContent(content.sha256, found.sha256)
        self.taken.append(content.sha256)


@pytest.fixture
def depots() -> Depots:
    return Depots()


def save(
    depots: Depots, folder: Path, *patterns: str, before: Saved | None = None, last: bool = False
) -> Saved:
    """Save what matches."""
    order = Save(
        attempt=attempt(1),
        directory=str(folder),
        patterns=patterns or ("*",),
        seen=before.seen if before is not None else (),
        last=last,
    )
    return Saver(depots).save(order, transfer.always)  # type: ignore[arg-type]


def held(saved: Saved) -> dict[str, str]:
    """Return the digests of a checkpoint."""
    assert not saved.trouble
    return {file.name: file.sha256 for file in saved.files}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_only_what_changed_is_sent(depots: Depots, tmp_path: Path) -> None:
    """And a checkpoint names all of it."""
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("1b")
    first = save(depots, tmp_path)
    (tmp_path / "a").write_text("2")
    second = save(depots, tmp_path, before=first)
    assert held(second) == {"a": sha256("2"), "b": sha256("1b")}
    assert depots.taken == [sha256("1"), sha256("1b"), sha256("2")]
    (tmp_path / "b").unlink()
    assert held(save(depots, tmp_path, before=second)) == {"a": sha256("2")}
    assert set(depots.within) == {WHILE_RUNNING_S}


def test_a_change_of_the_same_length_is_seen(depots: Depots, tmp_path: Path) -> None:
    """However soon after the last save it comes, and whatever time the command gives the file."""
    saved = None
    for number in range(10, 40):
        (tmp_path / "a").write_text(str(number))
        os.utime(tmp_path / "a", (1, 1))
        saved = save(depots, tmp_path, before=saved)
        assert held(saved) == {"a": sha256(str(number))}


def test_a_file_that_is_written_to_is_read_again(depots: Depots, tmp_path: Path) -> None:
    """What a depot refuses is no checkpoint."""
    path = tmp_path / "a"
    path.write_text("half")

    def go_on() -> None:
        depots.meanwhile = None
        path.write_text("whole")

    depots.meanwhile = go_on
    assert held(save(depots, tmp_path)) == {"a": sha256("whole")}


def test_a_file_that_is_never_whole_is_not_saved(depots: Depots, tmp_path: Path) -> None:
    """The sentence says what to do."""
    path = tmp_path / "a"
    path.write_text("x")

    def go_on() -> None:
        path.write_text(path.read_text() + "x")

    depots.meanwhile = go_on
    saved = save(depots, tmp_path)
    assert "rename it when it is whole" in saved.trouble
    assert len(depots.within) == READS_MAX


def test_a_file_that_is_replaced_is_whole(depots: Depots, tmp_path: Path) -> None:
    """Whoever renames is never waited for."""
    (tmp_path / "a").write_text("old")

    def replace() -> None:
        (tmp_path / ".new").write_text("new")
        (tmp_path / ".new").rename(tmp_path / "a")

    depots.meanwhile = replace
    assert held(save(depots, tmp_path)) == {"a": sha256("old")}
    assert len(depots.within) == 1


def test_files_that_belong_together_are_of_one_moment(depots: Depots, tmp_path: Path) -> None:
    """What changed while the others were read is read again."""
    for name in ("a", "b"):
        (tmp_path / name).write_text("1")

    def step() -> None:
        depots.meanwhile = None
        for name in ("a", "b"):
            (tmp_path / ".new").write_text("2")
            (tmp_path / ".new").rename(tmp_path / name)

    depots.meanwhile = step
    assert held(save(depots, tmp_path)) == {"a": sha256("2"), "b": sha256("2")}


def test_the_last_save_is_patient(depots: Depots, tmp_path: Path) -> None:
    """Nobody tries again after it."""
    (tmp_path / "a").write_text("1")
    save(depots, tmp_path, last=True)
    assert depots.within == [RETURN_S]


def test_what_makes_no_checkpoint_says_why(depots: Depots, tmp_path: Path) -> None:
    """Too many files, a directory that is gone, depots that do not take it."""
    (tmp_path / "a").write_text("1")

    def refuse() -> None:
        raise NotMoved("no depot takes the file")

    depots.meanwhile = refuse
    assert save(depots, tmp_path).trouble == "no depot takes the file"
    assert "is not there any more" in save(depots, tmp_path / "gone").trouble
    for number in range(limits.CHECKPOINT_FILES_MAX):
        (tmp_path / str(number)).touch()
    assert "save one archive instead" in save(depots, tmp_path).trouble


def test_neither_links_nor_pipes_are_saved(depots: Depots, tmp_path: Path) -> None:
    """Nothing outside the directory is read, and nobody waits for a writer."""
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    assert held(save(depots, tmp_path)) == {}
