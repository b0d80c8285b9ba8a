"""One rule of exit statuses, held by every verb that there is: a new one cannot escape."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import click
import pytest
from tests.source_tree import ROOT
from tests.unit.alb.fake_broker import FakeBroker

from alb.cli import statuses
from alb.cli.main import VERBS, cli, run
from alb.cli.statuses import DAEMONS, FAILED_STATUS, REFUSED_STATUS, wrong_usage
from alb_core.messages import (
    Attach,
    AttachArray,
    Cancel,
    Error,
    HoldTasks,
    Message,
    QueryHistory,
    QueryIncrements,
    QueryTask,
    Rejected,
    ReleaseTasks,
)

ZK = ("--zk", "zk:2181")
UNKNOWN = "0190" + "b" * 28
GONE = "the table does not, or no longer, hold it"
WORDS = {
    "submit": ("true",),
    "increment": ("key", "1"),
    "drain": ("w1",),
    "undrain": ("w1",),
    "health": ("broker", "b1"),
    "simulate": ("--trace", "nowhere.swf"),
    "sql": ("--store", "sqlite:////nowhere.db", "select 1"),
}
#: What a verb cannot do without, but for ids.

ABOUT_BROKERS = {"brokers", "health"}
#: That there is none is what they tell.

verbs = pytest.mark.parametrize("verb", VERBS)


def command_of(verb: str) -> click.Command:
    """Return a verb's command, as the command line itself finds it."""
    command = cli.get_command(click.Context(cli), verb)  # type: ignore[attr-defined]
    assert isinstance(command, click.Command)
    return command


def takes_ids(verb: str) -> bool:
    """Tell whether a verb is about tasks or arrays by their ids."""
    arguments = [each for each in command_of(verb).params if isinstance(each, click.Argument)]
    return any(each.human_readable_name in ("ID", "IDS", "ARRAY") for each in arguments)


def asks_a_cluster(verb: str) -> bool:
    """Tell whether a verb needs somebody to answer it."""
    named = any("--connect-timeout" in parameter.opts for parameter in command_of(verb).params)
    return named and verb not in DAEMONS


def words_of(verb: str, task_id: str) -> Sequence[str]:
    """Return arguments with which a verb can be called."""
    return WORDS.get(verb, (task_id,) if takes_ids(verb) else ())


def know_nobody(message: Message) -> Sequence[Message]:
    """Answer as a leader that never heard of any task."""
    match message:
        case Attach() | AttachArray() | Cancel():
            return (Rejected(id=message.id, code="gone", why=GONE),)
        case HoldTasks() | ReleaseTasks():
            return (Error(code="invalid", why=f"task {message.ids[0]}: {GONE}", seq=message.seq),)
        case QueryTask() | QueryHistory() | QueryIncrements():
            return (Error(code="gone", why=GONE, seq=message.seq),)
    return ()


@verbs
def test_wrong_usage_has_alb_s_own_status(verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    """An option that is none is explained on standard error, and the status is no command's."""
    assert run([verb, "--no-such-option"]) == wrong_usage(verb)
    said = capfd.readouterr()
    assert f"Usage: alb {verb}" in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


@verbs
def test_a_missing_argument_has_alb_s_own_status(verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A verb that needs an argument says so; the status is never that of a task."""
    if not any(parameter.required for parameter in command_of(verb).params):
        return
    assert run([verb]) == FAILED_STATUS
    said = capfd.readouterr()
    assert "Missing" in said.err
    assert said.out == ""


@verbs
def test_an_id_that_nobody_knows_is_alb_s_own_status(
    verb: str, broker: FakeBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whole, too short and no id at all, in every verb that takes one: each is 125, with the reason."""
    if not takes_ids(verb):
        return
    broker.answer = know_nobody
    for text in (UNKNOWN, "beef", "no-id"):
        assert run([verb, *ZK, text]) == FAILED_STATUS, text
        said = capfd.readouterr()
        assert text in said.err or GONE in said.err
        assert said.out == ""


@pytest.mark.parametrize("brokers", [None, 0, 2])
@verbs
def test_a_cluster_that_does_not_answer_is_alb_s_own_status(
    verb: str,
    brokers: int | None,
    name_leader: Callable[[FakeBroker | None], None],
    name_nobody: Callable[[int], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """No ZooKeeper, no broker, or none that leads: whoever asks ends in the time that was given, with 125."""
    if not asks_a_cluster(verb) or (brokers is not None and verb in ABOUT_BROKERS):
        return
    if brokers is None:
        name_leader(None)
    else:
        name_nobody(brokers)
    assert run([verb, *ZK, "--connect-timeout", "0.05", *words_of(verb, UNKNOWN)]) == FAILED_STATUS
    said = capfd.readouterr()
    assert re.search("^alb: .*(within|waited) 0.0[45] s", said.err, re.MULTILINE), said.err
    assert said.out == ""


def test_the_walk_meets_every_kind_of_verb() -> None:
    """The tests above leave out what does not apply to a verb: they do not leave out everything."""
    assert {"submit", "attach", "wait", "retry", "tasks", "cancel"} <= set(VERBS)
    assert {verb for verb in VERBS if takes_ids(verb)} >= {
        "status",
        "wait",
        "explain",
    }
    assert {verb for verb in VERBS if asks_a_cluster(verb)} >= {"submit", "wait", "dump", "analyze"}
    assert set(VERBS) >= DAEMONS | ABOUT_BROKERS


def test_settings_that_cannot_work_are_for_the_supervisor(capfd: pytest.CaptureFixture[str]) -> None:
    """Also where they were understood: a name that none can be. A systemd unit does not start it again."""
    for verb in sorted(DAEMONS):
        assert run([verb, *ZK, "--name", "a/b"]) == REFUSED_STATUS
        assert "not usable" in capfd.readouterr().err


def test_help_and_the_operator_s_page_tell_the_same() -> None:
    """`alb --help` has the table, and so has docs/operations.md: the same statuses in the same order."""
    text = cli.get_help(click.Context(cli))
    page = (ROOT / "docs" / "operations.md").read_text()
    section = page.partition("## Exit status\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)[2:]
    assert rows == [each.status for each in statuses.TABLE]
    for each in statuses.TABLE:
        assert f"  {each.status} " in text
