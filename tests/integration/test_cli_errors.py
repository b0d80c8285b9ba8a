"""``alb`` as a process, without a cluster: every error is a sentence and a status, never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.harness import wait_for

from alb import Client, ZooKeeperUnreachable
from alb.local.ports import Port

ALB = str(Path(sys.executable).with_name("alb"))
NOBODY = "127.0.0.1:1"


def alb(*arguments: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command with a clean environment."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ALB_")}
    return subprocess.run(
        [ALB, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        env=clean | environ,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nonsense"], 125, "No such command 'nonsense'"),
        (["submit"], 125, "which COMMAND? give a shell command line"),
        (["submit", "true"], 125, "no ZooKeeper given: use --zk host:2181 or set ALB_ZK"),
        (["tasks", "--zk", "host:port"], 125, "'host:port' is not host:port"),
        (["submit", "--zk", NOBODY, "-t", "soon", "true"], 125, "no duration; write 90"),
        (["submit", "--zk", NOBODY, "--mem", "much", "true"], 125, "no size; write for example"),
        (["submit", "--zk", NOBODY, "--net", "1MB", "true"], 125, "no bandwidth; write for example"),
        (["submit", "--zk", NOBODY, "-c", "0", "true"], 125, "-c"),
        (["submit", "--zk", NOBODY, "--env", "=x", "true"], 125, "no name before the '='"),
        (["submit", "--zk", NOBODY, "--env", "SURELY_UNSET", "true"], 125, "SURELY_UNSET is not set here"),
        (["submit", "--zk", NOBODY, "--on-lost", "cry", "true"], 125, "--on-lost"),
        (["submit", "--zk", NOBODY, "--id", "7", "true"], 125, "32 lower-case hex digits"),
        (["submit", "--zk", NOBODY, "-D", "relative", "true"], 125, "not an absolute path"),
        (["submit", "--zk", NOBODY, ""], 125, "the command is empty"),
        (["submit", "--zk", NOBODY, "--user", "u" * 100, "true"], 125, "user name"),
        (["logs", "--zk", NOBODY, "--offset", "5", "a" * 32], 125, "--since needs --stdout or --stderr"),
        (["logs", "--zk", NOBODY, "-n", "5", "--since", "1", "a" * 32], 125, "exclude each other"),
        (["increment", "k", "v"], 125, "ALB_INCREMENTS is not set"),
        (["increments", "--zk", NOBODY, "not-an-id"], 125, "no task id"),
        (["submit", "--zk", NOBODY, "--steps", "-1", "true"], 125, "--steps"),
        (["wait", "--zk", NOBODY], 125, "Missing argument"),
        (["status", "--zk", NOBODY, "not-an-id"], 125, "no task id"),
        (["broker", "--zk", NOBODY, "--name", "b/1"], 78, "not usable"),
        (["broker", "--zk", NOBODY, "--bind", "*"], 78, "--advertise"),
        (["broker", "--zk", NOBODY, "--ports", "1,2,3"], 78, "ports"),
        (["up", "--cpus", "0"], 125, "0<x<=1000000"),
        (["up", "--cpus", "nan"], 125, "nan"),
        (["worker", "--zk", NOBODY, "--session-timeout", "1h"], 78, "between 0.5 and 120"),
        (
            ["worker", "--zk", NOBODY, "--config", "/nonexistent.toml"],
            125,
            "No such file or directory: /nonexistent.toml",
        ),
    ],
)
def test_wrong_usage_is_explained(arguments: list[str], status: int, words: str) -> None:
    """Status 125 (78 of a daemon), what is wrong and what would be right; nothing is sent anywhere."""
    done = alb(*arguments)
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert (done.returncode, done.stdout) == (status, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit", "true"],
        ["submit", "--detach", "true"],
        ["tasks"],
        ["status"],
        ["workers"],
        ["brokers"],
        ["policy", "set", "uniform"],
        ["dump"],
        ["cancel", "a" * 32],
        ["wait", "a" * 32],
        ["logs", "-f", "a" * 32],
    ],
    ids=lambda arguments: arguments[0],
)
def test_no_zookeeper_is_said_within_seconds(arguments: list[str]) -> None:
    """Every verb ends soon, with status 125, the servers tried, and what to check."""
    begin = time.monotonic()
    verb, *rest = arguments
    done = alb(verb, "--connect-timeout", "0.8", *rest, ALB_ZK=NOBODY)
    assert done.returncode == 125
    assert "no ZooKeeper server answered within" in done.stderr
    assert NOBODY in done.stderr
    assert "--zk or ALB_ZK" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - begin < 60


def test_a_question_says_what_it_waits_for() -> None:
    """After a second; only then does it give up."""
    done = alb("status", "--connect-timeout", "3", ALB_ZK=NOBODY)
    *said, last = done.stderr.splitlines()
    assert f"alb: waiting for ZooKeeper ({NOBODY})" in said
    assert "no ZooKeeper server answered within" in last
    assert done.returncode == 125


def test_a_program_is_told_that_there_is_no_zookeeper(
    closed_port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    """In Python's log, while its task waits; and by a typed error where it wants to be connected first."""
    nobody = f"127.0.0.1:{closed_port.number}"
    with Client(nobody) as client:
        future = client.submit("true")
        wait_for(lambda: f"waiting for ZooKeeper ({nobody})" in caplog.messages, "a word of what is missing")
        assert not future.done()
    with pytest.raises(ZooKeeperUnreachable, match=f"no ZooKeeper server answered .*{nobody}"):
        Client(nobody, connect_timeout=0.5)


def test_a_broker_without_zookeeper_says_what_it_waits_for() -> None:
    """Every few seconds, as workers do, until a server answers or it gives up."""
    broker = subprocess.Popen(
        [ALB, "broker", "--zk", NOBODY, "--name", "b1"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with broker:
        try:
            assert broker.stderr is not None
            lines = (json.loads(line) for line in broker.stderr)
            waiting = next(line for line in lines if line["event"] == "broker_waiting")
        finally:
            broker.kill()
    assert (waiting["for"], waiting["tried"], waiting["broker"]) == ("ZooKeeper", NOBODY, "b1")


def _broken_off(tmp_path: Path, *before: str) -> subprocess.CompletedProcess[str]:
    """Press Ctrl-C while the command imports its first library, which says so where it is not ended."""
    (tmp_path / "click.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint('goes on', flush=True)\nos._exit(3)\n"
    )
    return subprocess.run(
        [*before, ALB, "status"],
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        check=False,
    )


def test_an_interrupt_while_it_starts_is_as_quiet_as_of_any_command(tmp_path: Path) -> None:
    """The signal ends it, which a shell calls 130: no traceback of what was being imported."""
    done = _broken_off(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_an_interrupt_that_is_ignored_stays_so(tmp_path: Path) -> None:
    """Whoever starts the command in the background of a script has Ctrl-C end the script, not it."""
    done = _broken_off(tmp_path, "/bin/sh", "-c", "trap '' INT; exec \"$@\"", "sh")
    assert (done.returncode, done.stdout, done.stderr) == (3, "goes on\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_question_is_interrupted_quietly(number: signal.Signals) -> None:
    """While it waits for an answer: Ctrl-C with status 130, TERM as it ends any other program."""
    command = [ALB, "status", "--zk", NOBODY, "--connect-timeout", "60"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as asking:
        assert asking.stderr is not None
        assert asking.stderr.readline() == f"alb: waiting for ZooKeeper ({NOBODY})\n"
        asking.send_signal(number)
        rest = asking.stderr.read()
    assert (asking.returncode, rest.strip()) == (130 if number is signal.SIGINT else -number, "")


def test_version_and_help() -> None:
    """They need no cluster, and say what they are for."""
    assert alb("--version").stdout.startswith("alb, version ")
    done = alb("--help")
    assert done.returncode == 0
    assert "submit" in done.stdout
    assert "ALB_ZK" in done.stdout


def test_a_reader_that_closes_its_end_is_no_error_of_ours() -> None:
    """``alb … | head`` ends quietly."""
    reading, writing = os.pipe()
    os.close(reading)
    environ = os.environ | {"ALB_ZK": NOBODY}
    done = subprocess.run(
        [ALB, "worker", "--json"],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=environ,
        timeout=30,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_closed_standard_streams_are_no_error_of_ours() -> None:
    """Their numbers are never given to a socket, which would then get our output."""
    for closed, status in ((">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0)):
        shell = f'exec "$0" worker --json --zk {NOBODY} {closed}'
        done = subprocess.run(["/bin/sh", "-c", shell, ALB], capture_output=True, timeout=30, check=False)
        assert (done.returncode, done.stderr) == (status, b"")


def test_a_table_needs_no_standard_output() -> None:
    """Where the caller closed it, it goes nowhere, as any other output does."""
    shell = 'exec "$0" sql --store sqlite:////dev/null "select 1" >&-'
    done = subprocess.run(["/bin/sh", "-c", shell, ALB], capture_output=True, timeout=30, check=False)
    assert b"isatty" not in done.stderr
    assert (done.returncode, done.stderr) == (0, b"")


def test_complaints_without_room_leave_with_their_status() -> None:
    """On a full disk nothing can be said; that is no other error than the one that cannot be said."""
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" nonsense 2>/dev/full', ALB], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 125


def test_internal_errors_are_a_sentence_too(tmp_path: Path) -> None:
    """A defect of ours is named, with the way to see more; the traceback is shown on request only."""
    (tmp_path / "sitecustomize.py").write_text(
        "import alb.cli.out as out\n"
        "def broken(value): raise RuntimeError('a defect')\n"
        "out.emit_json = broken\n"
    )
    arguments = ("worker", "--json", "--zk", NOBODY)
    done = alb(*arguments, PYTHONPATH=str(tmp_path))
    assert done.returncode == 125
    assert "internal error: RuntimeError: a defect; ALB_DEBUG=1 shows where" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in alb(*arguments, PYTHONPATH=str(tmp_path), ALB_DEBUG="1").stderr
