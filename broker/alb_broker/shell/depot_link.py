"""A broker's hand on its depot: the port, the process, and what it is told.

The broker listens; the depot is started with the first connection, and again with the next one after it
died. So a cluster in which nobody uses files pays nothing for them, and whoever connects while the depot
starts only waits. It never waits itself, except at its end.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from alb_broker.core.actions import TellDepots
from alb_broker.depot.census import Order
from alb_broker.depot.settings import KEY_VARIABLE, Settings
from alb_core.config import BrokerConfig
from alb_core.errors import ConfigError
from alb_core.files import Census
from alb_core.io.clock import monotonic
from alb_core.io.logs import Logger
from alb_core.io.sockets import bracketed, numeric

BACKLOG: Final = 128
#: Connections that wait while the depot starts.
RESTART_S: Final = 1.0
#: A depot that died is not started again before.
CLOSE_S: Final = 3.0
#: A depot whose broker is gone needs less than a second.
BIND_S: Final = 5.0
#: The depot of a broker that was killed holds the port until it has seen that.


class DepotLink:
    """One broker's depot.

    Args:
        config: Of the broker.
        log: Takes what happens to the process.

    Raises:
        ConfigError: The port cannot be listened on, or the directory cannot be made.
    """

    def __init__(self, config: BrokerConfig, log: Logger) -> None:
        self._config: Final = config
        self._log: Final = log
        self._directory: Final = config.depot_dir or f"/var/tmp/alb-{os.geteuid()}/depots/{config.name}"  # noqa: S108 (locked, owner checked)
        try:
            Path(self._directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--depot-dir {self._directory} cannot be made: {error.strerror}") from error
        self._listener: Final = _listen(config.bind, config.depot_port)
        address = bracketed(numeric(config.address()))
        self.endpoint: Final = f"http://{address}:{self._listener.getsockname()[1]}"
        #: As others know it.
        self.key: Final = secrets.token_hex(32)
        #: By which the depot believes a leader: the brokers read it in this one's node.
        self._process: subprocess.Popen[bytes] | None = None
        self._unsent = bytearray()
        #: Orders that its pipe did not take yet.
        self._census: Census | None = None
        #: While this broker leads: what the depot is told when it starts.
        self._keys: Mapping[str, str] = {}
        #: Of the depots that it tells then.
        self._started_at = float("-inf")

    def fileno(self) -> int:
        """Return the descriptor of the port."""
        return self._listener.fileno()

    @property
    def waits(self) -> bool:
        """Whether the port is to be polled: nobody takes the connections that come."""
        return self._process is None

    def on_connection(self) -> None:
        """Somebody connected, and there is no depot: start it."""
        if self._process is None and monotonic() - self._started_at >= RESTART_S:
            self._start()

    def tell(self, action: TellDepots) -> None:
        """Pass the leader's word on; where tasks need files the depot has to be there."""
        self._census, self._keys = action.census, action.keys
        if self._process is not None:
            self._order()
        elif action.census is not None and action.census.used:
            self.on_connection()

    def tick(self) -> None:
        """Notice the depot's death, and send what its pipe takes now."""
        process = self._process
        if process is None:
            return
        status = process.poll()
        if status is None:
            self._flush()
            return
        self._log.error("depot_died", pid=process.pid, status=status)
        self._forget()

    def close(self) -> None:
        """End the depot; nobody listens any more."""
        self._listener.close()
        process = self._process
        if process is None:
            return
        self._forget()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(CLOSE_S)
        process.kill()
        process.wait()

    # --- leaves -------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._started_at = monotonic()
        settings = Settings(
            broker=self._config.name,
            endpoint=self.endpoint,
            directory=self._directory,
            bytes_max=self._config.depot_bytes_max,
            log_level=self._config.log_level,
        )
        try:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-X", "utf8", "-P", "-m", "alb_broker.depot"),
                    *(str(self._listener.fileno()), msgspec.json.encode(settings).decode()),
                ],
                stdin=subprocess.PIPE,
                pass_fds=(self._listener.fileno(),),
                start_new_session=True,  # a Ctrl-C is the broker's
                env={**os.environ, KEY_VARIABLE: self.key},
            )
        except OSError as error:
            self._log.error("depot_not_started", why=str(error))
            return
        assert self._process.stdin is not None  # noqa: S101 (narrows the type)
        os.set_blocking(self._process.stdin.fileno(), False)
        self._log.info("depot_starts", pid=self._process.pid, directory=self._directory)
        self._order()

    def _order(self) -> None:
        """Say what is true now; of several censuses that wait only the newest counts, but none is cut."""
        if len(self._unsent) == 0 or self._census is None:
            self._unsent += msgspec.json.encode(Order(census=self._census, keys=dict(self._keys))) + b"\n"
        self._flush()

    def _flush(self) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            while self._unsent:
                del self._unsent[: os.write(process.stdin.fileno(), self._unsent)]

    def _forget(self) -> None:
        process, self._process = self._process, None
        self._unsent.clear()
        if process is not None and process.stdin is not None:
            process.stdin.close()


def _listen(bind: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    address = ("" if bind == "*" else bind, port)
    deadline = monotonic() + BIND_S
    while True:
        try:
            listener = socket.create_server(address, family=family, backlog=BACKLOG)
        except OSError as error:
            if not port or monotonic() > deadline:
                raise ConfigError(
                    f"cannot listen on {bind} port {port or 'any'} for the depot: {error.strerror}"
                ) from error
            time.sleep(0.1)
        else:
            listener.setblocking(False)
            return listener
