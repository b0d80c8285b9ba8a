"""Fresh directories are empty, private, used again only when untouched, and removed otherwise."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alb_worker.runner import directories as module
from alb_worker.runner.directories import FreshDirectories, clear_prepared


@pytest.fixture
def directories(tmp_path: Path) -> FreshDirectories:
    directories = FreshDirectories(str(tmp_path), lambda: None)
    directories.start()
    return directories


def wait_for_removers(directories: FreshDirectories) -> int:
    """Play the runner's part: reap removers until there is none; returns how many there were."""
    count = 0
    while directories.removers:
        os.waitpid(directories.removers[0], 0)
        directories.remover_ended()
        count += 1
    return count


def test_an_untouched_directory_is_given_out_again(directories: FreshDirectories) -> None:
    """What comes back as it was given costs no second mkdir."""
    first = directories.take()
    assert Path(first.path).stat().st_mode & 0o777 == 0o700
    directories.give_back(first)
    assert directories.take() is first


def test_a_settled_directory_is_known_by_its_stamp(
    directories: FreshDirectories, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it was found empty late enough nobody lists it again; a change is seen all the same."""
    monkeypatch.setattr(module, "COARSE_S", -1.0)
    directory = directories.take()
    directories.give_back(directory)
    monkeypatch.setattr(os, "listdir", lambda _: pytest.fail("it was listed"))
    assert directories.take() is directory
    directories.give_back(directory)
    assert directories.take() is directory
    Path(directory.path, "file").touch()
    directories.give_back(directory)
    assert directories.take() is not directory


def test_two_at_once_are_different(directories: FreshDirectories) -> None:
    """No two commands share a directory."""
    assert directories.take().path != directories.take().path


@pytest.mark.parametrize("change", ["file", "mode", "moved", "removed", "replaced", "made and removed"])
def test_a_changed_directory_is_never_given_out_again(directories: FreshDirectories, change: str) -> None:
    """Whatever a command did to its directory, the next one gets an empty one of mode 0700."""
    directory = directories.take()
    path = Path(directory.path)
    if change == "file":
        (path / "file").touch()
    elif change == "mode":
        path.chmod(0o755)
    elif change == "moved":
        path.rename(path.with_name("elsewhere"))
    else:
        path.rmdir()
        if change != "removed":
            path.mkdir(mode=0o700)
        if change == "replaced":
            (path / "file").touch()
    directories.give_back(directory)
    second = directories.take()
    assert not list(Path(second.path).iterdir())
    assert Path(second.path).stat().st_mode & 0o777 == 0o700
    wait_for_removers(directories)


def test_trees_are_removed_by_a_child_a_batch_at_a_time(
    directories: FreshDirectories, tmp_path: Path
) -> None:
    """Directories that come back while one is removed are removed together, unreadable ones too."""
    taken = [directories.take() for _ in range(20)]
    for directory in taken:
        locked = Path(directory.path, "deep")
        locked.mkdir()
        (locked / "file").touch()
        locked.chmod(0o500)
        directories.give_back(directory)
    assert wait_for_removers(directories) == 2
    assert not list((tmp_path / "attempts").iterdir())
    assert not list((tmp_path / "trash").iterdir())


def test_what_an_earlier_runner_left_is_removed_at_the_start(tmp_path: Path) -> None:
    """Directories of a runner that was killed do not stay."""
    for name in ("attempts/1.1", "trash/1.2"):
        (tmp_path / name / "deep").mkdir(parents=True)
    directories = FreshDirectories(str(tmp_path), lambda: None)
    directories.start()
    wait_for_removers(directories)
    assert not list((tmp_path / "attempts").iterdir())
    assert not list((tmp_path / "trash").iterdir())


def test_what_is_prepared_before_the_runner_runs_stays_and_older_things_go(tmp_path: Path) -> None:
    """Files that are gathered while the runner starts are those of its own first commands."""
    old, new = tmp_path / "prepared/old", tmp_path / "prepared/new"
    (old / "deep").mkdir(parents=True)
    clear_prepared(str(tmp_path))
    new.mkdir()
    directories = FreshDirectories(str(tmp_path), lambda: None)
    directories.start()
    assert Path(directories.take(str(new)).path).is_dir()
    wait_for_removers(directories)
    assert not old.exists()
    assert not list((tmp_path / "trash").iterdir())


def test_close_leaves_nothing(directories: FreshDirectories, tmp_path: Path) -> None:
    """After the end neither kept nor given directories are there."""
    kept, given = directories.take(), directories.take()
    directories.give_back(kept)
    Path(given.path, "file").touch()
    directories.close()
    assert not list(tmp_path.glob("attempts/*"))
    assert not list(tmp_path.glob("trash/*"))
