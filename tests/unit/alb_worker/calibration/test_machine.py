"""What a measurement belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from alb_core import __version__
from alb_worker.calibration.machine import take_fingerprint


def test_a_machine_is_the_same_twice() -> None:
    """Or each start would measure again; the version of alb is part of it."""
    assert take_fingerprint() == take_fingerprint()
    assert take_fingerprint().version == __version__


@pytest.mark.parametrize(
    ("lines", "model"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel name\t: other\n", "AMD EPYC"),
        ("processor\t: 0\nCPU part\t: 0xd0c\n", "0xd0c"),
        ("nonsense", ""),
    ],
)
def test_the_kernel_tells_the_model_in_several_ways(lines: str, model: str, tmp_path: Path) -> None:
    """By architecture; where it does not, the rest has to do."""
    (tmp_path / "cpuinfo").write_text(lines)
    assert take_fingerprint(tmp_path / "cpuinfo").model == model
    assert take_fingerprint(tmp_path / "none").model == ""
