"""One server of each kind for all tests here; those that break one start their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.store_servers import SERVERS, Server


def demand(kind: str) -> type[Server]:
    """Return a kind of server; where it is not installed, skip the test, or fail it with ``CI=true``."""
    server = SERVERS[kind]
    if shutil.which(server.program) is None:
        why = f"{kind} is not installed; run: apt-get install {' '.join(server.packages)}"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return server


@pytest.fixture(scope="session")
def _running() -> Iterator[dict[str, Server]]:
    with ExitStack() as stack:
        running: dict[str, Server] = {}

        class Starting(dict[str, Server]):
            def __missing__(self, kind: str) -> Server:
                self[kind] = stack.enter_context(demand(kind)())
                return self[kind]

        running = Starting()
        yield running


@pytest.fixture(params=list(SERVERS))
def place(request: pytest.FixtureRequest, _running: dict[str, Server]) -> Server:
    """A server of each kind in turn; leave it running."""
    return _running[request.param]


@pytest.fixture(params=list(SERVERS))
def own_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of each kind in turn, to kill and freeze."""
    with demand(request.param)() as server:
        yield server
