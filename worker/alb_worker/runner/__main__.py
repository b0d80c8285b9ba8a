"""``python -m alb_worker.runner FD SETTINGS``: the agent starts it with one end of a socket pair."""

from __future__ import annotations

import os
import signal
import socket
import sys

import msgspec

from alb_core.io import collector
from alb_worker.runner import processes
from alb_worker.runner.command import UMASK
from alb_worker.runner.groups import RunnerGroups
from alb_worker.runner.loop import Runner
from alb_worker.runner.messages import AGENT_ENDED, Settings


def main(descriptor: int, settings: Settings) -> int:
    """Run commands for the agent until it is gone.

    Args:
        descriptor: Our end of the socket pair.
        settings: Whose runner this is.

    Returns:
        The exit code.
    """
    # Only the agent ends its runner: a Ctrl-C or a service manager's TERM must not take the commands along.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    processes.become_subreaper()
    groups = RunnerGroups(settings.cgroup, settings.mechanism)
    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)
    runner = Runner(connection, settings, groups)
    collector.serve()
    try:
        runner.run()
    finally:
        runner.close()
        groups.leave()
    return AGENT_ENDED


if __name__ == "__main__":
    os.umask(UMASK)
    sys.exit(main(int(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Settings)))
