"""Speeds are measured once for a machine, and kept; a worker does without them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from alb_core.speeds import Speeds, check_speeds
from alb_worker.calibration import keeping
from alb_worker.calibration.keeping import FILE, CalibrationFailed, find_speeds, run_calibration
from alb_worker.calibration.machine import take_fingerprint

MACHINE = take_fingerprint()
SPEEDS = Speeds(integer=1.0, memory=2.0, floating=3.0)


class Meter:
    """Measures what a test says, and counts."""

    def __init__(self, speeds: Speeds | None = SPEEDS) -> None:
        self.times = 0
        self._speeds = speeds

    def __call__(self) -> Speeds:
        """Return the speeds, or fail where there are none."""
        self.times += 1
        if self._speeds is None:
            raise CalibrationFailed("it took longer than 10 s")
        return self._speeds


def test_a_machine_is_measured_once(tmp_path: Path) -> None:
    """The next start finds what the first one measured; it is said once."""
    meter = Meter()
    first, notes = find_speeds(str(tmp_path), MACHINE, meter)
    assert (first, [note.event for note in notes]) == (SPEEDS, ["machine_calibrated"])
    assert find_speeds(str(tmp_path), MACHINE, meter) == (SPEEDS, [])
    assert meter.times == 1


def test_another_machine_is_measured_again(tmp_path: Path) -> None:
    """A directory that moved, a new kernel, another alb: the numbers may be others."""
    find_speeds(str(tmp_path), MACHINE, Meter())
    moved = msgspec.structs.replace(MACHINE, model="faster")
    faster = Speeds(integer=4.0, memory=4.0, floating=4.0)
    assert find_speeds(str(tmp_path), moved, Meter(faster))[0] == faster


@pytest.mark.parametrize("damage", [b"", b"{", b'{"machine":1}', b"\xff"])
def test_what_cannot_be_read_is_measured_again(damage: bytes, tmp_path: Path) -> None:
    """Also speeds that are none."""
    find_speeds(str(tmp_path), MACHINE, Meter())
    nonsense = (tmp_path / FILE).read_bytes().replace(b"2.0", b"-2.0")
    for content in (damage, nonsense):
        (tmp_path / FILE).write_bytes(content)
        meter = Meter()
        assert find_speeds(str(tmp_path), MACHINE, meter)[0] == SPEEDS
        assert meter.times == 1


def test_a_worker_starts_without(tmp_path: Path) -> None:
    """What failed is said, and not kept: the next start tries again."""
    speeds, notes = find_speeds(str(tmp_path), MACHINE, Meter(None))
    assert (speeds, [note.event for note in notes]) == (None, ["calibration_failed"])
    assert find_speeds(str(tmp_path), MACHINE, Meter())[0] == SPEEDS


def test_what_cannot_be_kept_counts_all_the_same(tmp_path: Path) -> None:
    """A full disk costs the next start a second, nothing more."""
    (tmp_path / FILE).with_suffix(".new").mkdir()
    speeds, notes = find_speeds(str(tmp_path), MACHINE, Meter())
    assert (speeds, [note.event for note in notes]) == (SPEEDS, ["calibration_not_kept"])


def test_this_machine_can_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own; it has some speed in each kind of work."""
    monkeypatch.setattr(keeping, "TIMEOUT_S", 120.0)  # it gives way to everybody, and tests run side by side
    assert check_speeds(run_calibration()) is None


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("sh", "-c", "echo 'no room' >&2; exit 3"), "it ended with status 3: no room"),
        (("sh", "-c", "echo nonsense"), "malformed"),
        (("sh", "-c", """echo '{"integer":0,"memory":1,"float":1}'"""), "is not between"),
        (("sleep", "60"), "longer than 0.05 s"),
        (("/nonexistent",), "No such file"),
    ],
)
def test_a_measurement_that_goes_wrong_says_why(
    command: tuple[str, ...], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails, hangs, or prints something else."""
    monkeypatch.setattr(keeping, "COMMAND", command)
    monkeypatch.setattr(keeping, "TIMEOUT_S", 0.05 if command[0] == "sleep" else 30.0)
    with pytest.raises(CalibrationFailed, match=why):
        run_calibration()
