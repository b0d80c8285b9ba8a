"""``alb simulate`` as a person uses it: a small log, a store, plots, and its worst input."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest

from alb.local.cluster import alb_command

WITHIN_S = 120.0
JOBS = 120


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the verb."""
    command = [*alb_command(), "simulate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workload log: more work than eight processors can do at once, and one line of nonsense."""
    draws = random.Random(1)
    lines = ["; Version: 2.2", "; MaxProcs: 8", "what is this"]
    for number in range(JOBS):
        run, cpus, user = draws.randint(1, 200), draws.choice((1, 2, 16)), draws.randint(1, 4)
        lines.append(f"{number} {number * 10} -1 {run} {cpus} -1 -1 {cpus} 300 1024 1 {user} 1 7 1 -1 -1 -1")
    path = tmp_path_factory.mktemp("logs") / "log.swf"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_policies_side_by_side(log: Path, tmp_path: Path) -> None:
    """Every policy has its line, with a report and plots; what was clipped or is no job is said."""
    report, plots = tmp_path / "report.html", tmp_path / "plots"
    ran = simulate(
        *("--trace", str(log), "--policy", "least-loaded,uniform", "--cpus", "4", "--load", "1.5"),
        *("--html", str(report), "--plot", str(plots), "--json"),
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert (told["jobs"], told["workers"], told["cpus"]) == (JOBS, 2, 8.0)
    assert [(each["policy"], each["default"]) for each in told["policies"]] == [
        ("least-loaded", True),
        ("uniform", False),
    ]
    for each in told["policies"]:
        assert each["jobs"] == sum(user["jobs"] for user in each["users"]) == JOBS
        assert each["wait_s"]["max"] > 60
        assert 0.5 < each["utilisation"] <= 1.0
        assert 0.25 <= each["fairness"] <= 1.0
    remarks = " ".join(told["remarks"])
    assert "1 line left out that are no jobs: line 3" in remarks
    assert "asked for more cpus than the largest worker has" in remarks
    assert report.read_text().count("<svg") == 1
    assert sorted(each.name for each in plots.iterdir()) == [
        "slowdowns.svg",
        "use.svg",
        "waiting.svg",
        "waits.svg",
    ]


def test_a_table_for_people_and_the_same_figures_again(log: Path) -> None:
    """Without --json a table; the same seed gives the same text."""
    first, again = (
        simulate("--trace", str(log), "--limit", "40", "--cpus", "4", "--seed", "3") for _ in "ab"
    )
    assert first.returncode == 0, first.stderr
    assert "least-loaded (default)" in first.stdout
    assert "MEAN WAIT AND SLOWDOWN BY USER" in first.stdout
    assert first.stdout == again.stdout


def test_a_trace_from_standard_input(log: Path) -> None:
    """As `zcat log.swf.gz | alb simulate --trace -`; a closed one is empty."""
    command = [*alb_command(), "simulate", "--trace", "-", "--cpus", "4", "--json"]
    with log.open() as lines:
        piped = subprocess.Popen(["cat"], stdin=lines, stdout=subprocess.PIPE)
    with piped:
        ran = subprocess.run(command, stdin=piped.stdout, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["jobs"] == JOBS
    closed = subprocess.run(
        ["sh", "-c", '"$0" "$@" <&-', *command], capture_output=True, text=True, check=False
    )
    assert (closed.returncode, "standard input holds no job" in closed.stderr) == (125, True), closed.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--trace", "/nowhere.swf"), 125, "No such file"),
        (("--trace", "LOG", "--policy", "nobodys"), 125, "is not installed here; there are least-loaded"),
        (("--trace", "LOG", "--from", "30d"), 125, "no job of the trace"),
        (("--trace", "LOG", "--speeds", "fast"), 125, "write for example 1,2,4"),
        (("--trace", "LOG", "--table", "t"), 125, "--table belongs to"),
        (("--trace", __file__), 125, "holds no job"),
        ((), 125, "--trace"),
    ],
)
def test_what_cannot_be_replayed_is_said(
    arguments: tuple[str, ...], status: int, said: str, log: Path
) -> None:
    """One sentence, and the status of wrong usage."""
    ran = simulate(*(str(log) if word == "LOG" else word for word in arguments))
    assert ran.returncode == status, ran.stderr
    assert said in ran.stderr
