"""How people write dependencies, retries and times."""

from __future__ import annotations

import datetime as dt

import pytest
from tests.unit.alb.cli.test_verbs import ZK, spec_of
from tests.unit.alb.fake_broker import FakeBroker

from alb.cli.main import run
from alb.cli.statuses import FAILED_STATUS
from alb.cli.workflow import parse_begin
from alb_core.messages import Submit
from alb_core.spec import After, Dependency, Retry, Start

ONE, TWO = f"{1:032x}", f"{2:032x}"
NOW = dt.datetime(2026, 11, 28, 12, 0).astimezone()


def test_retries_and_starts_land_in_the_specification(broker: FakeBroker) -> None:
    """Each flag in the field of its meaning."""
    retry = "--retries 3 --retry-on 1,75 --retry-delay 2s:1h --retry-memory 2x --crash-limit 1"
    start = f"-d afterok:{ONE},{TWO} --dependency after:{ONE} --singleton --hold --begin +10m -J nightly"
    assert run(["submit", *ZK, *retry.split(), *start.split(), "-q", "x"]) == 0
    spec = spec_of(broker)
    assert spec.retry == Retry(
        times=3, exit_codes=(1, 75), delay_s=2.0, delay_s_max=3600.0, memory_factor=2.0, crash_limit=1
    )
    assert spec.start == Start(
        dependencies=(
            Dependency(After.SUCCEEDED, ONE),
            Dependency(After.SUCCEEDED, TWO),
            Dependency(After.STARTED, ONE),
        ),
        singleton=True,
        hold=True,
        delay_s=600.0,
    )


def test_who_says_nothing_is_neither_kept_nor_tried_again(broker: FakeBroker) -> None:
    """The specification is that of before there were retries: the same work has the same bytes."""
    assert run(["submit", *ZK, "-q", "x"]) == 0
    spec = spec_of(broker)
    assert (spec.retry, spec.start) == (Retry(), Start())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--retries 1 --retry-on 0", "'0' are no exit codes"),
        ("--retries 1 --retry-on ²", "'²' are no exit codes"),
        ("--retry-on 75", "retry_on (--retry-on) means nothing without retries"),
        ("--retries 1 --retry-on x", "'x' are no exit codes"),
        ("--retries 1 --retry-on 256", "'256' are no exit codes"),
        ("--retries 1 --retry-delay soon", "for example 1s, or 1s:5m"),
        ("--retries 1 --retry-delay 10:1", "the first one no longer than the last"),
        ("--retries 1 --retry-memory 17x", "no factor between 1 and 16"),
        ("-d afterwards:x", "'afterwards' is no kind of dependency: use one of after, afterany"),
        ("-d afterok:", "names no task"),
        ("-d afterok:zz", "'zz' is no task id"),
        ("--singleton", "give it one (--name)"),
        ("--begin tomorrow", "'tomorrow' is no time; write +10m, 08:00 or 2026-12-01T08:00"),
        ("--begin 0001-01-01", "'0001-01-01' is no time"),
        ("--begin 9999-12-31", "'9999-12-31' is more than a year from now"),
    ],
)
def test_what_makes_no_sense_is_said(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str], flags: str, said: str
) -> None:
    """Before anything is sent, in one sentence, with the status of wrong usage."""
    assert run(["submit", *ZK, *flags.split(), "x"]) == FAILED_STATUS
    assert said in " ".join(capfd.readouterr().err.split())
    assert not any(isinstance(message, Submit) for message in broker.received)


@pytest.mark.parametrize(
    ("text", "begin"),
    [
        ("+90", dt.timedelta(seconds=90)),
        ("+1h30m", dt.timedelta(hours=1.5)),
        ("13:30", NOW + dt.timedelta(hours=1.5)),
        ("12:00", NOW + dt.timedelta(days=1)),
        ("2026-11-28T12:00:05", NOW + dt.timedelta(seconds=5)),
        ("2026-11-28T12:00+00:00", dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC)),
    ],
)
def test_times_are_those_of_this_machine(text: str, begin: dt.datetime | dt.timedelta) -> None:
    """A duration, the next such time of day, a moment, or one that names its own zone."""
    assert parse_begin(text, NOW) == begin
