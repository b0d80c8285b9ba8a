"""What a command is to read: what rides in the specification, what is a file, what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alb.api.files import Files
from alb.api.stdin import FILE_NAME, NO_INPUT, GivenInput, given_input
from alb_core.errors import InvalidTask
from alb_core.files import check_files, wrong_name
from alb_core.limits import STDIN_BYTES_MAX


def test_without_input_there_is_nothing() -> None:
    """A task that says nothing has the specification that it always had."""
    assert given_input({}) == given_input({"stdin": None}) == NO_INPUT
    assert NO_INPUT.name == ""


@pytest.mark.parametrize(
    ("given", "data"),
    [(b"\xff\0x", b"\xff\0x"), ("grüß", "grüß".encode()), (bytearray(b"ab"), b"ab"), (b"", b"")],
)
def test_bytes_and_text_ride_along(given: object, data: bytes) -> None:
    """Byte by byte; text as UTF-8."""
    assert given_input({"stdin": given}) == GivenInput(data)


def test_a_small_file_rides_along(tmp_path: Path) -> None:
    """Up to the last byte that fits: no depot is needed for it, and a directory may be asked for."""
    path = tmp_path / "in"
    path.write_bytes(b"x" * STDIN_BYTES_MAX)
    assert given_input({"stdin": path, "cwd": "/srv"}) == GivenInput(b"x" * STDIN_BYTES_MAX)


def test_a_larger_file_is_one_of_the_tasks_files(tmp_path: Path) -> None:
    """Beside those that it takes along anyway, under a name that returns do not match."""
    path = tmp_path / "in"
    path.write_bytes(b"x" * (STDIN_BYTES_MAX + 1))
    given = given_input({"stdin": path})
    assert (given.data, given.file, given.name) == (b"", path, FILE_NAME)
    shipment = Files(list, lambda _: None, 1.0).pack([path], given.file)
    assert [ref.name for ref in shipment.refs] == ["in", FILE_NAME]
    assert shipment.paths == (path, path)
    assert check_files(shipment.refs, (), (), None) is None
    assert wrong_name(FILE_NAME) is None
    with pytest.raises(InvalidTask, match="leave --cwd out"):
        given_input({"stdin": path, "cwd": "/srv"})


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """With its name and the reason; a pipe or a device never blocks who asks."""
    with pytest.raises(InvalidTask, match=r"missing cannot be read: No such file"):
        given_input({"stdin": tmp_path / "missing"})
    with pytest.raises(InvalidTask, match="is no regular file"):
        given_input({"stdin": tmp_path})
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidTask, match="pipe it in"):
        given_input({"stdin": tmp_path / "pipe"})
    with pytest.raises(InvalidTask, match="stdin is int"):
        given_input({"stdin": 5})
