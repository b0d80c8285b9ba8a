"""What a measurement belongs to: the machine, and the software that it was measured with."""

from __future__ import annotations

import os
import platform
import zlib
from pathlib import Path
from typing import Final

import msgspec

from alb_core import __version__

NAMES: Final = ("model name", "cpu model", "Hardware", "CPU part")
#: Lines of ``/proc/cpuinfo`` that tell the processor's model, by architecture; the first that there is.
_CPUINFO: Final = Path("/proc/cpuinfo")


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """Where these are the same, a machine is as fast as before."""

    model: str
    processors: int
    #: That this process may use.
    kernel: str
    version: str
    #: Of alb.
    python: str
    zlib: str


def take_fingerprint(cpuinfo: Path = _CPUINFO) -> Fingerprint:
    """Return the fingerprint of this machine."""
    return Fingerprint(
        model=_model(cpuinfo),
        processors=len(os.sched_getaffinity(0)),
        kernel=f"{platform.machine()} {platform.release()}",
        version=__version__,
        python=platform.python_version(),
        zlib=zlib.ZLIB_RUNTIME_VERSION,
    )


def _model(cpuinfo: Path) -> str:
    """Return the processor's model; empty: the kernel does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    return next((found[name] for name in NAMES if found.get(name)), "")
