"""The collector of cycles in processes that serve."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc
from alb_core.io import collector

class Node:
    pass

collector.serve()
assert gc.get_threshold() == collector.THRESHOLDS
assert gc.get_freeze_count() > 1_000, gc.get_freeze_count()
ends = []
for _ in range(collector.THRESHOLDS[0]):
    one, other = Node(), Node()
    one.other, other.other = other, one
print(sum(isinstance(each, Node) for each in gc.get_objects()))
"""


def test_cycles_are_still_found_and_what_exists_is_not_looked_at() -> None:
    """Of 100,000 objects in cycles only those of the newest window are left; modules are frozen."""
    told = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    assert int(told.stdout) <= 50_000
