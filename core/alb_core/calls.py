"""The form of a Python call on its way to a worker, and of what came of it on its way back.

Both ends of ``alb.Executor`` use it: the client packs a call and opens the reply, the interpreter on the
worker does the opposite. **A pickle is code**: a call runs as the task of its user, who could have run any
command; and only a client opens the replies to its own calls. Nothing else of alb unpickles anything.
Imported by every call, so it loads little.
"""

from __future__ import annotations

import pickle
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from alb_core.errors import CallFailed

PYTHON: Final = "python"
#: The kind of task that a call is.
VERSION: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
#: Of the interpreter: functions travel as byte code, which another one does not understand.
PYTHON_LABEL: Final = f"python={VERSION}"
#: Workers of this version carry it.
FORM: Final = 1
#: Of what is packed here; rises when a peer of before could not open it.
SUMMARY_LENGTH: Final = 1000
#: Of what is said of an exception that cannot travel itself.

_CALL, _EACH = "call", "each"
_RETURNED, _RAISED, _BROKE = "returned", "raised", "broke"


class RemoteTraceback(Exception):
    """The cause of an exception that a worker brought back: where it was raised there, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class Reply(NamedTuple):
    """What came of a call: a value, or an exception."""

    value: Any
    error: BaseException | None = None


# --- the client: the call -----------------------------------------------------------------------------------


def pack_call(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """Pack one call.

    Raises:
        Exception: Something of it cannot be pickled; whatever its own code raises then.
    """
    return _pack(_CALL, (function, tuple(args), dict(kwargs)))


def pack_each(function: Callable[..., Any], calls: Iterable[Sequence[Any]]) -> bytes:
    """Pack several calls of one function, whose values come back as a list; raises as ``pack_call``."""
    return _pack(_EACH, (function, [tuple(args) for args in calls]))


def _pack(form: str, call: tuple[Any, ...]) -> bytes:
    import cloudpickle  # noqa: PLC0415 (the other end need not load it)

    return pickle.dumps((FORM, VERSION, form, cloudpickle.dumps(call)), protocol=4)


# --- the worker ---------------------------------------------------------------------------------------------


def answer(payload: bytes, where: str) -> tuple[bytes, BaseException | None]:
    """Do what a payload says.

    Args:
        payload: A packed call.
        where: Names this worker, for messages.

    Returns:
        The packed reply, and what the call raised, if it did.
    """
    try:
        call = _open_call(payload, where)
    except CallFailed as error:
        return _reply(_BROKE, b"", str(error)), error
    try:
        value = call()
    except BaseException as error:  # noqa: BLE001 (also SystemExit: it is what the call came to)
        return _pack_error(error), error
    try:
        return _reply(_RETURNED, _dump(value)), None
    except Exception as error:  # noqa: BLE001 (foreign code: whatever pickling it raises)
        failed = CallFailed(
            f"it returned a {type(value).__qualname__} that cannot be pickled: {_told(error)}"
        )
        return _reply(_BROKE, b"", str(failed), _traceback_of(error)), failed


def _open_call(payload: bytes, where: str) -> Callable[[], Any]:
    try:
        form, version, what, body = pickle.loads(payload)  # noqa: S301 (see the top)
    except Exception as error:
        raise CallFailed(f"its payload is no packed call: {_told(error)}") from error
    if form != FORM:
        raise CallFailed(
            f"its form is {form!r}, and {where} understands {FORM}: another version of alb packed it"
        )
    if version != VERSION:
        raise CallFailed(
            f"it was packed by Python {version}, and {where} runs {VERSION}: functions do not travel between "
            f"them; ask for workers of yours (label python={version}), or call from Python {VERSION}"
        )
    try:
        function, *rest = pickle.loads(body)  # noqa: S301 (see the top)
    except ModuleNotFoundError as error:
        raise CallFailed(
            f"{where} has no module {error.name!r}, which the call needs: install it there, ship it along "
            "(files=), or have it travel inside (cloudpickle.register_pickle_by_value)"
        ) from error
    except Exception as error:
        raise CallFailed(f"{where} could not unpickle it: {_told(error)}") from error
    if what == _EACH:
        return lambda: [function(*args) for args in rest[0]]
    return lambda: function(*rest[0], **rest[1])


def _pack_error(error: BaseException) -> bytes:
    while error.__traceback__ is not None and error.__traceback__.tb_frame.f_code.co_filename == __file__:
        error.__traceback__ = error.__traceback__.tb_next  # our own lines tell nobody anything
    text = _traceback_of(error)
    try:
        body = _dump(error)
        pickle.loads(body)  # noqa: S301 (ours; many exceptions can be pickled, and not unpickled)
    except Exception as trouble:  # noqa: BLE001 (as above)
        why = f"it raised {_told(error)}, an exception that cannot travel itself: {_told(trouble)}"
        return _reply(_BROKE, b"", why, text)
    return _reply(_RAISED, body, _told(error), text)


def _dump(value: Any) -> bytes:
    try:
        return pickle.dumps(value, protocol=5)
    except Exception:  # noqa: BLE001 (what pickle cannot, cloudpickle may: classes and functions of a script)
        import cloudpickle  # noqa: PLC0415 (as above)

        data: bytes = cloudpickle.dumps(value)
        return data


def _reply(form: str, body: bytes, why: str = "", text: str = "") -> bytes:
    return pickle.dumps((FORM, form, body, why, text), protocol=4)


def _traceback_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _told(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 (foreign code)
        text = "(it cannot say itself)"
    return f"{type(error).__qualname__}: {text}"[:SUMMARY_LENGTH]


# --- the client: the reply ----------------------------------------------------------------------------------


def open_reply(data: bytes) -> Reply:
    """Open what came of a call of ours; never raises."""
    try:
        form, what, body, why, text = pickle.loads(data)  # noqa: S301 (see the top)
    except Exception as error:  # noqa: BLE001 (bytes that are no reply)
        return Reply(None, CallFailed(f"what came back is no reply: {_told(error)}"))
    if form != FORM:
        return Reply(
            None, CallFailed(f"the reply has the form {form!r}: the worker has another version of alb")
        )
    if what == _BROKE:
        return Reply(None, _caused(CallFailed(why), text))
    try:
        value = pickle.loads(body)  # noqa: S301 (see the top)
    except Exception as error:  # noqa: BLE001 (foreign code)
        told = f"it raised {why}" if what == _RAISED else "it returned a value"
        failed = CallFailed(f"{told}, which cannot be unpickled here: {_told(error)}")
        return Reply(None, _caused(failed, text))
    return Reply(None, _caused(value, text)) if what == _RAISED else Reply(value)


def _caused(error: BaseException, text: str) -> BaseException:
    if text:
        error.__cause__ = RemoteTraceback(text)
    return error
