"""`alb simulate`: on which workers a dump is replayed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.broker_parts import CLAIMED_S, Desks, make_attempt, make_task

from alb.cli import simulate
from alb.cli.main import run
from alb_broker.core.dump import dump
from alb_core.spec import TaskSpec

pytestmark = pytest.mark.timeout(120, method="thread")  # pytest's own alarm is the timer that replays use

LEFT = "running already, and left where they are: 2 tasks"
MOVED = "running already, and begun anew wherever there is room: 2 tasks"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """The dump of a leader of two workers of two processors, each with a task that runs there."""
    desks = Desks()
    for number in (1, 2):
        desks.join(f"w{number}", cpus=2.0, peer=b"worker-%d" % number)
        attempt = make_attempt(worker=f"w{number}", placed=CLAIMED_S)
        desks.state.table.add(make_task(number, attempt, spec=TaskSpec(command="x", time_limit_s=100.0)))
    path = tmp_path / "dump.json"
    path.write_bytes(dump(desks.state, "a test"))
    return path


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), (2, 4.0, LEFT, 100.0)),
        (("--speeds", "4"), (2, 4.0, LEFT, 25.0)),
        (
            ("--workers", "1", "--cpus", "8"),
            (1, 8.0, MOVED, 100.0),
        ),
    ],
)
def test_a_dump_keeps_its_workers_unless_others_are_described(
    trace: Path,
    options: tuple[str, ...],
    told: tuple[int, float, str, float],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Other speeds are given to those that there are; other workers leave no job out that ran on them."""
    assert run(["simulate", "--trace", str(trace), "--json", *options]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["jobs"] == 2
    assert (found["workers"], found["cpus"], found["remarks"][0]) == told[:3]
    assert found["policies"][0]["makespan_s"] == pytest.approx(told[3], abs=1.0)


def test_what_cannot_be_written_costs_no_figures(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The table stands on stdout all the same; before the work it is tried what can be."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(simulate, "drawing", lambda _: None)
    monkeypatch.setattr(simulate, "_write_html", full)
    assert run(["simulate", "--trace", str(trace), "--html", str(tmp_path / "r.html")]) == 125
    said = capfd.readouterr()
    assert ("least-loaded (default)" in said.out, "No space left" in said.err) == (True, True)


@pytest.mark.parametrize("speeds", ["1e300", "0", "1e-300", "nan", "1,,2"])
def test_speeds_that_no_machine_has_are_refused(
    trace: Path, speeds: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the bounds; no worker would be told that there is none."""
    assert run(["simulate", "--trace", str(trace), "--speeds", speeds]) == 125
    assert "are no speeds from 0.001 to 1000" in capfd.readouterr().err
