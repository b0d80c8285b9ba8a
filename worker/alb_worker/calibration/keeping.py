"""The speeds of this machine, measured when nobody knows them, and kept in the worker's directory.

A worker starts without them where they cannot be measured: they make placement better, not possible.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from alb_core.notes import Level, Note
from alb_core.speeds import Speeds, check_speeds
from alb_worker.calibration.machine import Fingerprint

FILE: Final = "speeds.json"
TIMEOUT_S: Final = 10.0
#: A second of processor time takes longer where others want it; so long a worker waits for it, once.
COMMAND: Final = (sys.executable, "-X", "utf8", "-P", "-m", "alb_worker.calibration")


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What the file holds."""

    machine: Fingerprint
    speeds: Speeds


class CalibrationFailed(Exception):
    """Raised when speeds could not be measured. Trying again helps where the machine was too busy."""


def run_calibration() -> Speeds:
    """Measure this machine in a process of its own.

    Raises:
        CalibrationFailed: It did not come to an end in time, or to no good one.
    """
    try:
        ran = subprocess.run(
            COMMAND, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
        )
        if ran.returncode != 0:
            said = ran.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise CalibrationFailed(f"it ended with status {ran.returncode}: {said[:200]}")
        speeds = msgspec.json.decode(ran.stdout, type=Speeds)
    except subprocess.TimeoutExpired:
        raise CalibrationFailed(f"it took longer than {TIMEOUT_S:g} s") from None
    except (OSError, msgspec.DecodeError) as error:
        raise CalibrationFailed(str(error)) from error
    wrong = check_speeds(speeds)
    if wrong is not None:
        raise CalibrationFailed(wrong)
    return speeds


def find_speeds(
    work_dir: str, machine: Fingerprint, measure: Callable[[], Speeds] = run_calibration
) -> tuple[Speeds | None, list[Note]]:
    """Return how fast this machine is: as it was measured before, else as it is measured now.

    Args:
        work_dir: Of the worker, where the result is kept for the next start.
        machine: What the result belongs to; another machine, or alb, measures again.
        measure: Measures, or raises CalibrationFailed.

    Returns:
        The speeds, None where they are not known, and what the operator should know.
    """
    file = Path(work_dir) / FILE
    kept = _read(file)
    if kept is not None and kept.machine == machine:
        return kept.speeds, []
    try:
        speeds = _rounded(measure())
        _write(file, Measured(machine=machine, speeds=speeds))
    except CalibrationFailed as error:
        return None, [Note("calibration_failed", {"why": str(error)}, Level.WARNING)]
    except OSError as error:
        return speeds, [Note("calibration_not_kept", {"why": str(error)}, Level.WARNING)]
    return speeds, [Note("machine_calibrated", msgspec.to_builtins(speeds))]


def _rounded(speeds: Speeds) -> Speeds:
    """Return speeds with as many digits as mean anything."""
    return Speeds(
        integer=float(f"{speeds.integer:.3g}"),
        memory=float(f"{speeds.memory:.3g}"),
        floating=float(f"{speeds.floating:.3g}"),
    )


def _read(file: Path) -> Measured | None:
    """Return what was measured before; None: nothing that can be read."""
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=Measured)
    except (OSError, msgspec.DecodeError):
        return None
    return kept if check_speeds(kept.speeds) is None else None


def _write(file: Path, measured: Measured) -> None:
    """Put a file into its place whole."""
    fresh = file.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(measured))
    os.replace(fresh, file)  # noqa: PTH105 (one word for one system call)
