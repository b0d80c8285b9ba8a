"""The verbs, run in this process against a leader that answers from a script."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.unit.alb.fake_broker import FakeBroker, finish_with, succeed

from alb.cli import daemons
from alb.cli.main import VERBS, cli, run
from alb_core import codec
from alb_core.config import BrokerConfig, WorkerConfig
from alb_core.messages import (
    Accepted,
    Ack,
    Attach,
    Cancel,
    CancelNoted,
    Finished,
    Message,
    QueryTasks,
    Submit,
    TaskLine,
    TaskMoved,
    TasksPage,
)
from alb_core.resources import counts_of
from alb_core.spec import TaskSpec
from alb_core.speeds import Strain
from alb_core.tasks import Result, Stream, TaskState
from alb_core.vectors import Vector

ZK = ("--zk", "zk:2181", "--user", "u")
TASK = "a" * 32


def spec_of(broker: FakeBroker) -> TaskSpec:
    """Return what was submitted."""
    return codec.decode_spec(next(m for m in broker.received if isinstance(m, Submit)).spec)


def test_every_verb_has_help_json_and_a_command() -> None:
    """The table of verbs tells the truth, and ``--json`` is on each."""
    for verb in VERBS:
        command = cli.get_command(None, verb)  # type: ignore[attr-defined, arg-type]
        assert command is not None
        assert command.help
        assert any("--json" in parameter.opts for parameter in command.params), verb


def test_submit_passes_output_and_status_on(
    broker: FakeBroker, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Bytes as they are on both streams, nothing else, and the command's own exit status."""
    failed = Result(
        state=TaskState.FAILED,
        exit_code=7,
        attempt=1,
        worker="w1",
        stdout=Stream.of(b"\xff\x00out", 5),
        stderr=Stream.of(b"err\n", 4),
    )
    broker.answer = finish_with(failed)
    assert run(["submit", *ZK, "--", "prog", "-x"]) == 7
    assert capfdbinary.readouterr() == (b"\xff\x00out", b"err\n")
    assert spec_of(broker).command == ("prog", "-x")


def test_submit_says_what_of_the_output_is_not_to_be_had(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """A disk that was full at the worker: nobody may take the first bytes for all of them."""
    standard = {"state": TaskState.SUCCEEDED, "exit_code": 0, "attempt": 1, "worker": "w1"}
    few = Result(**standard, stdout=Stream.of(b"z" * 10, 10, truncated=True))
    broker.answer = finish_with(few)
    assert run(["submit", *ZK, "x"]) == 0
    told = capfd.readouterr()
    assert (told.out, "stdout: output lost from byte 10 (the command wrote" in told.err) == ("z" * 10, True)
    broker.answer = finish_with(Result(**standard, stdout=Stream.of(b"z" * 4096, 10_000)))
    broker.lost = "the worker is gone"
    assert run(["submit", *ZK, "x"]) == 0
    assert "stdout: output lost from byte 0 (the worker is gone)" in capfd.readouterr().err


def test_submit_understands_its_options(broker: FakeBroker) -> None:
    """Each flag lands in the specification, in the right unit; one argument is a shell line."""
    flags = "-c 0.5 --mem 4G --net 100M -t 1h30m --grace 2 -p 5 -D /srv -J job --on-lost fail"
    labels = ["--label", "gpu", "--label", "zone=a", "--env", "A=1", "--env", "HOME"]
    assert run(["submit", *ZK, *flags.split(), *labels, "--id", TASK, "-q", "echo | wc"]) == 0
    spec = spec_of(broker)
    assert (spec.command, spec.cwd, spec.name, spec.priority) == ("echo | wc", "/srv", "job", 5)
    assert (spec.time_limit_s, spec.grace_s, spec.on_lost.value) == (5400, 2, "fail")
    assert spec.request.memory_bytes == 4 << 30
    assert not spec.preemptible
    assert (spec.request.cpus, spec.request.net_bps) == (0.5, 10**8)
    assert spec.request.labels == ("gpu", "zone=a")
    assert spec.env == {"A": "1", "HOME": os.environ["HOME"]}
    assert any(isinstance(m, Submit) and m.id == TASK for m in broker.received)


def test_submit_asks_for_more_than_processors(broker: FakeBroker) -> None:
    """GPUs and named counts, labels that are required and preferred, each in pieces or with commas."""
    flags = "--gpus 2 --resource licence=2 --resource dongle=1 --require arch=x86_64,ssd --label zone!=b"
    flags += " --work memory --optimize time=0.7,resources=0.3"
    words = [*flags.split(), "--prefer", "zone=a", "--measured", "--preemptible"]
    assert run(["submit", *ZK, *words, "-q", "x"]) == 0
    assert spec_of(broker).preemptible
    request = spec_of(broker).request
    assert request.counts == counts_of({"gpus": 2, "licence": 2, "dongle": 1})
    assert request.labels == ("arch=x86_64", "ssd", "zone!=b")
    assert (request.prefers, request.measured, request.gpus) == (("zone=a",), True, 2)
    assert (request.strain, request.optimize) == (Strain.MEMORY, Vector(time=0.7, resources=0.3))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--resource licence", "NAME=COUNT"),
        ("--resource licence=-2", "NAME=COUNT"),
        (f"--resource licence={10**30}", "NAME=COUNT"),
        ("--resource licence=0", "licence=0 is no count"),
        ("--resource a=1,a=2", "given twice"),
        ("--resource cpus=2", "option of their own"),
        ("--resource " + ",".join(f"r{n}=1" for n in range(1000)), "1000 named resources"),
        ("--gpus 0.5", "whole ones"),
        ("--gpus -1", "no number"),
        (f"--gpus {10**30}", "no number"),
        ("--gpus 2 --resource gpus=3", "give one of them"),
        ("--require a,,b", "is no label"),
        ("--work disk", "'integer', 'memory', 'float'"),
        ("--optimize money", "nothing to optimise: write time, resources"),
        ("--optimize time=0,resources=0", "nor both of them 0"),
    ],
)
def test_nonsense_that_is_asked_for_is_refused_at_once(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str], flags: str, words: str
) -> None:
    """Nothing is sent; a sentence says what is wrong."""
    assert run(["submit", *ZK, *flags.split(), "x"]) != 0
    assert words in " ".join(capfd.readouterr().err.replace("│", " ").split())
    assert not any(isinstance(message, Submit) for message in broker.received)


@pytest.mark.parametrize(
    ("result", "status", "words"),
    [
        (Result(state=TaskState.FAILED, signal=9, attempt=1, worker="w1"), 137, "signal 9"),
        (Result(state=TaskState.TIMEOUT, signal=15, attempt=1, worker="w1"), 124, "TIMEOUT"),
        (Result(state=TaskState.FAILED, exit_code=126, why="no permission"), 126, "no permission"),
        (Result(state=TaskState.LOST, why="its worker was lost"), 125, "its worker was lost"),
        (Result(state=TaskState.OOM, signal=9, attempt=1, worker="w1"), 137, "OOM"),
    ],
)
def test_an_end_that_its_status_does_not_explain_is_said(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str], result: Result, status: int, words: str
) -> None:
    """Signals, limits and losses have the statuses of a shell, and a line on stderr."""
    broker.answer = finish_with(result)
    assert run(["submit", *ZK, "x"]) == status
    assert words in capfd.readouterr().err


def test_submit_detached_prints_the_id_once_accepted(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """The id alone is on stdout; the result is left to others."""
    broker.answer = lambda m: (Accepted(id=m.id),) if isinstance(m, Submit) else ()
    assert run(["submit", *ZK, "--detach", "sleep 100"]) == 0
    out = capfd.readouterr().out
    assert out.strip() == next(m.id for m in broker.received if isinstance(m, Submit))
    assert not any(isinstance(m, Ack) for m in broker.received)


def test_submit_json_is_one_document(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """Everything about the end, with the output in it."""
    broker.answer = finish_with(succeed(b"hi\n"))
    assert run(["submit", *ZK, "--json", "echo hi"]) == 0
    form = json.loads(capfd.readouterr().out)
    assert (form["state"], form["exit_status"], form["stdout"]) == ("SUCCEEDED", 0, "hi\n")


class Endless:
    """A task that runs until it is cancelled."""

    def __init__(self, broker: FakeBroker) -> None:
        self.runs = False
        self.cancelled = False
        self.state = TaskState.RUNNING
        broker.answer = self.answer

    def answer(self, message: Message) -> Sequence[Message]:
        """Accept; end when cancelled."""
        if isinstance(message, Submit):
            self.runs = True
            return (Accepted(id=message.id, state=self.state, attempt=1, worker="w1"),)
        if isinstance(message, Cancel):
            self.cancelled = True
            over = Result(state=TaskState.CANCELLED, attempt=1, worker="w1", signal=15)
            return (CancelNoted(id=message.id), Finished(id=message.id, result=over))
        return ()


def test_a_second_ctrl_c_cancels(
    broker: FakeBroker, interrupt_when: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    """The first says what runs where and what one can do; the second ends it, with status 130."""
    task = Endless(broker)
    interrupt_when(lambda: task.runs)
    assert run(["submit", *ZK, "sleep 100"]) == 130
    err = capfd.readouterr().err
    assert r"runs on w1; still attached. Ctrl-C again within 2 s cancels it; Ctrl-\ leaves it running" in err
    assert "was cancelled" in err
    assert task.cancelled


def test_two_slow_ctrl_cs_do_not_cancel_and_sigterm_leaves(
    broker: FakeBroker, interrupt_when: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    """Interrupts more than two seconds apart only inform; SIGTERM leaves the task alone."""
    task = Endless(broker)
    later = [(2.3, signal.SIGINT), (0.3, signal.SIGTERM)]

    def again() -> None:
        delay_s, number = later.pop(0)
        threading.Timer(delay_s, os.kill, (os.getpid(), number)).start()

    interrupt_when(lambda: task.runs, again)
    assert run(["submit", *ZK, "sleep 100"]) == 128 + signal.SIGTERM
    assert "leaving; task" in capfd.readouterr().err
    assert not task.cancelled


@pytest.mark.parametrize(
    ("state", "where"),
    [(TaskState.RUNNING, "runs on w1"), (TaskState.QUEUED, "is queued"), (TaskState.HELD, "is held")],
)
def test_a_quit_leaves_the_task_alone(
    broker: FakeBroker,
    interrupt_when: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
    state: TaskState,
    where: str,
) -> None:
    """A quit (SIGQUIT, by key) after the first Ctrl-C: where it is and the way back are said; it goes on."""
    task = Endless(broker)
    task.state = state
    interrupt_when(lambda: task.runs, lambda: os.kill(os.getpid(), signal.SIGQUIT))
    assert run(["submit", *ZK, "sleep 100"]) == 128 + signal.SIGQUIT
    assert f"{where} and goes on; attach again with: alb logs -f" in capfd.readouterr().err
    assert not task.cancelled


def test_a_reader_that_leaves_ends_the_task(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody reads stdout any more: the task is cancelled, as SIGPIPE would have ended it here."""
    task = Endless(broker)
    broker.output = b"y\n" * 1000
    saved = os.dup(1)
    read_end, write_end = os.pipe()
    os.close(read_end)
    os.dup2(write_end, 1)
    try:
        assert run(["submit", *ZK, "yes"]) == 141
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(write_end)
    assert "nobody reads the output" in capfd.readouterr().err
    assert task.cancelled


def test_a_full_disk_leaves_the_task_alone(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """Output that cannot be written is said, with the way back to it; what runs goes on."""
    task = Endless(broker)
    broker.output = b"y\n" * 1000
    saved = os.dup(1)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, 1)
    try:
        assert run(["submit", *ZK, "yes"]) == 125
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(full)
    err = capfd.readouterr().err
    assert "the output cannot be written: No space left on device; task" in err
    assert "goes on; attach again with: alb logs -f" in err
    assert not task.cancelled


# --- the other verbs --------------------------------------------------------------------------------------


def test_wait_leaves_with_the_task_s_status(broker: FakeBroker) -> None:
    """Of several tasks it is the first status that is not 0."""
    statuses = {TASK: 0, "b" * 32: 3, "c" * 32: 4}

    def answer(message: Message) -> Sequence[Message]:
        if not isinstance(message, Attach):
            return ()
        code = statuses[message.id]
        state = TaskState.FAILED if code else TaskState.SUCCEEDED
        return (Finished(id=message.id, result=Result(state=state, exit_code=code, attempt=1, worker="w1")),)

    broker.answer = answer
    assert run(["wait", *ZK, TASK]) == 0
    assert run(["wait", *ZK, *statuses]) == 3


def test_wait_gives_up_after_its_timeout(broker: FakeBroker, capfd: pytest.CaptureFixture[str]) -> None:
    """Status 124, and how many have not ended; with --any one is enough."""
    moved = TaskMoved(id=TASK, state=TaskState.RUNNING, attempt=1, worker="w1")

    def answer(message: Message) -> Sequence[Message]:
        if not isinstance(message, Attach):
            return ()
        return (moved,) if message.id == TASK else (Finished(id=message.id, result=succeed()),)

    broker.answer = answer
    assert run(["wait", *ZK, "--timeout", "0.3", TASK, "b" * 32]) == 124
    assert "1 of 2 tasks have not ended" in capfd.readouterr().err
    assert run(["wait", *ZK, "--any", TASK, "b" * 32]) == 0


def test_tasks_are_listed_as_a_table_and_as_json(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal the table is plain columns; by default only what has not ended is asked for."""
    line = TaskLine(id=TASK, state=TaskState.RUNNING, user="u", command="sleep 9", worker="w1", attempt=1)
    asked: list[QueryTasks] = []

    def answer(message: Message) -> Sequence[Message]:
        if isinstance(message, QueryTasks):
            asked.append(message)
            return (TasksPage(seq=message.seq, tasks=(line,)),)
        return ()

    broker.answer = answer
    assert run(["tasks", *ZK]) == 0
    table = capfd.readouterr().out.splitlines()
    assert table[0].split() == ["ID", "STATE", "EXIT", "USER", "WORKER", "NAME", "COMMAND"]
    assert table[1].split() == [TASK, "RUNNING", "u", "w1", "sleep", "9"]
    assert (set(asked[0].states), asked[0].user) == (
        {TaskState.HELD, TaskState.QUEUED, TaskState.RUNNING},
        "u",
    )
    assert run(["tasks", *ZK, "--json", "-a"]) == 0
    assert json.loads(capfd.readouterr().out)[0]["id"] == TASK
    assert asked[1].states == ()


# --- broker and worker ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "role"), [("broker", BrokerConfig), ("worker", WorkerConfig)])
def test_every_setting_of_a_role_has_an_option_with_help(verb: str, role: type) -> None:
    """A field that is added to a role's configuration cannot be forgotten on its command line."""
    command = getattr(daemons, verb)
    options = {parameter.name: parameter for parameter in command.params}
    for field in role.__struct_fields__:
        assert field in options, field
        assert options[field].help


def test_settings_come_from_file_environment_and_flags(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Flags win over the environment, that over the file, that over the defaults; names are made up."""
    file = tmp_path / "worker.toml"
    file.write_text('zk = "file:1"\ncpus = 1.5\nspool_kept_s = 60.0\n')
    monkeypatch.setenv("ALB_ZK", "env:1")
    monkeypatch.delenv("ALB_NAME", raising=False)
    flags = ["--net", "1G", "--memory", "2G", "--labels", "gpu,zone=a", "--session-timeout", "10s"]
    assert run(["worker", "--json", "--config", str(file), *flags]) == 0
    form = json.loads(capfd.readouterr().out)
    assert (form["zk"], form["cpus"], form["spool_kept_s"]) == ("env:1", 1.5, 60.0)
    assert (form["net_bps"], form["memory_bytes"], form["session_timeout_s"]) == (10**9, 2 << 30, 10.0)
    assert form["labels"] == ["gpu", "zone=a"]
    assert form["name"].startswith("w-")
    file.write_text('name = "w9"\n')
    assert run(["worker", "--json", "--config", str(file), "--zk", "flag:1"]) == 0
    form = json.loads(capfd.readouterr().out)
    assert (form["zk"], form["name"]) == ("flag:1", "w9")


def test_a_worker_is_told_what_it_has_in_pieces_or_with_commas(capfd: pytest.CaptureFixture[str]) -> None:
    """GPUs, counts and labels; nonsense ends at once, with a sentence."""
    flags = ["--gpus", "2", "--resource", "licence=5", "--resources", "a=1,b=2", "--label", "x,y"]
    assert run(["worker", "--json", "--zk", "zk:1", *flags]) == 0
    form = json.loads(capfd.readouterr().out)
    assert (form["gpus_count"], form["resources"], form["labels"]) == (
        2,
        ["licence=5", "a=1", "b=2"],
        ["x", "y"],
    )
    assert run(["worker", "--json", "--zk", "zk:1"]) == 0
    form = json.loads(capfd.readouterr().out)
    assert (form.get("gpus_count"), form.get("resources", []), form.get("labels", [])) == (None, [], [])
    assert run(["worker", "--json", "--zk", "zk:1", "--resource", "licence"]) != 0
    assert "NAME=COUNT" in capfd.readouterr().err


def test_a_table_on_a_terminal_is_drawn_with_rich(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cells are taken literally, also where they look like markup."""
    from alb.cli import out  # noqa: PLC0415

    monkeypatch.setattr(os, "isatty", lambda _descriptor: True)
    out.emit_table(("ID", "COMMAND"), [("1", "echo [bold]x[/bold]")], empty="none")
    assert "echo [bold]x[/bold]" in capsys.readouterr().out
