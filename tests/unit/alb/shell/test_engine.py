"""The client's thread, as far as one can say without a broker."""

from __future__ import annotations

import os

from alb.api.desk import Desk
from alb.shell.engine import Engine
from alb_core.config import ClientConfig


def test_a_fork_is_noticed_in_the_child_alone() -> None:
    """Neither threads nor sockets survive it: the child must not use what it inherits, the parent goes on."""
    engine = Engine(ClientConfig(zk="127.0.0.1:1"), Desk(lambda _: None), 1.0)
    child = os.fork()
    if not child:
        os._exit(0 if engine.forked() else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert not engine.forked()
