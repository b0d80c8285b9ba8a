"""Programs that come along: their architecture is read from their head, and what is none is refused."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from alb.api.binaries import arch_of, pack_binaries
from alb.api.files import Files
from alb.api.options import make_spec
from alb.api.packing import pack
from alb_core import limits
from alb_core.errors import InvalidTask
from alb_core.kinds import PAYLOAD_FILE
from alb_core.spec import TaskSpec, check_spec


def elf(machine: int, kind: int = 3, order: int = 1) -> bytes:
    """Return the head of an ELF file."""
    return (
        b"\x7fELF\x02"
        + bytes([order])
        + bytes(10)
        + struct.pack("<HH" if order == 1 else ">HH", kind, machine)
    )


@pytest.fixture
def files() -> Files:
    """What moves files; nothing is moved here."""
    return Files(list, lambda _: None, 1.0)


def write(path: Path, data: bytes) -> Path:
    """Write a file."""
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("head", "arch"),
    [
        (elf(62), "x86_64"),
        (elf(62, kind=2), "x86_64"),
        (elf(183), "aarch64"),
        (elf(243), "riscv64"),
        (elf(21, order=1), "ppc64le"),
        (elf(21, order=2), "ppc64"),
        (elf(22, order=2), "s390x"),
        (b"#!/bin/sh\n", "any"),
    ],
)
def test_a_program_tells_what_it_is_for(head: bytes, arch: str, tmp_path: Path) -> None:
    """A script runs anywhere; whoever knows better says so."""
    path = write(tmp_path / "p", head)
    assert arch_of(path) == arch
    assert arch_of(path, "armv6l") == "armv6l"


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"", "is no program: neither ELF nor a script"),
        (b"echo hello\n", "is no program: neither ELF nor a script"),
        (b"\x7fELF\x02", "is no program"),
        (elf(62, kind=1), "object file or a core dump"),
        (elf(4711), "has no name here"),
    ],
)
def test_what_is_no_program_is_refused(head: bytes, says: str, tmp_path: Path) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidTask, match=says):
        arch_of(write(tmp_path / "p", head))
    with pytest.raises(InvalidTask, match="cannot be read: No such file"):
        arch_of(tmp_path / "absent")


def test_one_program_for_each_architecture(files: Files, tmp_path: Path) -> None:
    """The task goes only where one of them runs, with its own name before the arguments."""
    programs = {"x86_64": write(tmp_path / "a", elf(62)), "aarch64": write(tmp_path / "b", elf(183))}
    spec, shipment = pack(make_spec(["-v", "x"], {}), {"binary": programs}, lambda: files)
    assert shipment is not None
    assert (spec.kind, spec.command, spec.request.archs) == (
        "binary",
        ("a", "-v", "x"),
        ("aarch64", "x86_64"),
    )
    assert {arch: ref.name for arch, ref in spec.binaries.items()} == {"x86_64": "a", "aarch64": "b"}
    assert shipment.paths == tuple(programs.values())
    assert check_spec(spec, 100) is None


def test_a_script_goes_anywhere(files: Files, tmp_path: Path) -> None:
    """Beside its files; no architecture is asked for."""
    script = write(tmp_path / "s", b"#!/bin/sh\n")
    options = {"binary": script, "files": [write(tmp_path / "data", b"d")]}
    spec, shipment = pack(make_spec([], {}), options, lambda: files)
    assert shipment is not None
    assert (spec.command, spec.request.archs, list(spec.binaries)) == (("s",), (), ["any"])
    assert [ref.name for ref in shipment.refs] == ["data", "s"]
    assert check_spec(spec, 100) is None


@pytest.mark.parametrize(
    ("command", "options", "says"),
    [
        ("text", {"binary": "/bin/sh"}, "the command is the list of the program's arguments"),
        ([], {"binary": "/bin/sh", "kind": "python"}, "a program .binary. or of the kind 'python', not both"),
        ([], {"binary": {"a b": "/bin/sh"}}, "'a b' is no architecture"),
        ("x", {"kind": "mine", "payload": "text"}, "the payload is a str; give bytes"),
    ],
)
def test_what_does_not_go_together_is_refused(
    command: Any, options: dict[str, Any], says: str, files: Files
) -> None:
    """With what to do instead."""
    with pytest.raises(InvalidTask, match=says):
        pack(make_spec(command, options), options, lambda: files)


def test_no_program_is_an_error(files: Files) -> None:
    """A mapping must name one."""
    with pytest.raises(InvalidTask, match="names no program"):
        pack_binaries(files, {})


def test_a_kind_is_asked_for_by_its_label() -> None:
    """Beside those of the user; the built-in ones are everywhere."""
    assert make_spec("x", {"kind": "mine", "labels": ["gpu"]}).request.labels == ("gpu", "kind=mine")
    assert make_spec("x", {"kind": "command", "labels": ["gpu"]}).request.labels == ("gpu",)


@pytest.mark.parametrize(("more", "travels"), [(0, False), (1, True)])
def test_a_large_payload_travels_as_a_file(more: int, travels: bool, files: Files) -> None:  # noqa: FBT001
    """The task finds it at the same place."""
    payload = b"p" * (limits.PAYLOAD_INLINE_BYTES + more)
    options = {"kind": "mine", "payload": payload}
    spec, shipment = pack(make_spec("x", options), options, lambda: files)
    assert spec.payload == (b"" if travels else payload)
    assert [file.name for file in spec.files] == [PAYLOAD_FILE] * travels
    if travels:
        assert shipment is not None
        assert shipment.paths[0].read_bytes() == payload
        path = shipment.paths[0]
        del shipment
        assert not path.exists()  # and its memory goes with it
    assert check_spec(spec, 100) is None


def test_without_any_of_it_nothing_is_loaded() -> None:
    """A plain task comes out as it went in."""

    def never() -> Files:
        raise AssertionError("nothing is moved")

    spec = TaskSpec(command="x")
    assert pack(spec, {}, never) == (spec, None)
