"""Rows as columns: what no database keeps is replaced, and one row of each key stays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.store_rows import attempt, finished, increment, load, output

from alb_core import columns as module
from alb_core.columns import FLOAT_MAX, INTEGER_MAX, columns_of
from alb_core.rows import FinishedTask, Increment, LoadSample, Output, PastAttempt, Row, columns


def field(name: str, *rows: Row) -> list[Any]:
    """Return a field of rows of one family as it is kept."""
    (found,) = columns_of(rows).items()
    return list(found[1][columns(found[0]).index(name)])


def one_by_one(rows: Sequence[Row]) -> dict[type[Row], list[list[Any]]]:
    """Return what the columns must be: each row made storable alone, later ones over earlier ones."""
    made: dict[type[Row], dict[tuple[Any, ...], tuple[Any, ...]]] = {}
    for row in rows:
        (values,) = zip(*next(iter(columns_of([row]).values())), strict=True)
        family = type(row)
        made.setdefault(family, {})[values[: len(family.key_fields)]] = values
    return {
        family: [list(column) for column in zip(*found.values(), strict=True)]
        for family, found in made.items()
    }


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("why", "a\0b", "a\ufffdb"),
        ("why", "a\ud800b", "a\ufffdb"),
        ("why", "ü€😀", "ü€😀"),
        ("user", "u" * 300, "u" * 255),
        ("user", "ü" * 300, "ü" * 255),
        ("memory_bytes", 2**70, INTEGER_MAX),
        ("memory_bytes", -(2**70), -INTEGER_MAX),
        ("memory_bytes", True, 1),
        ("wall_s", math.nan, 0.0),
        ("wall_s", math.inf, FLOAT_MAX),
        ("wall_s", -math.inf, -FLOAT_MAX),
        ("wall_s", 3, 3.0),
        ("wall_s", -1.5, -1.5),
        ("exit_code", None, None),
        ("exit_code", 2**70, INTEGER_MAX),
    ],
)
@pytest.mark.parametrize("among", [0, 3])
def test_values_are_kept_as_databases_can(name: str, value: Any, kept: Any, among: int) -> None:
    """Alone and among others, which stay as they are."""
    rows = [finished(f"t{number}") for number in range(among)]
    rows.insert(among // 2, finished("x", **{name: value}))
    found = field(name, *rows)
    assert found[among // 2] == kept
    assert type(found[among // 2]) is type(kept)
    plain = getattr(finished("t"), name)
    assert [each for index, each in enumerate(found) if index != among // 2] == [plain] * among


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_there_is_one_zero(zero: float) -> None:
    """The other one would sort apart."""
    (kept,) = {math.copysign(1.0, value) for value in field("time", load("w", zero), load("v", 1.0))}
    assert kept == 1.0


def test_flags_are_numbers() -> None:
    """Databases have no others."""
    assert field("ahead", attempt("a", ahead=True), attempt("b", ahead=False)) == [1, 0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("why", None), ("why", b"x"), ("memory_bytes", "1"), ("memory_bytes", 1.5), ("wall_s", "1"), ("why", 1)],
)
def test_another_type_is_an_error(name: str, value: Any) -> None:
    """A defect of ours is told, not stored."""
    with pytest.raises(TypeError, match="a row of tasks cannot hold"):
        columns_of([finished("a"), finished("b", **{name: value})])


def test_one_row_of_each_key_stays() -> None:
    """The last task, the first increment, the longest piece of output: in the order of their first coming."""
    rows = [
        *(finished("a", state="LOST"), finished("b"), finished("a")),
        *(increment("a", value="1"), increment("a", value="2"), increment("b")),
        *(output("a", 0, b"lo"), output("a", 0, b"longer"), output("a", 0, b"long"), output("b")),
    ]
    assert field("state", *rows[:3]) == ["SUCCEEDED", "SUCCEEDED"]
    assert field("value", *rows[3:6]) == ["1", "1"]
    assert field("data", *rows[6:]) == [b"longer", b"x"]
    assert {family: len(found[0]) for family, found in columns_of(rows).items()} == {
        FinishedTask: 2,
        Increment: 2,
        Output: 2,
    }


def test_keys_that_become_the_same_are_one() -> None:
    """A database would refuse two, and everything behind them."""
    assert field("task", finished("a\0"), finished("a\ufffd"), finished("b")) == ["a\ufffd", "b"]


@pytest.mark.parametrize("make", [finished, attempt])
def test_the_look_at_a_column_is_as_good_as_a_look_at_each_value(make: Callable[..., Row]) -> None:
    """Whatever else is in the column."""
    rows = [
        make("a"),
        make("b", exit_code=None),
        make("c", wall_s=math.nan),
        make("d", wall_s=-0.0),
        make("a"),
    ]
    found = {family: [list(column) for column in some] for family, some in columns_of(rows).items()}
    assert found == one_by_one(rows)


def test_plain_columns_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at each value of what is mostly written."""
    looked: list[Any] = []
    monkeypatch.setattr(module, "_storable", lambda value, _: looked.append(value) or value)
    columns_of([finished("a"), finished("b"), attempt("a", ahead=1), output("a"), load("w", 1.0)])
    assert looked == []
    assert PastAttempt.merge is LoadSample.merge
