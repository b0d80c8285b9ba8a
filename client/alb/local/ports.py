"""TCP ports for servers that are started on this machine: chosen, and kept from everybody else.

Several clusters may live here at a time, as when two suites of tests run side by side. Between the choice of
a port and the server's bind, and while a server is down to be started again, a port that nobody holds may go
to somebody else. So whoever chooses one keeps a socket bound to it that never listens: other choosers are
refused it, connections to it are refused as to any closed port, and the server itself, which sets
SO_REUSEADDR as every server on Linux does, may bind it all the same.
"""

from __future__ import annotations

import os
import random
import socket
import weakref
from typing import Final

from alb_core.errors import ConfigError

_PORTS: Final = range(10_000, 32_768)
#: Below those of outgoing connections, which neither meet a server here nor connect to themselves.


class Port:
    """A port of the loopback that is ours as long as this object lives.

    Args:
        holder: Bound to it, and not listening; becomes this object's own.
    """

    def __init__(self, holder: socket.socket) -> None:
        self.number: Final[int] = holder.getsockname()[1]
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after the bind, which must not share
        self.release: Final = weakref.finalize(self, os.close, holder.detach())
        #: Lets go of it early.


def claim_again(number: int) -> Port | None:
    """Hold a port that was ours in a former life; None where somebody listens there by now.

    What a server closed of its own accord lingers on its port for a minute (TIME_WAIT), and whoever binds
    without SO_REUSEADDR is refused it. So this binds with it, and may meet another holder, though no server:
    one choice in twenty thousand.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        holder.bind(("127.0.0.1", number))
    except (OSError, OverflowError):
        holder.close()
        return None
    return Port(holder)


def claim_ports(count: int) -> list[Port]:
    """Choose ports that nobody on this machine uses or holds, and hold them.

    Raises:
        ConfigError: There are not so many.
    """
    claimed: list[Port] = []
    for number in random.sample(_PORTS, len(_PORTS)):
        holder = socket.socket()
        try:
            holder.bind(("127.0.0.1", number))
        except OSError:
            holder.close()
            continue
        claimed.append(Port(holder))
        if len(claimed) == count:
            return claimed
    raise ConfigError(f"there are no {count} free TCP ports from {_PORTS[0]} to {_PORTS[-1]}")
