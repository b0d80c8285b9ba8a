"""Programs that tasks take along: which architecture each is for, and what the specification says of them."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alb_core.errors import InvalidTask
from alb_core.files import FileRef
from alb_core.kinds import ANY_ARCH, is_arch

if TYPE_CHECKING:
    from alb.api.files import Files, Shipment

BinariesWanted = str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]]
#: A program, or one for each architecture (as ``uname -m`` says it; ``any`` for all others).

_HEAD_BYTES: Final = 20
#: Of an ELF file, up to its machine.
_PROGRAMS: Final = (2, 3)
#: ``e_type``: an executable, or a shared object, which executables are too.
_MACHINES: Final = {
    (3, 1): "i686",
    (21, 2): "ppc64",
    (21, 1): "ppc64le",
    (22, 2): "s390x",
    (40, 1): "armv7l",
    (62, 1): "x86_64",
    (183, 1): "aarch64",
    (243, 1): "riscv64",
    (258, 1): "loongarch64",
}
#: ``e_machine`` and byte order (1: little) to what ``uname -m`` says there.


def arch_of(path: Path, said: str = "") -> str:
    """Return the architecture that a program is for; ``any`` for a script.

    Args:
        path: The program.
        said: What its user says that it is for; empty: its head tells.

    Raises:
        InvalidTask: It is no program, or one for a machine that we know no name of.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise InvalidTask("", f"the program {path} cannot be read: {error.strerror}") from error
    if head.startswith(b"#!"):
        return said or ANY_ARCH
    if not head.startswith(b"\x7fELF") or len(head) < _HEAD_BYTES or head[5] not in (1, 2):
        raise InvalidTask("", f"{path} is no program: neither ELF nor a script that begins with #!")
    kind, machine = struct.unpack("<HH" if head[5] == 1 else ">HH", head[16:20])
    if kind not in _PROGRAMS:
        raise InvalidTask("", f"{path} is an object file or a core dump, no program; link it first")
    arch = said or _MACHINES.get((machine, head[5]))
    if arch is None:
        raise InvalidTask(
            "", f"{path} is for a machine that has no name here (ELF {machine}); say it: ARCH={path}"
        )
    return arch


def pack_binaries(files: Files, wanted: BinariesWanted) -> tuple[dict[str, FileRef], Shipment]:
    """Look at the programs that a task is to take along.

    Args:
        files: Takes their digests.
        wanted: One, or one for each architecture.

    Returns:
        What the specification says of them, and what is to be shipped.

    Raises:
        InvalidTask: One is no program, or cannot be read.
    """
    named = wanted if isinstance(wanted, Mapping) else {arch_of(Path(wanted)): wanted}
    if not named:
        raise InvalidTask("", "binary names no program; give a path, or a mapping of architectures to paths")
    for arch, path in named.items():
        if not is_arch(arch):
            raise InvalidTask("", f"{arch[:40]!r} is no architecture, as `uname -m` says it, for {path}")
        arch_of(Path(path), arch)  # whatever it is for, it must be a program
    shipment = files.pack(list(named.values()))
    return dict(zip(named, shipment.refs, strict=True)), shipment
