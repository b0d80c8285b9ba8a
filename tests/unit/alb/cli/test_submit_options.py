"""`alb submit`: what its options make of a specification, group by group."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from tests.unit.alb.cli.test_verbs import ZK, spec_of
from tests.unit.alb.fake_broker import FakeBroker

from alb.api.files import Files, Shipment
from alb.api.stdin import FILE_NAME
from alb.cli.main import run
from alb_core.bounds import NO_BOUNDS, Bounds
from alb_core.limits import STDIN_BYTES_MAX
from alb_core.messages import Submit


class OwnInput(io.BytesIO):
    """Our standard input."""

    name = "<stdin>"


@pytest.fixture
def own_input(monkeypatch: pytest.MonkeyPatch) -> OwnInput:
    """Return what our standard input is, empty at first."""
    given = OwnInput()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(given))
    return given


def test_limits_land_in_their_units(broker: FakeBroker) -> None:
    """Each flag in the field of its meaning; memory that is reserved is another matter."""
    flags = "--cpu-limit 1h --mem-limit 2G --processes 50 --open-files 64 --output-limit 1M --scratch 10G"
    assert run(["submit", *ZK, "--mem", "1G", *flags.split(), "-q", "x"]) == 0
    spec = spec_of(broker)
    assert spec.request.memory_bytes == 1 << 30
    assert spec.bounds == Bounds(
        cpu_s=3600.0,
        memory_bytes=2 << 30,
        processes=50,
        open_files=64,
        output_bytes=1 << 20,
        scratch_bytes=10 << 30,
    )


def test_who_says_nothing_asks_for_nothing(broker: FakeBroker) -> None:
    """The cluster's defaults are the leader's to fill in: a later change of them holds for waiting tasks."""
    assert run(["submit", *ZK, "-q", "x"]) == 0
    spec = spec_of(broker)
    assert (spec.bounds, spec.time_limit_s) == (NO_BOUNDS, None)
    assert (spec.stdin, spec.stdin_file, spec.umask, spec.nice, spec.run_as) == (b"", "", None, 0, "")


def test_execution_lands_in_the_specification(broker: FakeBroker, tmp_path: Path) -> None:
    """The mask is octal, the niceness may be below 0, a small file rides along."""
    (tmp_path / "in").write_bytes(b"\xff1\n")
    flags = f"--umask 027 --nice -5 --run-as ann --stdin {tmp_path}/in"
    assert run(["submit", *ZK, *flags.split(), "-q", "cat"]) == 0
    spec = spec_of(broker)
    assert (spec.umask, spec.nice, spec.run_as, spec.stdin) == (0o027, -5, "ann", b"\xff1\n")


def test_our_own_input_is_read_to_its_end(broker: FakeBroker, own_input: OwnInput) -> None:
    """Up to what a specification takes, it rides along."""
    own_input.write(b"a\0b")
    own_input.seek(0)
    assert run(["submit", *ZK, "--stdin", "-", "-q", "cat"]) == 0
    assert spec_of(broker).stdin == b"a\0b"


def test_much_of_our_own_input_is_shipped_and_leaves_nothing_here(
    broker: FakeBroker, own_input: OwnInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is kept in a file of ours as long as the verb takes, and is whole there."""
    shipped: list[tuple[Path, bytes]] = []

    def ship(_files: Files, shipment: Shipment) -> None:
        shipped.extend((path, path.read_bytes()) for path in shipment.paths)

    monkeypatch.setattr(Files, "ship", ship)
    whole = bytes(range(256)) * (STDIN_BYTES_MAX // 256) + b"more"
    own_input.write(whole)
    own_input.seek(0)
    assert run(["submit", *ZK, "--stdin", "-", "-q", "cat"]) == 0
    spec = spec_of(broker)
    assert (spec.stdin, spec.stdin_file, [ref.name for ref in spec.files]) == (b"", FILE_NAME, [FILE_NAME])
    ((path, data),) = shipped
    assert data == whole
    assert not path.exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--umask", "89"], "'89' is no umask; write octal digits"),
        (["--umask", "7777"], "is no umask"),
        (["--nice", "20"], "--nice"),
        (["--run-as", "a b"], "'a b' is no login name"),
        (["--processes", "0"], "--processes"),
        (["--open-files", "2"], "--open-files"),
        (["--cpu-limit", "0"], "is no bound cpu_s"),
        (["--mem-limit", "12"], "is no bound memory_bytes"),
        (["--scratch", "much"], "no size; write for example"),
        (["--stdin", "/nonexistent/file"], "the input /nonexistent/file cannot be read"),
        (["--stdin", "/"], "no regular file"),
        (["--stdin", "-", "--each-line", "-"], "cannot both read our standard input"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(
    broker: FakeBroker,
    own_input: OwnInput,
    capfd: pytest.CaptureFixture[str],
    flags: list[str],
    sentence: str,
) -> None:
    """With the status of wrong usage, before anything is submitted."""
    assert own_input.tell() == 0
    assert run(["submit", *ZK, *flags, "x"]) == 125
    assert sentence in capfd.readouterr().err
    assert not any(isinstance(message, Submit) for message in broker.received)
