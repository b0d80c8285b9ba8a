"""The collector of cycles in processes that serve."""

from __future__ import annotations

import gc
import subprocess
import sys
from contextlib import suppress

from alb_core.io import collector

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


LOADING = """
import gc
from alb_core.io import collector

class Node:
    pass

def count():
    return sum(isinstance(each, Node) for each in gc.get_objects())

collector.serve()
loads = collector.Loads()
loads.follow(loads=False, keeps=False)
assert gc.isenabled()
loads.follow(loads=True, keeps=True)
assert not gc.isenabled()
kept = [Node() for _ in range(1000)]
assert count() == 1000
loads.follow(loads=False, keeps=True)
assert gc.isenabled() and count() == 0
for node in kept:
    node.itself = node
del kept, node
loads.follow(loads=False, keeps=True)
frozen = gc.get_freeze_count()
loads.follow(loads=False, keeps=False)
assert gc.isenabled() and frozen - gc.get_freeze_count() >= 1000, (frozen, gc.get_freeze_count())
loads.follow(loads=True, keeps=True)
loads.follow(loads=False, keeps=False)
assert gc.isenabled()
"""


def test_what_is_loaded_is_looked_through_only_when_it_is_of_no_use_any_more() -> None:
    """Not while it is loaded, not while it is kept; then what of it is in cycles is freed."""
    subprocess.run([sys.executable, "-c", LOADING], check=True)


def test_looking_seldom_ends_with_its_block() -> None:
    """However that ends: it is somebody else's process."""
    before = gc.get_threshold()
    with suppress(ValueError), collector.seldom():
        assert gc.get_threshold() == collector.THRESHOLDS
        raise ValueError
    assert gc.get_threshold() == before
