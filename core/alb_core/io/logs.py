"""The log of a process: structlog, one event a line on stderr, JSON unless a terminal reads it."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import suppress
from typing import Any, BinaryIO, Final

import msgspec
import structlog

from alb_core.errors import ConfigError
from alb_core.notes import Level, Note

Logger = structlog.typing.FilteringBoundLogger

REPEAT_S: Final = 30.0
#: The same warning of a library is written once in so many seconds.

_ENCODER: Final = msgspec.json.Encoder(enc_hook=repr)
_OWN_FIELDS: Final = frozenset({"event", "level", "timestamp"})
_INFO: Final = Level.INFO
_OTHERS: Final = ("kazoo",)
#: Loggers of libraries whose warnings belong into our log. Below WARNING kazoo prints data of znodes.


class _Lines:
    """structlog's last step: takes lines, and gathers them for a stream.

    Args:
        stream: Where they go.
        threshold: What matters less is not written.
        gathered: Whether they wait for `leave`.
    """

    def __init__(self, stream: BinaryIO, threshold: Level, *, gathered: bool) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._gathered = gathered
        self.threshold = threshold

    def msg(self, line: bytes) -> None:
        """Take a line."""
        self._lines.append(line)
        if not self._gathered:
            self.leave()

    debug = info = warning = error = critical = exception = msg

    def leave(self) -> None:
        """Write what was gathered; what the stream refuses is lost, and nobody is to stop for it."""
        if self._lines:
            lines, self._lines = self._lines, []
            with suppress(OSError):
                self._stream.write(b"\n".join((*lines, b"")))
                self._stream.flush()


_lines: list[_Lines] = []
#: The process's, once they are configured.


def flush() -> None:
    """Write the lines that were gathered; their owner calls it after each turn, and at its end."""
    for lines in _lines:
        lines.leave()


def configure(level: str = "info", *, gathered: bool = False, **bound: Any) -> Logger:
    """Set up the process's log.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        gathered: Whether lines leave only with `flush`: a system call a turn, not one a line.
        bound: Data that every line carries, for example ``broker="b1"``.

    Returns:
        The logger with `bound`.

    Raises:
        ConfigError: There is no such level.
    """
    try:
        threshold = Level[level.upper()]
    except KeyError:
        names = ", ".join(name.name.lower() for name in Level)
        raise ConfigError(f"the log level {level!r} is none of {names}") from None
    processors: list[structlog.typing.Processor] = [structlog.processors.add_log_level, _Stamp()]
    factory: Any
    if sys.stderr.isatty():
        processors.append(structlog.dev.ConsoleRenderer())
        factory = structlog.PrintLoggerFactory(sys.stderr)
        _lines.clear()
    else:
        processors += [structlog.processors.format_exc_info, _render]
        lines = _Lines(sys.stderr.buffer, threshold, gathered=gathered)
        _lines[:] = [lines]
        factory = lambda *_: lines  # noqa: E731 (structlog's form of a factory)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    logger: Logger = structlog.get_logger().bind(**bound)
    _adopt_others(logger)
    return logger


def write_note(logger: Logger, note: Note) -> None:
    """Write what a core wanted logged; no field displaces the line's own event, level or time."""
    logger.log(note.level, note.event, **_fields_of(note))


def _fields_of(note: Note) -> dict[str, Any]:
    fields = note.fields
    if _OWN_FIELDS.isdisjoint(fields):
        return fields
    return {f"{key}_" if key in _OWN_FIELDS else key: value for key, value in fields.items()}


class NoteWriter:
    """Writes notes as `write_note` does, in a third of the time where no terminal reads them.

    A leader has a line for each task; structlog's way of one is seven calls.

    Args:
        logger: Of `configure`.
    """

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._bound = structlog.get_context(logger)
        self._stamp = _Stamp()

    def write(self, note: Note) -> None:
        """Write one."""
        if not _lines:
            write_note(self._logger, note)
            return
        lines, level = _lines[0], note.level
        if level >= lines.threshold:
            name = "info" if level is _INFO else level.name.lower()  # to ask a member for its name is a call
            line = {**self._bound, **_fields_of(note), "event": note.event, "level": name}
            lines.msg(_render(None, "", self._stamp(None, "", line)))


class _Stamp:
    """Adds the time: what structlog's own does, at a third of its cost, for there is a line for each task."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self, _: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        second, rest = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        event["timestamp"] = f"{self._text}.{rest // 1000:06}Z"
        return event


def _render(_: Any, __: str, event: structlog.typing.EventDict) -> bytes:
    return _ENCODER.encode(event)


class _Adopted(logging.Handler):
    """Passes a library's record on."""

    def __init__(self, logger: Logger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger
        self._said: dict[tuple[str, str], float] = {}
        #: Logger and text of the lines of late, and when: kazoo repeats two or three of them in turns, with
        #: each attempt of a long outage.

    def emit(self, record: logging.LogRecord) -> None:
        """Write it; a log that cannot be written must not break the library's thread."""
        with suppress(Exception):
            self._pass_on(record)

    def _pass_on(self, record: logging.LogRecord) -> None:
        said = (record.name, record.getMessage())
        since = record.created - REPEAT_S
        if self._said.get(said, since) > since:
            return
        self._said = {line: at for line, at in self._said.items() if at > since}
        self._said[said] = record.created
        self._logger.log(
            record.levelno,
            "library_warned",
            logger=said[0],
            text=said[1],
            exc_info=record.exc_info,
        )


def _adopt_others(logger: Logger) -> None:
    for name in _OTHERS:
        library = logging.getLogger(name)
        library.setLevel(logging.WARNING)
        library.propagate = False
        library.handlers = [_Adopted(logger)]
