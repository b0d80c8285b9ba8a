"""Commands inherit the bound on open files; the runner has its own again."""

from __future__ import annotations

import resource
import subprocess

from alb_worker.runner.open_files import OpenFiles, fix_open_files


def own() -> tuple[int, int]:
    """Return the limit of this process."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def test_what_is_started_meanwhile_has_the_bound_and_we_have_ours_after() -> None:
    """The soft limit is inherited, and comes back to exactly what it was."""
    before, files = own(), OpenFiles()
    files.take_on(100)
    assert own() == (100, before[1])
    files.give_up()
    assert own() == before


def test_no_bound_changes_nothing() -> None:
    """A command without a bound has the runner's limit."""
    before, files = own(), OpenFiles()
    files.take_on(None)
    assert own() == before
    files.give_up()
    assert own() == before


def test_a_bound_beyond_ours_is_ours() -> None:
    """What the worker may not have itself cannot be given."""
    before, files = own(), OpenFiles()
    files.take_on(1 << 40)
    try:
        assert own()[0] <= before[1] or before[1] == resource.RLIM_INFINITY
    finally:
        files.give_up()
    assert own() == before


def test_a_started_process_cannot_raise_it() -> None:
    """Its hard limit is the bound too; one that is gone already is no error."""
    with subprocess.Popen(["sleep", "60"]) as process:
        fix_open_files(process.pid, 50)
        assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (50, 50)
        process.kill()
    fix_open_files(process.pid, 50)
