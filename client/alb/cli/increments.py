"""``alb increment`` within a task, ``alb increments`` outside: what commands report while they run."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Final

import click
import msgspec

from alb.cli import out
from alb.cli.options import Place, cluster_options, json_option
from alb.cli.short_ids import resolve
from alb_core.errors import AlbError

if TYPE_CHECKING:
    from alb.api.client import Client
    from alb_core.rows import Increment

CHANNEL: Final = "ALB_INCREMENTS"
SHOWN: Final = 200
#: Characters of a value in a line for the person; ``alb increments`` shows all.


@click.command(context_settings={"ignore_unknown_options": True})
@json_option
@click.argument("key")
@click.argument("value")
def increment(key: str, value: str, *, as_json: bool) -> int:
    """Report VALUE under KEY; for commands that run as a task.

    A VALUE that is JSON is taken as such, any other as a text. The same without alb:
    echo '{"key":"epoch","value":3}' >>"$ALB_INCREMENTS"
    """
    from alb_core.increments import KEY_LENGTH_MAX, VALUE_BYTES_MAX  # noqa: PLC0415

    path = os.environ.get(CHANNEL)
    if not path:
        raise click.UsageError(f"{CHANNEL} is not set: this is for commands that alb runs, within their task")
    try:
        encoded = msgspec.json.encode(msgspec.json.decode(value))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        encoded = msgspec.json.encode(value.encode(errors="surrogateescape").decode(errors="replace"))
    if len(key) > KEY_LENGTH_MAX or len(encoded) > VALUE_BYTES_MAX:
        limits = f"{KEY_LENGTH_MAX} characters and {VALUE_BYTES_MAX} bytes"
        raise click.UsageError(f"a key and a value have at most {limits}; put more into a file")
    name = msgspec.json.encode(key.encode(errors="surrogateescape").decode(errors="replace"))
    line = b'{"key":%b,"value":%b}\n' % (name, encoded)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        out.write_all(descriptor, line)
    finally:
        os.close(descriptor)
    if as_json:
        out.write_all(1, line)
    return 0


@click.command()
@click.argument("id_", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the task has ended.")
@click.option("--after", type=click.IntRange(0, 2**62), help="Only those with a greater number.")
@click.option("-n", "newest", type=click.IntRange(min=1, max=500), help="Only the last so many.")
@json_option
@cluster_options
def increments(  # noqa: PLR0913 (one parameter an option)
    place: Place, id_: str, *, follow: bool, after: int | None, newest: int | None, as_json: bool
) -> int:
    """Show what task ID reported while it ran: number, key, value.

    Each was stored once, in this order. With --json a line each. Under the key alb.checkpoint the worker
    tells which files it saved (alb submit --checkpoint).
    """
    if newest is not None and after is not None:
        raise click.UsageError("-n and --after exclude each other: each says where to begin")
    after = after or 0
    with place.client() as client:
        task_id = resolve(client, id_)
        if newest is not None:
            for row in client.newest_increments(task_id, newest):
                after = row.seq
                _show(row, as_json=as_json)
            if not follow:
                return 0
        before = after
        found = client.follow_increments if follow else client.increments
        for row in found(task_id, after=after):
            after = row.seq
            _show(row, as_json=as_json)
        if after == before:
            out.say(f"nothing that task {task_id} reported{f' after {after}' if after else ''} is stored")
    return 0


def _show(row: Increment, *, as_json: bool) -> None:
    from alb_core.increments import shown  # noqa: PLC0415

    if as_json:
        value = msgspec.Raw(row.value.encode())
        out.emit_json(
            {"seq": row.seq, "key": row.key, "value": value, "attempt": row.attempt, "time": row.time}
        )
    else:
        out.echo(f"{row.seq}\t{row.key}\t{told_checkpoint(row) or shown(row.value)}")


def told_checkpoint(row: Increment) -> str:
    """Return what a checkpoint holds, for people; empty: it is another increment."""
    from alb.cli.values import format_size  # noqa: PLC0415
    from alb_core.increments import checkpoint_of  # noqa: PLC0415

    files = checkpoint_of(row)
    if files is None:
        return ""
    size = format_size(sum(file.size_bytes for file in files))
    return f"{len(files)} file{'' if len(files) == 1 else 's'}, {size}"


class Reporter:
    """Tells the person, on standard error, what a task reports while somebody waits for it.

    Args:
        client: Asks.
        task_id: The task, once it is accepted.
    """

    def __init__(self, client: Client, task_id: str) -> None:
        self._client = client
        self._task_id = task_id
        self._after = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="increments", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> None:
        """Tell the rest, and end."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        from alb.api.stored import FOLLOW_S  # noqa: PLC0415

        last = False
        while not last:
            last = self._over.wait(FOLLOW_S)
            try:
                self._tell()
            except AlbError as error:
                if last:
                    out.say(f"increments after {self._after} are not shown: {error}")

    def _tell(self) -> None:
        from alb_core.increments import shown  # noqa: PLC0415

        for row in self._client.increments(self._task_id, after=self._after):
            self._after = row.seq
            clock = time.strftime("%H:%M:%S", time.localtime(row.time))
            value = told_checkpoint(row) or shown(row.value)
            told = value if len(value) <= SHOWN else f"{value[:SHOWN]}…"
            out.say(f"{clock} {f'{row.key} = ' if row.key else ''}{told}")
