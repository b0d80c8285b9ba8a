"""Plug-ins are loaded within bounds: whatever an import does, the process that wants it goes on."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from alb_core.io.plug_ins import Loader, PlugInUnusable, is_ours

HANGS = """
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
"""
QUICK_S = 0.2
#: Of what hangs; a child that has not even begun by then hangs, too.
PATIENT_S = 60.0

Write = Callable[[str], EntryPoint]

pytestmark = [
    pytest.mark.timeout(120, method="thread"),  # pytest's own alarm is the timer that is used here
    pytest.mark.usefixtures("own_alarm"),
]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Install a plug-in of somebody's, with this text, where this process and its children find it."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text: str) -> EntryPoint:
        name = f"somebodys_plug_in_{abs(hash(text))}"
        (tmp_path / f"{name}.py").write_text(text)
        return EntryPoint("mine", f"{name}:choose", "alb.tests")

    return write


def as_it_is(found: Any) -> Any:
    """Make nothing of it."""
    return found


def test_what_can_be_imported_is_loaded(write: Write) -> None:
    """What is made of it comes back."""
    assert Loader(PATIENT_S).load(write("choose = 20\n"), lambda found: found + 1) == 21


def test_an_exception_is_told_as_it_is(write: Write) -> None:
    """Of the import, and of what is made of it."""
    loader = Loader(PATIENT_S)
    with pytest.raises(RuntimeError, match="no licence"):
        loader.load(write("raise RuntimeError('no licence')\n"), as_it_is)
    with pytest.raises(TypeError, match="not callable"):
        loader.load(write("choose = 1\n"), lambda found: found())


def test_an_import_that_never_ends_is_given_up(write: Write) -> None:
    """Also one that swallows whatever interrupts it."""
    with pytest.raises(PlugInUnusable, match=r"its import took more than 0\.2 s"):
        Loader(QUICK_S).load(write(HANGS), as_it_is)


def test_one_that_hangs_only_the_second_time_is_given_up(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stood its trial is bounded here, too."""
    monkeypatch.setattr(Loader, "_try", lambda *_: None)
    with pytest.raises(PlugInUnusable, match=r"its import took more than 0\.2 s"):
        Loader(QUICK_S).load(write("while True:\n    pass\n"), as_it_is)


@pytest.mark.parametrize(
    ("text", "how"),
    [("import os; os._exit(0)\n", "status 0"), ("import os; os.kill(os.getpid(), 9)\n", "signal 9")],
)
def test_an_import_that_ends_processes_ends_none_of_ours(text: str, how: str, write: Write) -> None:
    """It is seen in a process of its own."""
    with pytest.raises(PlugInUnusable, match=f"ends the process, with {how}"):
        Loader(PATIENT_S).load(write(text), as_it_is)


def test_all_together_are_bounded(write: Write) -> None:
    """What comes when the time of all is over is not even tried."""
    with pytest.raises(PlugInUnusable, match="those before it took all the time"):
        Loader(PATIENT_S, all_s=0.0).load(write("choose = 2\n"), as_it_is)


def test_our_own_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are imported at once, without a process for each."""
    monkeypatch.setattr("subprocess.Popen", None)
    ours = SimpleNamespace(dist=SimpleNamespace(name="alb"), load=lambda: 3)
    assert is_ours(cast("EntryPoint", ours))
    assert Loader(all_s=0.0).load(cast("EntryPoint", ours), as_it_is) == 3
