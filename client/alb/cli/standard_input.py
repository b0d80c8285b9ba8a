"""``--stdin``: what a command reads, from a file here or from our own standard input."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from alb_core import limits

if TYPE_CHECKING:
    from alb.api.stdin import Input

OWN: Final = "-"
#: What stands for our standard input.


def given_stdin(name: str | None, lines: BinaryIO | None) -> Input | None:
    """Return what a command is to read; our own standard input is read to its end.

    Args:
        name: What ``--stdin`` says.
        lines: What ``--each-line`` reads.
    """
    if name is None:
        return None
    if name != OWN:
        return Path(name)
    source = sys.stdin.buffer
    if lines is not None and lines.name == source.name:
        raise click.UsageError("--each-line - and --stdin - cannot both read our standard input")
    head = source.read(limits.STDIN_BYTES_MAX + 1)
    return head if len(head) <= limits.STDIN_BYTES_MAX else _kept(head, source)


def _kept(head: bytes, source: BinaryIO) -> Path:
    """Keep what is too large for a specification in a file, which goes when the verb has ended."""
    descriptor, name = tempfile.mkstemp(prefix="alb-stdin-")
    path = Path(name)
    click.get_current_context().call_on_close(lambda: path.unlink(missing_ok=True))
    with os.fdopen(descriptor, "wb") as file:
        file.write(head)
        shutil.copyfileobj(source, file)
    return path
