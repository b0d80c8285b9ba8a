"""What a command is started with: its input, its environment, umask, niceness and user, on real processes."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.runner_agent import Agent, is_gone, read_pid

from alb import Client
from alb_core.bounds import SHIPPED, Bounds, LimitsNode
from alb_core.errors import ConfigError, InvalidTask
from alb_core.increments import Line, Resume
from alb_core.kinds import FOLDER, PAYLOAD_FILE
from alb_core.messages import AttemptId
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause, TaskState
from alb_worker.courier.matching import open_own
from alb_worker.runner.logins import Login, fork_as
from alb_worker.runner.processes import children_of
from alb_worker.runner.program import CommandNotStarted
from alb_worker.shell.guests import open_way
from alb_worker.shell.increments import IncrementFiles
from alb_worker.shell.kind_desk import remove_bare
from alb_worker.shell.runner_link import RunnerLink

NOBODY = "nobody"
MISSING = "surely_nobody"
ONLY_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change users")
BINARY = bytes(range(256)) * 128
#: As much as a specification takes.


@contextmanager
def runner(home: Path, allow_run_as: tuple[str, ...] = ()) -> Iterator[Agent]:
    """Run a runner for the time of a block; it must leave nothing."""
    link = RunnerLink(
        worker="w1", work_dir=str(home), incarnation=f"execution{os.getpid()}", allow_run_as=allow_run_as
    )
    link.start()
    try:
        yield Agent(home, link)
    finally:
        assert link.close() == [], "the runner leaves nothing for others to kill"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """One runner for all tests here that leave it as it was."""
    with runner(tmp_path_factory.mktemp("home")) as each:
        yield each


@pytest.fixture(scope="module")
def host() -> Iterator[Agent]:
    """A runner of root that lets commands be nobody, in a place that nobody can reach."""
    home = Path(tempfile.mkdtemp(prefix="alb-test-", dir="/var/tmp"))
    try:
        open_way(str(home), (NOBODY, MISSING))
        with runner(home, (NOBODY, MISSING)) as each:
            yield each
    finally:
        shutil.rmtree(home)


# --- open files -----------------------------------------------------------------------------------------


def test_what_a_command_starts_at_once_has_its_bound_on_open_files(agent: Agent) -> None:
    """Children that are there before the runner could do anything about them have it too."""
    spec = TaskSpec(command="sh -c 'ulimit -Sn'; ulimit -Sn", bounds=Bounds(open_files=100))
    for attempt in [agent.start(spec) for _ in range(20)]:
        assert agent.wait(attempt).stdout == b"100\n100\n"


@ONLY_ROOT
def test_another_users_command_has_its_bound_on_open_files(host: Agent) -> None:
    """From its first instruction, and for good; also where it is lower than what the runner has open."""
    told = host.run("ulimit -Sn; ulimit -Hn", run_as=NOBODY, bounds=Bounds(open_files=8))
    assert told.stdout == b"8\n8\n", told.outcome


# --- input ----------------------------------------------------------------------------------------------


def test_without_input_a_command_reads_nothing(agent: Agent) -> None:
    """It finds the end at once, and never waits for somebody to type."""
    assert agent.run("cat; readlink /proc/self/fd/0").stdout == b"/dev/null\n"


def test_input_arrives_byte_by_byte(agent: Agent) -> None:
    """As much as a specification takes, NUL and all; as a file, which can be read from its start again."""
    assert agent.run(("cat",), stdin=BINARY).stdout == BINARY
    assert agent.run("cat >/dev/null; wc -c </dev/stdin", stdin=BINARY).stdout == b"%d\n" % len(BINARY)


@pytest.mark.parametrize("command", ["true", "exec 0<&-; true", "head -c 1 >/dev/null"])
def test_input_that_nobody_reads_holds_nothing_up(agent: Agent, command: str) -> None:
    """A command that closes it early, or never looks at it, ends like any other; nobody waits for it."""
    assert agent.run(command, stdin=BINARY).outcome.exit_code == 0


def test_a_file_of_the_task_is_its_input(agent: Agent) -> None:
    """Of any size, from its fresh directory."""
    prepared = agent.home / "prepared" / "a"
    prepared.mkdir(parents=True)
    (prepared / "in").write_bytes(BINARY * 100)
    attempt = AttemptId("a" * 32, 1)
    agent.link.start_attempt(attempt, TaskSpec(command="wc -c; ls", stdin_file="in"), prepared=str(prepared))
    assert agent.wait(attempt).stdout == b"%d\nin\n" % (100 * len(BINARY))


def test_input_that_is_gone_is_said(agent: Agent) -> None:
    """The command does not run without it."""
    outcome = agent.run("echo ran", stdin_file="missing").outcome
    assert (outcome.cause, outcome.exit_code) == (Cause.NOT_STARTED, 125)
    assert "standard input" in outcome.why


# --- environment ----------------------------------------------------------------------------------------


def test_the_environment_is_small_and_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/execution.md lists, what the task sets, and alb's own; no secret of the worker."""
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")
    monkeypatch.setenv("LC_TIME", "C")
    monkeypatch.setenv("TZ", "UTC")
    with runner(tmp_path) as agent:
        lines = agent.run(("env",), env={"MINE": "1", "ALB_WORKER": "forged"}).stdout.decode().splitlines()
    names = {line.partition("=")[0] for line in lines}
    own = {"ALB_TASK_ID", "ALB_ATTEMPT", "ALB_CPUS", "ALB_MEM", "ALB_WORKER", "ALB_WORKER_HOME"}
    inherited = {"PATH", "HOME", "LANG", "TZ", "USER", "LOGNAME", "SHELL", "TMPDIR"}
    assert {"MINE", "LC_TIME", "TZ", *own} <= names
    assert {name for name in names if not name.startswith("LC_")} <= own | inherited | {"MINE"}
    assert "ALB_WORKER=w1" in lines


def test_what_the_kernel_does_not_take_is_said(agent: Agent) -> None:
    """A string beyond 128 KiB: the command ends with the reason, and the next one runs."""
    outcome = agent.run(("true",), env={"BIG": "x" * 200_000}).outcome
    assert (outcome.cause, outcome.exit_code) == (Cause.NOT_STARTED, 125)
    assert "larger than the kernel takes" in outcome.why
    assert agent.run(("true",)).outcome.exit_code == 0


# --- umask and niceness ---------------------------------------------------------------------------------


def test_files_are_made_under_the_umask(agent: Agent) -> None:
    """The task's own, and 022 again for who asks for none."""
    command = "touch file; mkdir folder; stat -c %a file folder"
    assert agent.run(command, umask=0o027).stdout == b"640\n750\n"
    assert agent.run(command, umask=0).stdout == b"666\n777\n"
    assert agent.run(command).stdout == b"644\n755\n"
    assert agent.run(("no-such-command",), umask=0o077).outcome.exit_code == 127
    assert agent.run(command).stdout == b"644\n755\n"


def test_a_nicer_command_is_nicer(agent: Agent) -> None:
    """All of it, a moment after its start; the next one has the worker's niceness again."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    wanted = min(own + 7, 19)
    told = agent.run(f'until [ "$(nice)" = {wanted} ]; do sleep 0.01; done; nice', nice=7).stdout
    assert told == b"%d\n" % wanted
    assert agent.run(("nice",)).stdout == b"%d\n" % own


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel groups no sessions")
def test_a_nicer_command_is_nicer_to_other_sessions(agent: Agent) -> None:
    """Where the kernel groups processes by session, their own niceness would count for nothing.

    It lets a worker without privileges say so only every tenth of a second.
    """
    told = [agent.run("sleep 0.15; cat /proc/self/autogroup", nice=7).stdout for _ in range(2)]
    own = max(os.getpriority(os.PRIO_PROCESS, 0) + 7, 0)
    assert told[-1].endswith(b" nice %d\n" % min(own, 19))


def test_a_niceness_below_the_workers_is_given_or_refused(agent: Agent) -> None:
    """From its first instruction, or not at all, with what the worker lacks."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    finished = agent.run(("nice",), nice=-3)
    if finished.outcome.exit_code == 0:
        assert finished.stdout == b"%d\n" % max(own - 3, -20)
    else:
        assert (finished.outcome.cause, finished.outcome.exit_code) == (Cause.NOT_STARTED, 125)
        assert "CAP_SYS_NICE" in finished.outcome.why
    assert agent.run(("nice",)).stdout == b"%d\n" % own


# --- other users ----------------------------------------------------------------------------------------


@ONLY_ROOT
def test_a_command_is_another_user(host: Agent) -> None:
    """Real, effective and saved, with that user's groups and none of root's; its environment says so."""
    told = host.run("grep -E '^(Uid|Gid|Groups)' /proc/self/status; echo $USER $LOGNAME $HOME", run_as=NOBODY)
    uid, gid, groups, names = (line.split() for line in told.stdout.decode().splitlines())
    assert uid[1:] == gid[1:] == ["65534"] * 4
    assert "0" not in groups[1:]
    assert names == [NOBODY, NOBODY, "/nonexistent"]
    assert host.run("echo $HOME", run_as=NOBODY, env={"HOME": "/srv"}).stdout == b"/srv\n"


@ONLY_ROOT
def test_its_directory_is_its_own_and_can_be_reached(host: Agent) -> None:
    """By its full name, closed to others; the files that it takes along are its own, too."""
    told = host.run('touch "$PWD/mine" && stat -c "%a %U" "$PWD" "$PWD/mine"', run_as=NOBODY, umask=0o077)
    assert told.stdout == b"700 nobody\n600 nobody\n"
    prepared = host.home / "prepared" / "b"
    (prepared / "folder").mkdir(parents=True)
    (prepared / "folder" / "in").write_bytes(b"secret")
    (prepared / "folder" / "in").chmod(0o600)
    attempt = AttemptId("b" * 32, 1)
    spec = TaskSpec(command="cat; stat -c %U folder folder/in", stdin_file="folder/in", run_as=NOBODY)
    host.link.start_attempt(attempt, spec, prepared=str(prepared))
    assert host.wait(attempt).stdout == b"secretnobody\nnobody\n"


@ONLY_ROOT
def test_nothing_else_of_the_worker_can_be_reached(host: Agent) -> None:
    """Neither listed nor read: the worker's directory, what is in it, what the runner has open."""
    (host.home / "spool").mkdir(mode=0o700)
    (host.home / "lock").touch(mode=0o600)
    for path in ("", "/spool", "/attempts", "/kept", "/trash"):
        assert host.run(f"ls {host.home}{path}", run_as=NOBODY).outcome.exit_code == 2, path
    assert host.run(f"cat {host.home}/lock", run_as=NOBODY).outcome.exit_code == 1
    assert host.run("ls /proc/self/fd | wc -l", run_as=NOBODY).stdout == b"4\n"  # and the listing's own
    assert host.run(f"cat /proc/{host.link.pid}/environ", run_as=NOBODY).outcome.exit_code == 1


@ONLY_ROOT
def test_its_signals_are_as_usual(host: Agent) -> None:
    """What the runner ignores, the command does not: TERM ends it.

    But for signals 32 and 33, which glibc keeps to itself: whatever posix_spawn starts (`make`'s recipes, for
    one) may ignore them, and nobody can set them back.
    """
    told = host.run("grep -E '^Sig(Blk|Ign)' /proc/self/status", run_as=NOBODY).stdout.split()
    assert [int(mask, 16) & ~(3 << 31) for mask in told[1::2]] == [0, 0]
    assert host.run("kill -TERM $$; sleep 60", run_as=NOBODY).outcome.signal == signal.SIGTERM


@ONLY_ROOT
@pytest.mark.parametrize(
    ("command", "cwd", "cause", "code", "words"),
    [
        (("no-such-command",), None, Cause.NOT_FOUND, 127, "no such command"),
        (("/etc/passwd",), None, Cause.NOT_EXECUTABLE, 126, "Permission denied"),
        (("/no/such/file",), None, Cause.NOT_FOUND, 127, "no such file"),
        (("true",), "/root", Cause.NOT_STARTED, 125, "/root cannot be used"),
    ],
)
def test_what_the_user_may_not_do_is_said(  # noqa: PLR0917 (a row of the table)
    host: Agent, command: tuple[str, ...], cwd: str | None, cause: Cause, code: int, words: str
) -> None:
    """Directory and program are looked for with the user's rights, and failures mean what they always do."""
    if cwd is not None and Path(cwd).stat().st_mode & 0o001:
        pytest.skip(f"everybody may use {cwd} here")
    outcome = host.run(command, cwd=cwd, run_as=NOBODY).outcome
    assert (outcome.cause, outcome.exit_code) == (cause, code)
    assert words in outcome.why


@ONLY_ROOT
@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("root", f"allows {NOBODY}, {MISSING} (alb worker --allow-run-as root would)"),
        ("daemon", "no task as user daemon"),
        (MISSING, f"there is no user {MISSING}"),
    ],
)
def test_a_user_that_is_not_allowed_is_refused(host: Agent, user: str, words: str) -> None:
    """Root too, unless it is named; the reason says which flag would allow it."""
    outcome = host.run("echo ran", run_as=user).outcome
    assert (outcome.cause, outcome.exit_code) == (Cause.NOT_STARTED, 125)
    assert words in outcome.why


def test_a_worker_that_allows_nobody_says_so(agent: Agent) -> None:
    """As every worker does that was not told otherwise."""
    assert "it allows none (alb worker --allow-run-as ann would)" in agent.run("x", run_as="ann").outcome.why


@ONLY_ROOT
def test_another_users_processes_are_killed_and_found(host: Agent) -> None:
    """Those that left the session too, at the limit of time and when the runner was killed."""
    escape = "setsid sh -c 'echo $$ >{0}/pid.new && mv {0}/pid.new {0}/pid; sleep 100' & cat {0}/fifo; wait"
    shared = host.home / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    command = escape.format(shared)
    finished = host.run(command, run_as=NOBODY, time_limit_s=1.0, grace_s=0.0)
    assert finished.outcome.cause is Cause.TIMED_OUT
    assert is_gone(read_pid(shared / "pid"))
    (shared / "pid").unlink()
    host.start(TaskSpec(command=command, run_as=NOBODY))
    escaped = read_pid(shared / "pid")
    assert host.link.pid is not None
    os.kill(host.link.pid, signal.SIGKILL)
    host.link.restart()
    assert is_gone(escaped)


@ONLY_ROOT
def test_supplementary_groups_are_the_users() -> None:
    """All that the machine's group list says of it, and none that the worker has."""
    login = Login(NOBODY, 65534, 65534, (65534, 7777, 7778), "/", "/bin/sh")
    told, telling = os.pipe()
    null = os.open("/dev/null", os.O_RDWR)
    words = ["sh", "-c", "id -G"]
    pid = fork_as(login, (null, telling, null), None, lambda: os.execve("/bin/sh", words, {}))  # noqa: S606
    os.close(telling)
    os.close(null)
    with os.fdopen(told, "rb") as source:
        assert source.read() == b"65534 7777 7778\n"
    assert os.waitpid(pid, 0)[1] == 0


@ONLY_ROOT
def test_a_child_that_fails_says_why_and_is_gone() -> None:
    """Whatever goes wrong in it: it never comes back into the runner's code, nor is it taken for running."""
    login = Login(NOBODY, 65534, 65534, (65534,), "/", "/bin/sh")
    before = children_of(os.getpid())

    def fail() -> None:
        raise RuntimeError("surprise")

    for execute in (fail, lambda: None):
        with pytest.raises(CommandNotStarted, match=r"surprise|returned"):
            fork_as(login, (0, 1, 2), None, execute)
        assert children_of(os.getpid()) == before


@ONLY_ROOT
def test_increments_of_another_user(host: Agent) -> None:
    """Its command makes its file, reads what came before, and cannot read that of others."""
    files = IncrementFiles(str(host.home), (NOBODY,))
    attempt, other = AttemptId("c" * 32, 2), AttemptId("d" * 32, 1)
    marks = files.open(attempt, Resume(seq=1, step=0, lines=(Line("epoch", "1"),)), NOBODY)
    path = files.open(other, None)["ALB_INCREMENTS"]
    Path(path).write_bytes(b"")
    command = f'cat "$ALB_RESUME_FILE"; echo \'{{"key":"k","value":2}}\' >>"$ALB_INCREMENTS"; cat {path}'
    host.link.start_attempt(attempt, TaskSpec(command=command, run_as=NOBODY), marks)
    finished = host.wait(attempt)
    assert finished.stdout == b'{"key":"epoch","value":1}\n'
    assert b"Permission denied" in finished.stderr
    assert files.finish(attempt, whole=True) == (Line("k", "2"),)
    files.close()
    assert not list(host.home.glob("increments*"))


@ONLY_ROOT
def test_only_its_own_files_come_back(tmp_path: Path) -> None:
    """A link in the place of a folder leads root to what the user cannot read: it is not followed home."""
    task = tmp_path / "task"
    (task / "out").mkdir(parents=True)
    (task / "out" / "mine").write_bytes(b"1")
    (tmp_path / "passwd").write_bytes(b"secret")
    for path in (task, task / "out", task / "out" / "mine"):
        os.chown(path, 65534, 65534)
    os.close(open_own(str(task), "out/mine"))
    (task / "swapped").symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="another user"):
        open_own(str(task), "swapped/passwd")


def test_nothing_is_removed_through_a_link(tmp_path: Path) -> None:
    """What a command put in the place of a kind's folder leads nobody to files of others."""
    task, other = tmp_path / "task", tmp_path / "other"
    task.mkdir()
    other.mkdir()
    theirs = other / Path(PAYLOAD_FILE).name
    theirs.touch()
    (task / FOLDER).symlink_to(other)
    assert not remove_bare(str(task))
    assert theirs.exists()


def test_a_worker_that_cannot_have_guests_says_so(tmp_path: Path) -> None:
    """It is not root, or its directory lies where no other user can go."""
    open_way(str(tmp_path), ())
    closed = tmp_path / "closed" / "home"
    closed.mkdir(parents=True)
    closed.parent.chmod(0o700)
    with pytest.raises(ConfigError, match=r"runs as root|other users cannot pass"):
        open_way(str(closed), ("ann",))


# --- through a cluster ----------------------------------------------------------------------------------


def test_a_large_input_travels_to_the_worker(client: Client, tmp_path: Path) -> None:
    """As a file of the task, which is no file of its user: a return pattern does not mean it."""
    path = tmp_path / "in"
    path.write_bytes(BINARY * 50)
    result = client.submit("cksum; ls", stdin=path, returns=["*"]).result(60)
    assert result.stdout.split()[1:] == [b"%d" % path.stat().st_size]
    assert result.record.returned == ()


def test_a_result_tells_when_what_happened(client: Client) -> None:
    """Submitted, placed, started, ended, in this order and of one clock; what it used besides."""
    result = client.submit("sleep 0.3; dd if=/dev/zero of=file bs=64k count=16 oflag=direct 2>&-").result(60)
    record = client.task(result.id)
    (attempt,) = record.attempts
    assert record.submitted <= attempt.placed <= result.started <= result.finished
    assert 0.3 <= result.wall_s <= result.finished - result.started + 0.05
    assert (result.attempt, result.worker) == (1, attempt.worker)
    assert (result.limit, result.memory_bytes > 0, result.cpu_s > 0) == ("", True, True)


def test_default_limits_are_kept_and_hold(client: Client) -> None:
    """What is set is there for everybody, whole, for who sets none; and can be taken away again."""
    before = client.limits()
    assert before == SHIPPED
    try:
        client.set_limits(LimitsNode(processes=50, scratch_bytes=1 << 20, time_limit_s=900.0))
        assert client.limits() == LimitsNode(processes=50, scratch_bytes=1 << 20, time_limit_s=900.0)
        with pytest.raises(InvalidTask, match="open_files"):
            client.set_limits(LimitsNode(open_files=1))
        client.set_limits(LimitsNode(time_limit_s=0.3))
        ended = client.submit("sleep 60", grace=0.0).result(60)
        assert (ended.state, ended.limit) == (TaskState.TIMEOUT, "time_limit_s")
        assert client.submit("sleep 0.5", time_limit=60.0).result(60).state is TaskState.SUCCEEDED
    finally:
        client.set_limits(before)
    assert client.limits() == before
