"""The example that learns run times from history: what it learns, and what that gains in a replay."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.policy_parts import candidate, chosen
from tests.source_tree import ROOT

from alb_core.spec import TaskSpec

PACKAGE = "alb_policy_foresight"


@pytest.fixture(scope="module")
def learning() -> Iterator[tuple[ModuleType, ModuleType, ModuleType]]:
    """Import the example as a broker finds it: the policy, what it learns, and the measurement."""
    import importlib  # noqa: PLC0415 (of a package that is not installed)

    sys.path.insert(0, str(ROOT / "examples/policies/foresight"))
    try:
        names = (PACKAGE, f"{PACKAGE}.medians", f"{PACKAGE}.measure")
        yield tuple(importlib.import_module(name) for name in names)  # type: ignore[misc]
    finally:
        sys.path.pop(0)
        for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
            del sys.modules[name]


def test_the_median_of_each_form_is_learnt(learning: Any) -> None:
    """Numbers in a command make no difference, one run that hung makes none, and two runs say nothing."""
    _, medians, _ = learning
    runs = [(medians.key_of(f"render frame{n}.png"), 10.0 + n % 2) for n in range(5)]
    runs += [(medians.key_of("render frame9.png"), 9000.0), *[("rare", 1.0)] * 2]
    learnt = medians.loads(medians.dumps(medians.learn(runs)))
    assert learnt.seconds == {"render frameN.png": 10.5}


def test_long_is_what_takes_most_of_the_time(learning: Any) -> None:
    """Few long programs take it; what is unknown may be one."""
    _, medians, _ = learning
    learnt = medians.learn([*[("quick", 1.0)] * 20, *[("slow", 100.0)] * 4])
    assert [learnt.is_long(key) for key in ("quick", "slow", "unheard")] == [False, True, True]
    assert learnt.priority("quick") > learnt.priority("slow") >= learnt.priority("unheard") == 0


def test_fast_workers_are_for_long_commands(learning: Any) -> None:
    """And slow ones for the others, who would only be in the way."""
    foresight, medians, _ = learning
    choose = foresight.policy_of(medians.learn([*[("quick", 1.0)] * 20, *[("slow", 100.0)] * 4]))
    both = (candidate("w1", speed=1.0), candidate("w2", speed=4.0))
    for command, worker in (("quick", "w1"), ("slow", "w2"), ("unheard", "w2")):
        assert chosen(choose, *both, task=TaskSpec(command=command)) == worker


def test_who_learnt_nothing_is_as_fastest(learning: Any) -> None:
    """Without a file the policy still places."""
    foresight, _, _ = learning
    both = (candidate("w1", speed=1.0), candidate("w2", speed=4.0))
    assert chosen(foresight.choose, *both) == "w2"


def test_a_learnt_order_shortens_waits_where_many_wait(learning: Any) -> None:
    """In virtual time, the same on every machine: most of what tasks are slowed down goes."""
    foresight, _, measure = learning
    medians, rest = measure.halves(measure.workload(800, 1.5))
    policies = {"least-loaded": measure.least_loaded.choose, "foresight": foresight.policy_of(medians)}
    plain, _ = measure.replayed(rest, "least-loaded", policies)
    learnt, _ = measure.replayed(measure.by_length(rest, medians), "least-loaded", policies)
    assert learnt.slowdown.mean - 1.0 < 0.5 * (plain.slowdown.mean - 1.0)


def test_what_it_cannot_read_is_said_in_a_sentence(
    learning: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose variable is not set, whose file is not there or is another one, sees no traceback."""
    import importlib  # noqa: PLC0415 (of a package that is not installed)

    assert learning
    main = importlib.import_module(f"{PACKAGE}.__main__").main
    monkeypatch.delenv("ALB_FORESIGHT", raising=False)
    assert main(["priority", "x"]) == 1
    assert "ALB_FORESIGHT is not set" in capsys.readouterr().err
    monkeypatch.setenv("ALB_FORESIGHT", str(tmp_path / "none"))
    assert main(["priority", "x"]) == 1
    assert "none: No such file" in capsys.readouterr().err
    (tmp_path / "none").write_text("[")
    assert main(["priority", "x"]) == 1
    assert "this is not what" in capsys.readouterr().err
