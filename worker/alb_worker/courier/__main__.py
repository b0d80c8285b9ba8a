"""``python -m alb_worker.courier FD SETTINGS``: the agent starts it with one end of a socket pair."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Final

import msgspec

from alb_worker.courier.loop import Courier
from alb_worker.courier.messages import Settings

NICENESS: Final = 5
#: Bulk bytes must not take the processor from control messages and commands.


def main(descriptor: int, settings: Settings) -> None:
    """Move files for the agent until it is gone.

    Args:
        descriptor: Our end of the socket pair.
        settings: Whose courier this is.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # only the agent ends its courier
    os.nice(NICENESS)
    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)
    Courier(connection, settings).run()


if __name__ == "__main__":
    os.umask(0o022)
    main(int(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Settings))
    os._exit(0)  # threads that move bytes for nobody are not waited for
