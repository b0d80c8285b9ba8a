"""The frame of the command line: what goes wrong is one sentence, and nothing keeps a command from ending."""

from __future__ import annotations

import threading
import time

import pytest

from alb.cli import main as module
from alb.cli.main import run
from alb_core.io import sockets


class Context:
    """A context of ZeroMQ one of whose sockets was never closed."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def term(self) -> None:
        """Wait for the sockets."""
        self.released.wait()


def test_a_socket_that_was_left_open_keeps_no_command_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """ZeroMQ would wait for it for ever."""
    stuck = Context()
    monkeypatch.setattr(sockets, "context", lambda: stuck)
    monkeypatch.setattr(module, "LEAVE_S", 0.05)
    begun = time.monotonic()
    module._let_messages_leave()
    assert time.monotonic() - begun < 60
    stuck.released.set()


def test_a_thread_that_breaks_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its name and the defect, and where to see more: not a traceback."""
    monkeypatch.setattr(threading, "excepthook", module._tell_broken_thread)

    def breaks() -> None:
        raise RuntimeError("a defect")

    broken = threading.Thread(target=breaks, name="output")
    broken.start()
    broken.join()
    said = "alb: internal error in output: RuntimeError: a defect; ALB_DEBUG=1 shows where\n"
    assert capfd.readouterr().err == said


@pytest.mark.parametrize(
    "arguments",
    [
        ["sql", "--store", "sqlite:////dev/null", "select '\udcff'"],
        ["submit", "--zk", "zk:1", "echo \udcff"],
        ["submit", "--zk", "zk:1", "--name", "\udcff", "true"],
        ["health", "--zk", "zk:1", "worker", "\udcff"],
        ["health", "--zk", "zk:1", "worker", "a/b"],
        ["submit", "--zk", "\udcff:1", "true"],
        ["tasks", "--zk", "zk:1", "--limit", "99999999999999999999"],
        ["history", "--zk", "zk:1", "--limit", "99999999999999999999"],
    ],
    ids=lambda arguments: " ".join(arguments).encode(errors="replace").decode(),
)
def test_what_cannot_be_given_is_said_as_such(
    arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Bytes that are no text, names that none has, numbers beyond all bounds: before anybody is asked."""
    assert run(arguments) == 125
    said = capfd.readouterr().err
    assert "internal error" not in said
    assert any(words in said for words in ("not valid text", "name of no worker", "not host:port", "range"))
