"""``alb analyze``: what the workload was like, and what follows for the allocation."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
import msgspec

from alb.cli import out
from alb.cli.history import Moment
from alb.cli.options import Place, connect_timeout_option, json_option, zk_option
from alb.cli.values import REPORT
from alb.simulate.report import NO_COMPARISON, Comparison
from alb_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alb.analysis.core.figures import Advice, Figures
    from alb.analysis.sources import Read
    from alb.simulate.core.history import History
    from alb_core.choices import Choice

DAY_S: Final = 86_400.0
REPLAYED: Final = 2_000
#: Tasks, under each policy: seconds of work, and enough to tell policies apart.
TELL_EVERY: Final = 50_000
#: Rows, until a person is told again how many were read.
EXTRA: Final = "plots need matplotlib, which is not installed: pip install 'alb[analyze]'"


@click.command()
@click.argument("dump", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--since", type=Moment(), help="What ended since: 24h (ago) or 2026-11-22T10:00. Else 24h; 0: everything."
)
@click.option("--store", envvar="ALB_STORE", help="URL of the results store. Else $ALB_STORE, or the leader.")
@click.option("--table", default="", help="Id of the cluster's table, where several share the store.")
@click.option("--html", "html_file", type=REPORT, help="Write a report with plots.")
@click.option(
    "--replay",
    "most",
    type=click.IntRange(0, 1_000_000),
    default=REPLAYED,
    show_default=True,
    help="Compare the policies on so many tasks, the newest; 0: not at all.",
)
@json_option
@zk_option
@connect_timeout_option
def analyze(  # noqa: PLR0913 (one parameter an option)
    dump: str | None,
    since: float | None,
    store: str | None,
    table: str,
    html_file: str | None,
    *,
    most: int,
    as_json: bool,
    zk: str | None,
    connect_timeout: float,
) -> int:
    """Analyse the workload: arrivals, waits, run times, use of the workers, failures; with advice.

    From the results store: straight from the database with --store (or $ALB_STORE), which is better for many
    tasks, or through the leader. With DUMP, which `alb dump` writes, from that: what waits and runs in it.
    The newest tasks are replayed under every installed policy, in virtual time (docs/simulate.md).
    """
    draw = drawing("alb.analysis.plots") if html_file else None  # before the work is done in vain
    if dump is not None:
        if since is not None or table:
            raise click.UsageError("a DUMP is one moment: give it without --since and --table")
        counted = _of_dump(dump)
    elif store:
        counted = _of_store(store, table, _begin(since), most)
    else:
        if table:
            raise click.UsageError("--table belongs to --store: a leader knows its own")
        counted = _of_leader(Place(zk, None, connect_timeout), since, most)
    from alb.analysis.core.advice import TASKS_MIN, advise  # noqa: PLC0415

    figures = counted.figures
    advice, compared = advise(figures, moment), NO_COMPARISON
    replays = counted.history is not None and most and figures.all.tasks >= TASKS_MIN
    plain = not (as_json or html_file)
    if plain:  # before policies run, which are foreign code: whatever they do, this much was told
        _print_text(figures, advice)
    if counted.history is not None and replays:
        from alb.simulate.comparison import compare  # noqa: PLC0415 (brings in the broker)

        compared = compare(counted.history, counted.in_force)
        advice.append(compared.advice)
    if html_file and draw is not None:
        from alb.analysis import html  # noqa: PLC0415

        text = html.write(figures, advice, moment, draw, compared.sections)
        Path(html_file).write_text(text, encoding="utf-8")
        out.say(f"the report is in {html_file}")
    if as_json:
        out.emit_json({**msgspec.structs.asdict(figures), "advice": advice, "replays": compared.replays})
    elif plain and replays:
        _print_comparison(compared)
    return 0


def drawing(module: str) -> Any:
    """Return what draws the plots of a report, or say how to get it.

    Args:
        module: That holds it.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:  # matplotlib is slow to import, and an extra
        return importlib.import_module(module).draw
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in {"matplotlib", "numpy"}:
            raise
        raise ConfigError(EXTRA) from error


def _begin(since: float | None) -> float:
    """Return since when, by this machine's clock; 0: everything."""
    now = time.time()
    if since is None:
        return now - DAY_S
    if since == 0:
        return 0.0
    return now + since if since < 0 else since


class _Counted(NamedTuple):
    """What the rows told."""

    figures: Figures
    history: History | None = None
    #: For replays; None: nothing of it has ended.
    in_force: Choice | None = None
    #: What places now, as the leader says; None: nobody asked one.


def _of_dump(path: str) -> _Counted:
    from alb.analysis.core.workload import Workload  # noqa: PLC0415
    from alb.analysis.sources import from_dump  # noqa: PLC0415

    data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    found, at = from_dump(data)
    workload = Workload()
    for row in found:
        workload.add(row)
    return _Counted(workload.figures(f"the dump of {moment(at)}: unfinished ones only, times so far"))


def _of_store(url: str, table: str, since: float, most: int) -> _Counted:
    from alb.analysis.sources import from_store  # noqa: PLC0415

    return _count(from_store(url, table), since, "the results store", most)


def _of_leader(place: Place, since: float | None, most: int) -> _Counted:
    from alb.analysis.sources import from_client  # noqa: PLC0415

    with place.client() as client:
        counted = _count(from_client(client), _begin(since), "the results store, through the leader", most)
        return counted._replace(in_force=client.policies().in_force)


def _count(read: Read, since: float, source: str, most: int) -> _Counted:
    from alb.analysis.core.workload import Workload  # noqa: PLC0415
    from alb.analysis.sources import rows  # noqa: PLC0415
    from alb.simulate.core.history import History  # noqa: PLC0415

    workload, history = Workload(since), History(most, since)
    for number, row in enumerate(rows(read, since), start=1):
        workload.add(row)
        history.add(row)
        if number % TELL_EVERY == 0 and sys.stderr.isatty():
            out.say(f"{number:,} rows read")
    return _Counted(workload.figures(source), history)


def moment(at: float) -> str:
    """Return a time for people, by this machine's clock."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def _print_text(figures: Figures, advice: list[Advice]) -> None:
    from alb.analysis import text  # noqa: PLC0415

    _write(text.write(figures, advice, moment))


def _print_comparison(compared: Comparison) -> None:
    """Print how policies compare, below the rest."""
    from alb.analysis import text  # noqa: PLC0415

    _write((*text.write_sections((), compared.sections), *text.write_advice((compared.advice,))))


def _write(lines: Iterable[str]) -> None:
    out.write_all(1, ("\n".join(lines) + "\n").encode(errors="replace"))
