"""Other users on a worker: who they are to it, and the way that is opened for them."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import pytest

from alb_core.errors import ConfigError
from alb_worker.shell import guests

ME = pwd.getpwuid(os.geteuid()).pw_name


def test_only_who_is_allowed_and_exists_is_a_guest() -> None:
    """For all others the runner says why it starts nothing."""
    found = guests.guest(ME, (ME,))
    assert found is not None
    assert (found.uid, found.name) == (os.geteuid(), ME)
    assert guests.guest(ME, ()) is None
    assert guests.guest("", (ME,)) is None
    assert guests.guest("surely_nobody", ("surely_nobody",)) is None


def test_without_guests_nothing_is_opened(tmp_path: Path) -> None:
    """A worker's directory stays as it is."""
    tmp_path.chmod(0o700)
    guests.open_way(str(tmp_path), ())
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_the_way_is_passable_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may go through the directory, not list it; a closed one above it is named."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    home = tmp_path / "closed" / "home"
    home.mkdir(parents=True)
    home.parent.chmod(0o700)
    with pytest.raises(ConfigError, match="closed, which other users cannot pass"):
        guests.open_way(str(home), ("ann",))
    assert stat.S_IMODE(home.stat().st_mode) == 0o711


def test_only_root_can_have_guests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker does not start with a promise that it cannot keep."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigError, match="runs as root"):
        guests.open_way(str(tmp_path), ("ann",))
