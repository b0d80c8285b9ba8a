"""Measures this machine, in a process of its own, and prints its speeds as JSON.

It gives way to everything else, and is the first to go where memory is short: a worker without measured
speeds works, too.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path
from typing import Final

import msgspec

from alb_worker.calibration.kernels import measure

NICENESS: Final = 10
CPU_S_MAX: Final = 4
#: Of processor time, by the kernel: on a machine so slow the measurement fails, and costs no more.


def main() -> None:
    """Measure, and say what came of it."""
    os.nice(NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S_MAX, CPU_S_MAX))
    sys.stdout.write(msgspec.json.encode(measure()).decode())


if __name__ == "__main__":
    main()
