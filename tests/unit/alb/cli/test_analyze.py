"""``alb analyze`` where the plotting library is missing, and what it takes for a beginning."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from alb.cli import analyze
from alb.cli.main import run


def test_without_the_plotting_library_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Before anything is read; and no empty report is left."""
    monkeypatch.delitem(sys.modules, "alb.analysis.plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    report = tmp_path / "report.html"
    assert run(["analyze", "--store", "sqlite:////nowhere.db", "--html", str(report)]) == 125
    assert "pip install 'alb[analyze]'" in capfd.readouterr().err
    assert not report.exists()


@pytest.mark.parametrize(
    ("since", "ago"), [(None, 86_400.0), (-3600.0, 3600.0), (0.0, None), (-0.0, None), (1000.0, None)]
)
def test_the_beginning(since: float | None, ago: float | None) -> None:
    """A day unless it is said; so long ago; a date; or everything."""
    begin = analyze._begin(since)
    if ago is None:
        assert begin == since
    else:
        assert begin == pytest.approx(time.time() - ago, abs=5.0)
