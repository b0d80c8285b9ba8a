"""Calls and their replies: everything that can come of a call comes back as itself or as a sentence."""

from __future__ import annotations

import functools
import pickle
import traceback
from typing import Any

import pytest

from alb_core import calls
from alb_core.calls import FORM, VERSION, answer, open_reply, pack_call, pack_each
from alb_core.errors import CallFailed


def call(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a function the long way; return its value or raise what came of it."""
    reply, _ = answer(pack_call(function, args, kwargs), "w1")
    value, error = open_reply(reply)
    if error is not None:
        raise error
    return value


class Awkward(Exception):
    """Can be pickled, and not unpickled."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


class Mute(Exception):
    """Cannot say itself."""

    def __str__(self) -> str:
        raise RuntimeError("mute")


class Poison:
    """Cannot be unpickled."""

    def __reduce__(self) -> Any:
        return (functools.partial(int, "x"), ())


def _raise(error: BaseException) -> None:
    raise error


def test_values_come_back() -> None:
    """Also of closures, and of what only cloudpickle can pickle."""
    three = 3
    assert call(lambda x, *, y: x * y + three, 2, y=5) == 13
    assert call(lambda: lambda: three)() == 3
    assert call(dict, a=1) == {"a": 1}
    reply, error = answer(pack_each(pow, [(2, 3), (3, 2)]), "w1")
    assert (open_reply(reply).value, error) == ([8, 9], None)


def test_an_exception_comes_back_with_the_place_where_it_was_raised() -> None:
    """As its cause, which a traceback prints."""
    with pytest.raises(ZeroDivisionError) as caught:
        call(lambda: 1 // 0)
    text = "".join(traceback.format_exception(caught.value))
    assert isinstance(caught.value.__cause__, calls.RemoteTraceback)
    assert "<lambda>" in str(caught.value.__cause__)
    assert "direct cause" in text


def test_a_cause_of_the_users_is_in_the_text() -> None:
    """The chain as it was on the worker."""

    def chained() -> None:
        try:
            raise KeyError("inner")  # noqa: TRY301 (that is the test)
        except KeyError as error:
            raise ValueError("outer") from error

    with pytest.raises(ValueError, match="outer") as caught:
        call(chained)
    assert "KeyError: 'inner'" in str(caught.value.__cause__)


def test_an_exit_is_brought_back_too() -> None:
    """As the standard library's pools do."""
    with pytest.raises(SystemExit) as caught:
        call(_raise, SystemExit(3))
    assert caught.value.code == 3


@pytest.mark.parametrize(
    ("function", "args", "says"),
    [
        (lambda: (x for x in "a"), (), "returned a generator that cannot be pickled"),
        (lambda: _raise(Awkward(1, 2)), (), "raised Awkward: 1 and 2, an exception that cannot travel"),
        (Poison, (), "which cannot be unpickled here: ValueError"),
    ],
    ids=["unpicklable value", "exception that cannot be unpickled", "value that cannot be unpickled"],
)
def test_what_cannot_travel_is_said(function: Any, args: tuple[Any, ...], says: str) -> None:
    """With the traceback of the worker where there is one."""
    with pytest.raises(CallFailed, match=says):
        call(function, *args)


def test_an_exception_that_cannot_say_itself_is_brought_back() -> None:
    """Nothing of it is needed for that."""
    with pytest.raises(Mute):
        call(_raise, Mute())


def test_another_python_is_refused_before_the_code_is_touched() -> None:
    """With both versions, and what to ask for."""
    payload = pickle.dumps((FORM, "3.4", "call", b"poison"))
    reply, error = answer(payload, "the worker w1")
    assert isinstance(error, CallFailed)
    told = str(open_reply(reply).error)
    assert f"packed by Python 3.4, and the worker w1 runs {VERSION}" in told
    assert "label python=3.4" in told


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"", "is no packed call"),
        (pickle.dumps("x"), "is no packed call"),
        (pickle.dumps((FORM + 1, VERSION, "call", b"")), "another version of alb packed it"),
        (pickle.dumps((FORM, VERSION, "call", b"x")), "could not unpickle it"),
        (
            pickle.dumps((FORM, VERSION, "call", b"cno_such_module_here\nf\n.")),
            r"w1 has no module 'no_such_module_here'.*ship it along",
        ),
    ],
)
def test_a_call_that_cannot_be_opened_is_said(payload: bytes, says: str) -> None:
    """It comes to a reply all the same."""
    reply, error = answer(payload, "w1")
    assert error is not None
    with pytest.raises(CallFailed, match=says):
        raise open_reply(reply).error or AssertionError("it has an error")


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", pickle.dumps(3), pickle.dumps((FORM + 1, "", b"", "", ""))]
)
def test_what_is_no_reply_is_an_error(data: bytes) -> None:
    """Of the call, and of nothing else."""
    assert isinstance(open_reply(data).error, CallFailed)


def test_what_cannot_be_packed_raises_at_once() -> None:
    """The caller's own object is at fault."""
    with pytest.raises(TypeError):
        pack_call(len, [(x for x in "a")], {})
