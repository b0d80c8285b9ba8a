"""What people write for durations, sizes and bandwidths."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from alb.cli.values import (
    REPORT,
    SETTING,
    Number,
    format_clock,
    format_duration,
    format_size,
    parse_bandwidth,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0.5", 0.5),
        ("1.5s", 1.5),
        ("10m", 600),
        ("10min", 600),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1h 30m".replace(" ", ""), 5400),
        ("05:30", 330),
        ("01:02:03", 3723),
        ("1-00:00:10", 86_410),
        (" 10M ", 600),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """Every usual way to write a duration means what it says."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "m", "-5", "10m5", "1:2:3:4", "10:99", "5 minutes", "1e3"])
def test_no_durations(text: str) -> None:
    """Anything else is refused, with an example of what works (10m5 would be 10 minutes 5 seconds)."""
    if text == "10m5":
        assert parse_duration(text) == 605
        return
    with pytest.raises(ValueError, match="1h30m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("512M", 512 << 20), ("4G", 4 << 30), ("1.5GiB", 3 << 29), ("1kb", 1024), ("0", 0)],
)
def test_sizes(text: str, size: int) -> None:
    """Steps are of 1,024, with or without the i and the B."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["nan", "inf", "x", "0", "11"])
def test_no_numbers(text: str) -> None:
    """What is out of bounds, or beyond all, is refused; NaN is, too."""
    with pytest.raises(click.BadParameter):
        Number(0, 10, min_open=True).convert(text, None, None)


@pytest.mark.parametrize("text", ["", "G", "4X", "-1", "1iB", "4Gbit", "1,5G", "9" * 30, "9999999P"])
def test_no_sizes(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "bits"), [("100M", 10**8), ("2.5G", 2_500_000_000), ("1Gbit", 10**9), ("10mbps", 10**7)]
)
def test_bandwidths(text: str, bits: int) -> None:
    """Steps are of 1,000."""
    assert parse_bandwidth(text) == bits


@pytest.mark.parametrize("text", ["", "100MB", "1Gi", "fast"])
def test_no_bandwidths(text: str) -> None:
    """Bytes are not bits, and steps are not of 1,024."""
    with pytest.raises(ValueError, match="bandwidth"):
        parse_bandwidth(text)


def test_settings() -> None:
    """A variable has a value, an empty one, or that of the environment here."""
    assert SETTING.convert("A=b=c", None, None) == ("A", "b=c")
    assert SETTING.convert("A=", None, None) == ("A", "")
    assert SETTING.convert("A", None, None) == ("A", None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.94, "0.9 s"), (12.3, "12 s"), (185, "3m05s"), (7800, "2h10m"), (273_600, "3d4h"), (59.7, "1m00s")],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    """Two units at most."""
    assert format_duration(seconds) == text


def test_times_for_people() -> None:
    """In their time zone; one that somebody made up is no reason to tell nothing of the rest."""
    assert format_clock(1_800_000_000.0).startswith("2027-01-1")
    assert [format_clock(when) for when in (1e308, 1e18)] == ["1e+308 s after 1970", "1e+18 s after 1970"]


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (200 << 20, "200 MiB"), (1 << 50, "1024 TiB")]
)
def test_sizes_for_people(size: int, text: str) -> None:
    """Three digits, and a unit."""
    assert format_size(size) == text


def test_a_report_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    """Hours of replay are not lost for a folder that is not there."""
    assert REPORT.convert(str(tmp_path / "new.html"), None, None) == str(tmp_path / "new.html")
    for wrong, why in (("", "names no file"), (str(tmp_path / "no" / "r.html"), "there is no directory")):
        with pytest.raises(click.BadParameter, match=why):
            REPORT.convert(wrong, None, None)
