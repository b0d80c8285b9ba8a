"""The end of the shared cluster, as ``docs/tour.md`` ends: stopped in order, removed with all it held."""

from __future__ import annotations

from tests.compose.console import STOP, TOUR, perform, read_blocks
from tests.compose.stack import Stack, run
from tests.source_tree import ROOT

KILLED = 137
#: Exit status of a container that was ended by SIGKILL.


def test_stop_ends_everything_in_order(stack: Stack) -> None:
    """Every process ends by itself, also a worker under its command; then `down` leaves nothing."""
    stack.alb("submit", "--detach", "sleep 62")
    running = [name for name, container in stack.containers().items() if container["State"]["Running"]]
    stop, remove = read_blocks(TOUR.read_text().partition(STOP)[2])
    perform([stop], ROOT)
    stopped = stack.containers()
    assert [name for name in running if stopped[name]["State"]["ExitCode"] == KILLED] == []
    perform([remove], ROOT)
    filters = f"label=com.docker.compose.project={stack.project}"
    for kind in (["ps", "--all"], ["volume", "ls"], ["network", "ls"]):
        assert run(["docker", *kind, "--quiet", "--filter", filters]).stdout == b"", kind
