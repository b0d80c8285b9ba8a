"""``python -m alb_broker.depot FD SETTINGS``: a broker starts it with the socket to listen on.

It reads its broker's orders from standard input, one line of JSON each, and ends when that is closed: the
broker is gone then.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

from alb_broker.depot.census import Order
from alb_broker.depot.exchange import Exchange
from alb_broker.depot.server import CENSUS_BYTES_MAX, READ_BYTES, DepotServer
from alb_broker.depot.settings import EXIT_REFUSED, KEY_VARIABLE, Settings
from alb_broker.depot.shelf import Shelf
from alb_core.errors import ConfigError
from alb_core.io import logs
from alb_core.io.descriptors import allow_open_files

LEAVE_S: Final = 0.5
#: Requests under way get so long when the broker is gone; their uploads can be resumed elsewhere.


async def serve(listener: socket.socket, settings: Settings, key: str, log: logs.Logger) -> None:
    """Serve until the broker is gone.

    Args:
        listener: Bound and listening.
        settings: Whose depot this is.
        key: By which it believes a leader.
        log: Where it writes what happens.

    Raises:
        ConfigError: The directory cannot be used.
    """
    shelf = Shelf(Path(settings.directory), settings.bytes_max)
    exchange = Exchange(shelf, settings.endpoint, log)
    runner = web.AppRunner(
        DepotServer(shelf, exchange, key, log).application(), access_log=None, read_bufsize=READ_BYTES
    )
    await runner.setup()
    await web.SockSite(runner, listener, shutdown_timeout=LEAVE_S).start()
    log.info("depot_started", endpoint=settings.endpoint, files=len(shelf), bytes=shelf.bytes)
    upkeep = asyncio.create_task(exchange.keep_up())
    try:
        await _obey(exchange, log, upkeep)
    finally:
        upkeep.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await upkeep
        exchange.stop()
        await runner.cleanup()
        exchange.close()
        shelf.close()


async def _obey(exchange: Exchange, log: logs.Logger, upkeep: asyncio.Task[None]) -> None:
    """Carry out the broker's orders until it is gone; raises what the upkeep raises."""
    orders = asyncio.StreamReader(limit=CENSUS_BYTES_MAX)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while True:
        reading = asyncio.create_task(orders.readline())
        await asyncio.wait({reading, upkeep}, return_when=asyncio.FIRST_COMPLETED)
        if upkeep.done():
            reading.cancel()
            await upkeep
        line = await reading
        if not line:
            log.info("depot_ends", why="its broker is gone")
            return
        exchange.obey(msgspec.json.decode(line, type=Order))


def main(descriptor: int, settings: Settings, key: str) -> int:
    """Run a depot.

    Args:
        descriptor: The socket to listen on.
        settings: Whose depot this is.
        key: By which it believes a leader; empty: it believes only its own broker.

    Returns:
        The exit code.
    """
    log = logs.configure(settings.log_level, broker=settings.broker, part="depot")
    allow_open_files()
    listener = socket.socket(fileno=descriptor)
    try:
        asyncio.run(serve(listener, settings, key, log))
    except ConfigError as error:
        log.critical("depot_refused", why=str(error))
        return EXIT_REFUSED
    return 0


if __name__ == "__main__":
    known = msgspec.json.decode(sys.argv[2], type=Settings)
    sys.exit(main(int(sys.argv[1]), known, os.environ.get(KEY_VARIABLE, "")))
