"""Real commands through a real runner: how they end, what they say, and that nothing of them is left."""

from __future__ import annotations

import os
import resource
import select
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runner_agent import PATIENCE_S, Agent, is_gone, read_pid, wait_until

from alb_core.messages import AttemptId
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause
from alb_worker.runner import cgroup
from alb_worker.runner.messages import Ended, Output, Ready, Started
from alb_worker.shell.leftovers import kill_leftovers, lock_work_dir
from alb_worker.shell.runner_link import RunnerDied, RunnerLink


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    link = RunnerLink(worker="w1", work_dir=str(tmp_path), incarnation=f"test{os.getpid()}")
    link.start()
    try:
        yield Agent(tmp_path, link)
    finally:
        assert link.close() == [], "the runner leaves nothing for others to kill"
        assert not list(cgroup.groups_of(os.path.realpath(tmp_path)))


# --- ends -----------------------------------------------------------------------------------------------


def test_exit_code_and_output_of_a_shell_command(agent: Agent) -> None:
    """A string runs under the shell; its status and both streams come back apart."""
    finished = agent.run("echo out; echo err >&2; exit 7")
    assert (finished.outcome.cause, finished.outcome.exit_code) == (Cause.EXITED, 7)
    assert (finished.stdout, finished.stderr) == (b"out\n", b"err\n")


def test_a_vector_is_executed_as_it_is(agent: Agent) -> None:
    """No shell touches an argument vector."""
    assert agent.run(("printf", "%s|", "$HOME", "*", "a b")).stdout == b"$HOME|*|a b|"


def test_a_short_command_is_one_message_of_output(agent: Agent) -> None:
    """The whole output of a short command rides with its end, and Started comes before."""
    attempt = agent.start(TaskSpec(command=("echo", "hi")))
    agent.wait(attempt)
    assert not agent.find(Output, attempt)
    kinds = [type(message) for message in agent.heard if not isinstance(message, Ready)]
    assert kinds == [Started, Ended]


def test_death_by_a_signal_is_told(agent: Agent) -> None:
    """A command that a signal ends reports the signal, not an exit code."""
    outcome = agent.run("kill -SEGV $$").outcome
    assert (outcome.cause, outcome.signal, outcome.exit_code) == (Cause.SIGNALLED, signal.SIGSEGV, None)


def test_usage_comes_from_the_kernel(agent: Agent) -> None:
    """CPU time of a burner and peak memory of a large process are told, also when they are grandchildren."""
    burner = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    outcome = agent.run(f'{sys.executable} -c "{burner}"; true').outcome
    assert 0.3 <= outcome.cpu_s < 5
    assert outcome.wall_s >= 0.3
    memory = agent.run((sys.executable, "-c", "x = b'x' * 50_000_000")).outcome.memory_bytes
    assert 50_000_000 < memory < 150_000_000


def test_many_at_once_keep_their_own_results(agent: Agent) -> None:
    """Forty commands under way at once do not mix up statuses or output."""
    attempts = [agent.start(TaskSpec(command=f"echo {n}; exit {n}")) for n in range(40)]
    for n, attempt in enumerate(attempts):
        finished = agent.wait(attempt)
        assert (finished.outcome.exit_code, finished.stdout) == (n, f"{n}\n".encode())


# --- starts that fail -----------------------------------------------------------------------------------


def test_a_missing_command_is_not_found(agent: Agent) -> None:
    """A command that no directory of the PATH holds ends NOT_FOUND with 127 and a sentence."""
    for command in (("no-such-command-here",), ("/no/such/file",)):
        outcome = agent.run(command).outcome
        assert (outcome.cause, outcome.exit_code) == (Cause.NOT_FOUND, 127)
        assert command[0] in outcome.why


def test_what_cannot_be_executed_says_why(agent: Agent, tmp_path: Path) -> None:
    """No permission, a directory, an unknown format, a missing interpreter: NOT_EXECUTABLE with 126."""
    plain = tmp_path / "plain"
    plain.write_text("hello")
    unknown = tmp_path / "unknown"
    unknown.write_bytes(b"\x01\x02\x03\x04")
    unknown.chmod(0o755)
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    for program, word in (
        (plain, "denied"),
        (tmp_path, "denied"),
        (unknown, "format"),
        (script, "interpreter"),
    ):
        outcome = agent.run((str(program),)).outcome
        assert (outcome.cause, outcome.exit_code) == (Cause.NOT_EXECUTABLE, 126)
        assert word in outcome.why


def test_a_file_without_permission_on_the_path_is_not_executable(agent: Agent, tmp_path: Path) -> None:
    """A name that is found, but may not be executed, is told apart from one that is not found."""
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    outcome = agent.run(("tool",), env={"PATH": str(tmp_path)}).outcome
    assert outcome.cause is Cause.NOT_EXECUTABLE


def test_a_missing_directory_is_not_a_missing_command(agent: Agent, tmp_path: Path) -> None:
    """A working directory that cannot be used ends NOT_STARTED with 125 and names the directory."""
    (tmp_path / "file").touch()
    for directory in (str(tmp_path / "missing"), str(tmp_path / "file")):
        outcome = agent.run(("true",), cwd=directory).outcome
        assert (outcome.cause, outcome.exit_code) == (Cause.NOT_STARTED, 125)
        assert directory in outcome.why


def test_an_environment_of_megabytes_is_refused_clearly(agent: Agent) -> None:
    """What the kernel finds too large (E2BIG) ends NOT_STARTED, and the runner goes on."""
    outcome = agent.run(("true",), env={"BIG": "x" * 3_000_000}).outcome
    assert outcome.cause is Cause.NOT_STARTED
    assert "larger than the kernel takes" in outcome.why
    assert agent.run(("true",)).outcome.exit_code == 0


# --- surroundings ---------------------------------------------------------------------------------------


def test_the_environment_is_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sees the few inherited variables, its own, and alb's, and nothing else of the worker's."""
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("LC_TIME", "C")
    link = RunnerLink(worker="w1", work_dir=str(tmp_path), incarnation="clean")
    link.start()
    agent = Agent(tmp_path, link)
    try:
        lines = agent.run(("env",), env={"MINE": "ä", "ALB_WORKER": "forged"}).stdout.decode().splitlines()
    finally:
        link.close()
    environment = dict(line.split("=", 1) for line in lines)
    assert environment["MINE"] == "ä"
    assert environment["LC_TIME"] == "C"
    assert environment["ALB_WORKER"] == "w1"
    assert environment["ALB_TASK_ID"] == f"{1:032x}"
    assert environment["ALB_ATTEMPT"] == environment["ALB_CPUS"] == "1"
    assert not {"SECRET_TOKEN", "ALB_RUNNER", "PYTHONPATH"} & set(environment)


def test_a_fresh_directory_is_private_empty_and_removed(agent: Agent) -> None:
    """Each command without a directory gets an empty one of mode 0700; what it leaves is removed."""
    script = "stat -c %a .; ls -A; pwd; mkdir -p deep/er; touch deep/er/file leaf; chmod 0 deep"
    lines = [agent.run(script).stdout.decode().splitlines() for _ in range(3)]
    assert {line[0] for line in lines} == {"700"}
    assert all(len(line) == 2 for line in lines), "nothing was in it"
    wait_until(lambda: not list((agent.home / "attempts").iterdir()))
    wait_until(lambda: not list((agent.home / "trash").iterdir()))


def test_untouched_directories_are_given_out_again(agent: Agent) -> None:
    """A command that leaves nothing costs no new directory; and the next one finds it as if it were new."""
    directories = {agent.run(("pwd",)).stdout for _ in range(5)}
    assert len(directories) == 1
    changed = agent.run("chmod 755 .; pwd").stdout
    assert changed in directories
    assert agent.run("pwd; exit $(( $(stat -c %a .) != 700 ))").outcome.exit_code == 0


def test_signals_limits_and_files_are_as_after_a_login(agent: Agent) -> None:
    """No blocked or ignored signals, no core files, no inherited files but the three, stdin empty."""
    said = agent.run(
        "grep -E 'SigBlk|SigIgn' /proc/self/status | cut -f2; ulimit -S -c; ls /proc/self/fd; cat"
    )
    blocked, ignored, core, *files = said.stdout.split()
    assert int(blocked, 16) == 0
    # The C library leaves two signals of its own, 32 and 33, ignored after posix_spawn.
    assert int(ignored, 16) & ~(1 << 31 | 1 << 32) == 0
    assert core == b"0"
    assert files == [b"0", b"1", b"2", b"3"], "3 is the listing's own"


def test_commands_are_likelier_victims_of_the_oom_killer(agent: Agent) -> None:
    """A command's out-of-memory score is above that of the runner."""
    command = int(agent.run(("cat", "/proc/self/oom_score_adj")).stdout)
    runner = int(Path(f"/proc/{agent.link.pid}/oom_score_adj").read_text())
    assert command > runner


# --- time limits and kills ------------------------------------------------------------------------------


def test_a_time_limit_ends_a_command(agent: Agent) -> None:
    """At the limit TERM is sent; the cause is TIMED_OUT whatever the command makes of it."""
    finished = agent.run("trap 'echo bye; exit 3' TERM; sleep 60 & wait", time_limit_s=0.3)
    assert (finished.outcome.cause, finished.outcome.exit_code) == (Cause.TIMED_OUT, 3)
    assert finished.stdout == b"bye\n"
    assert 0.3 <= finished.outcome.wall_s < 40
    assert "0.3 s" in finished.outcome.why


def test_a_command_that_ignores_term_dies_at_the_kill(agent: Agent) -> None:
    """After the grace KILL ends what TERM did not."""
    outcome = agent.run("trap '' TERM; while :; do sleep 0.1; done", time_limit_s=0.2, grace_s=0.4).outcome
    assert (outcome.cause, outcome.signal) == (Cause.TIMED_OUT, signal.SIGKILL)
    assert 0.6 <= outcome.wall_s < 40


def test_a_stopped_command_can_be_ended(agent: Agent) -> None:
    """CONT follows TERM, so that a stopped command meets its end before the grace is over."""
    started = time.monotonic()
    outcome = agent.run("kill -STOP $$", time_limit_s=0.2, grace_s=50.0).outcome
    assert (outcome.cause, outcome.signal) == (Cause.TIMED_OUT, signal.SIGTERM)
    assert time.monotonic() - started < 40


def test_kill_by_the_agent(agent: Agent) -> None:
    """Kill with a grace sends TERM; the cause is KILLED. A second one can shorten the grace."""
    attempt = agent.start(TaskSpec(command="trap '' TERM; echo up; while :; do sleep 0.1; done"))
    agent.listen(lambda: agent.output(attempt) == b"up\n")
    agent.link.kill(attempt, 600.0)
    agent.link.kill(attempt, 0.3)
    finished = agent.wait(attempt)
    assert (finished.outcome.cause, finished.outcome.signal) == (Cause.KILLED, signal.SIGKILL)
    agent.link.kill(attempt, 0.0)
    assert agent.run(("true",)).outcome.exit_code == 0, "a kill of what is over does nothing"


def test_what_outlives_its_leader_has_the_grace_too(agent: Agent) -> None:
    """The shell dies of TERM at once; its child still has the rest of the grace to put things in order."""
    child = "trap 'sleep 1.5; echo saved; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    attempt = agent.start(TaskSpec(command=f'(trap "" HUP; sh -c "{child}"); true'))
    agent.listen(lambda: agent.output(attempt) == b"up\n")
    agent.link.kill(attempt, 10.0)
    finished = agent.wait(attempt)
    assert finished.outcome.cause is Cause.KILLED
    assert finished.stdout == b"up\nsaved\n"


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """Make a control group of 30 MB, of whichever version has the memory controller."""
    for mount, limit in (
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup", "memory.max"),
    ):
        group = Path(mount, f"alb-test-{os.getpid()}")
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text("30000000")
            yield group
        except OSError:
            continue
        else:
            return
        finally:
            group.rmdir()
    pytest.skip("no control group with a memory limit can be made here")


def test_a_command_that_the_kernel_kills_for_memory_is_told_apart(agent: Agent, small_memory: Path) -> None:
    """KILL by the kernel because memory ran out is OUT_OF_MEMORY; KILL by anybody else stays a signal."""
    hungry = f"exec {sys.executable} -c 'x = b\"x\" * 100_000_000'"
    outcome = agent.run(f"echo $$ >{small_memory}/cgroup.procs; {hungry}").outcome
    assert (outcome.cause, outcome.signal) == (Cause.OUT_OF_MEMORY, signal.SIGKILL)
    assert agent.run("kill -KILL $$").outcome.cause is Cause.SIGNALLED


@pytest.mark.parametrize(
    "hide",
    [
        "setsid",
        "setsid setsid",
        "env -i setsid",
        "env -i setsid -f",
        "env -i /bin/sh -c 'setsid -f \"$@\" >/dev/null 2>&1 </dev/null' -",
    ],
)
def test_escapees_are_killed_with_their_attempt(agent: Agent, tmp_path: Path, hide: str) -> None:
    """Leaving the session, the parent, the pipes and the environment saves no process from the kill."""
    pid_file = tmp_path / "pid"
    sleeper = f"sh -c 'echo $$ >{pid_file}; exec sleep 600'"
    attempt = agent.start(TaskSpec(command=f"{hide} {sleeper} & sleep 600"))
    others = [agent.start(TaskSpec(command="sleep 600")) for _ in range(2)]
    pid = read_pid(pid_file)
    agent.link.kill(attempt, 0.2)
    agent.wait(attempt)
    assert is_gone(pid)
    assert not any(agent.find(Ended, other) for other in others)


def test_what_a_command_leaves_behind_is_killed_before_it_is_over(agent: Agent, tmp_path: Path) -> None:
    """A daemon that a command leaves is gone when the command is reported over; its neighbours live."""
    pid_file = tmp_path / "pid"
    neighbour = agent.start(TaskSpec(command="sleep 600"))
    daemon = f"setsid -f env -i sh -c 'echo $$ >{pid_file}; exec sleep 600' >/dev/null 2>&1"
    finished = agent.run(f"{daemon}; while ! grep -q . {pid_file}; do sleep 0.01; done")
    assert (finished.outcome.exit_code, finished.outcome.output_open) == (0, False)
    assert finished.outcome.wall_s < 5
    assert is_gone(read_pid(pid_file))
    assert not agent.find(Ended, neighbour)


def test_a_process_that_shed_every_mark_ends_with_the_last_attempt_that_may_own_it(
    agent: Agent, tmp_path: Path
) -> None:
    """Without session, environment, parent and dye it is nobody's for sure; it does not live on for ever."""
    pid_file = tmp_path / "pid"
    neighbour = agent.start(TaskSpec(command="sleep 600"))
    wash = f"prlimit --pid $$ --locks=5:5; echo $$ >{pid_file}; exec sleep 600"
    daemon = f"env -i setsid -f sh -c '{wash}' >/dev/null 2>&1"
    agent.run(f"{daemon}; while ! grep -q . {pid_file}; do sleep 0.01; done")
    pid = read_pid(pid_file)
    assert not is_gone(pid), "it might be the neighbour's"
    agent.link.kill(neighbour, 0.0)
    agent.wait(neighbour)
    wait_until(lambda: is_gone(pid))


# --- output ---------------------------------------------------------------------------------------------


def test_output_held_open_by_a_grandchild(agent: Agent) -> None:
    """A grandchild that keeps the pipe gets a second; then it is killed, and the result says so."""
    finished = agent.run("sleep 600 & echo hi")
    assert (finished.stdout, finished.outcome.exit_code) == (b"hi\n", 0)
    assert finished.outcome.output_open
    assert finished.outcome.wall_s < 0.9, "the leader's time, not the drain's"


def test_late_output_within_the_drain_is_kept(agent: Agent) -> None:
    """What a grandchild says within the second after its leader's exit is part of the output."""
    finished = agent.run("(sleep 0.3; echo late) & echo hi")
    assert finished.stdout == b"hi\nlate\n"
    assert not finished.outcome.output_open


def test_output_of_a_running_command_comes_while_it_runs(agent: Agent) -> None:
    """The agent has the first line long before the command ends."""
    attempt = agent.start(TaskSpec(command="echo first; sleep 600"))
    agent.listen(lambda: agent.output(attempt) == b"first\n")
    assert agent.find(Started, attempt)
    agent.link.kill(attempt, 0.0)
    assert agent.wait(attempt).stdout == b"first\n"


def test_binary_output_is_untouched(agent: Agent) -> None:
    """All byte values pass, NUL and invalid UTF-8 included."""
    code = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 1000)"
    assert agent.run((sys.executable, "-c", code)).stdout == bytes(range(256)) * 1000


def test_a_flood_passes_with_bounded_memory(agent: Agent) -> None:
    """100 MB of output pass through; neither the runner nor what it holds for the agent grows with it."""
    attempt = agent.start(TaskSpec(command=("head", "-c", "100000000", "/dev/zero")))
    counted = 0
    deadline = time.monotonic() + 60
    ended: Ended | None = None
    while ended is None:
        assert time.monotonic() < deadline
        agent.link.flush()
        select.select([agent.link], [], [], 0.05)
        for message in agent.link.receive():
            if isinstance(message, Output):
                assert message.offset == counted
                counted += len(message.data)
            elif isinstance(message, Ended) and message.attempt == attempt:
                ended = message
    assert counted + len(ended.stdout) == ended.stdout_size == 100_000_000
    status = Path(f"/proc/{agent.link.pid}/status").read_text()
    peak_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak_kib < 40_000


def test_an_agent_that_does_not_read_stops_the_commands_not_the_runner(agent: Agent) -> None:
    """While nobody reads, a flood waits in its own write; then all of it comes, and kills still work."""
    flood = agent.start(TaskSpec(command=("head", "-c", "20000000", "/dev/zero")))
    agent.listen(lambda: bool(agent.find(Started, flood)))
    pid = agent.find(Started, flood)[0].pid  # type: ignore[union-attr]

    def waits_in_write() -> bool:
        return "pipe" in Path(f"/proc/{pid}/wchan").read_text()

    wait_until(waits_in_write)
    endless = agent.start(TaskSpec(command=("cat", "/dev/zero")))
    agent.link.kill(endless, 0.0)
    agent.link.flush()
    assert len(agent.wait(flood).stdout) == 20_000_000
    assert agent.wait(endless).outcome.cause is Cause.KILLED


def test_a_loud_command_does_not_silence_the_others(agent: Agent) -> None:
    """While four commands flood, another one's lines arrive."""
    loud = [agent.start(TaskSpec(command=("cat", "/dev/zero"))) for _ in range(4)]
    quiet = agent.start(TaskSpec(command="for i in 1 2 3 4 5; do echo $i; sleep 0.05; done"))
    deadline = time.monotonic() + PATIENCE_S
    said = b""
    while b"5\n" not in said:
        assert time.monotonic() < deadline
        select.select([agent.link], [], [], 0.05)
        for message in agent.link.receive():
            if isinstance(message, Output) and message.attempt == quiet:
                said += message.data
            elif isinstance(message, Ended) and message.attempt == quiet:
                said += message.stdout
    for attempt in loud:
        agent.link.kill(attempt, 0.0)
    over: set[AttemptId] = set()
    while len(over) < len(loud):
        assert time.monotonic() < deadline
        agent.link.flush()
        select.select([agent.link], [], [], 0.05)
        over |= {m.attempt for m in agent.link.receive() if isinstance(m, Ended) and m.attempt in loud}


# --- deaths of the machinery ----------------------------------------------------------------------------


def start_hiders(agent: Agent, folder: Path) -> list[int]:
    """Start commands that hide in different ways; return the numbers of the hidden processes."""
    hides = ("", "setsid", "env -i setsid -f")
    files = [folder / f"hider{n}" for n in range(len(hides))]
    for hide, file in zip(hides, files, strict=True):
        agent.start(TaskSpec(command=f"{hide} sh -c 'echo $$ >{file}; exec sleep 600' & sleep 600"))
    return [read_pid(file) for file in files]


def test_a_killed_runner_leaves_nothing(agent: Agent, tmp_path: Path) -> None:
    """After kill -9 of the runner the agent is told, kills what is left, and runs commands again."""
    pids = start_hiders(agent, tmp_path)
    assert agent.link.pid is not None
    os.kill(agent.link.pid, signal.SIGKILL)
    agent.listen(lambda: bool(agent.find(RunnerDied)))
    assert agent.find(RunnerDied) == [RunnerDied(signal=signal.SIGKILL)]
    killed = agent.link.restart()
    assert {*pids} <= {leftover.pid for leftover in killed}
    assert all(leftover.gone for leftover in killed)
    assert all(is_gone(pid) for pid in pids)
    assert agent.run(("true",)).outcome.exit_code == 0


def test_without_a_control_group_a_killed_runner_leaves_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dye and the environment suffice to find everything where no control group can be made."""
    monkeypatch.setattr(cgroup, "group_name", lambda *_: "no/such/parent")
    link = RunnerLink(worker="w1", work_dir=str(tmp_path), incarnation="x")
    link.start()
    agent = Agent(tmp_path, link)
    pids = start_hiders(agent, tmp_path)
    agent.listen(lambda: bool(agent.find(Ready)))
    assert agent.find(Ready)[0].cgroup == ""  # type: ignore[union-attr]
    assert link.pid is not None
    os.kill(link.pid, signal.SIGKILL)
    assert {*pids} <= {leftover.pid for leftover in link.close()}
    assert all(is_gone(pid) for pid in pids)


def test_a_runner_whose_agent_is_gone_kills_everything_and_exits(agent: Agent, tmp_path: Path) -> None:
    """The end of the agent's socket is the end of every command, hidden ones included."""
    pids = start_hiders(agent, tmp_path)
    assert agent.link.close() == []
    assert all(is_gone(pid) for pid in pids)
    assert not list((tmp_path / "attempts").glob("*")), "and of every directory"


def test_signals_do_not_end_a_runner(agent: Agent) -> None:
    """A service manager's TERM or a Ctrl-C must not take the commands along: only the agent ends a runner."""
    attempt = agent.start(TaskSpec(command="sleep 0.3; echo done"))
    agent.listen(lambda: bool(agent.find(Ready)))
    assert agent.link.pid is not None
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(agent.link.pid, number)
    assert agent.wait(attempt).stdout == b"done\n"


AGENT_PROGRAM = """
import sys, time
from alb_core.messages import AttemptId
from alb_core.tasks import TaskSpec
from alb_worker.shell.leftovers import lock_work_dir
from alb_worker.shell.runner_link import RunnerLink
lock = lock_work_dir(sys.argv[1])
link = RunnerLink(worker="w1", work_dir=sys.argv[1], incarnation="dead")
link.start()
for number, command in enumerate(sys.argv[2:]):
    link.start_attempt(AttemptId(f"{number:032x}", 1), TaskSpec(command=command))
link.flush()
print(link.pid, flush=True)
time.sleep(600)
"""


def test_a_new_worker_kills_what_a_dead_pair_left(tmp_path: Path) -> None:
    """Agent and runner are killed at once; the next worker of the directory kills their commands only."""
    file, home = tmp_path / "pid", tmp_path / "home"
    hidden = f"env -i setsid -f sh -c 'echo $$ >{file}; exec sleep 600'; sleep 600"
    read_end, write_end = os.pipe()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", AGENT_PROGRAM, str(home), hidden],
        dict(os.environ),
        file_actions=[(os.POSIX_SPAWN_DUP2, write_end, 1)],
    )
    os.close(write_end)
    with os.fdopen(read_end) as said:
        runner = int(said.readline())
    left = read_pid(file)
    os.kill(runner, signal.SIGSTOP)  # it must not notice that its agent dies
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.kill(runner, signal.SIGKILL)
    assert not is_gone(left)
    other_home = tmp_path / "other"
    lock_work_dir(str(other_home)).close()
    assert kill_leftovers(str(other_home)) == [], "another worker's processes are not ours to kill"
    assert not is_gone(left)
    lock = lock_work_dir(str(home))
    try:
        killed = kill_leftovers(str(home))
    finally:
        lock.close()
    assert left in {leftover.pid for leftover in killed}
    assert is_gone(left)
    assert not list(cgroup.groups_of(os.path.realpath(home)))


def test_a_stopped_runner_of_a_dead_agent_is_a_leftover_too(tmp_path: Path) -> None:
    """A runner that hangs does not keep its commands alive: the next worker kills it with them."""
    link = RunnerLink(worker="w1", work_dir=str(tmp_path), incarnation="hangs")
    link.start()
    agent = Agent(tmp_path, link)
    pids = start_hiders(agent, tmp_path)
    assert link.pid is not None
    os.kill(link.pid, signal.SIGSTOP)
    killed = {leftover.pid for leftover in kill_leftovers(str(tmp_path))}
    assert {link.pid, *pids} <= killed
    assert all(is_gone(pid) for pid in pids)
    link.close()


def test_the_home_directory_is_private(agent: Agent) -> None:
    """What commands leave and say is the worker's user's alone; others may pass, to what is theirs."""
    agent.run(("true",))
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in agent.home.iterdir() if path.is_dir()}
    assert found["attempts"] == 0o711
    assert all(mode & 0o066 == 0 for mode in found.values()), found
    assert {stat.S_IMODE(path.stat().st_mode) for path in (agent.home / "attempts").iterdir()} <= {0o700}


def test_the_runner_survives_when_files_run_out(tmp_path: Path) -> None:
    """Where no pipe can be made (EMFILE) the command ends NOT_STARTED with the reason; others go on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    link = RunnerLink(worker="w1", work_dir=str(tmp_path), incarnation="files")
    link.start()
    agent = Agent(tmp_path, link)
    try:
        agent.listen(lambda: bool(agent.find(Ready)))
        assert link.pid is not None
        resource.prlimit(link.pid, resource.RLIMIT_NOFILE, (24, hard))
        attempts = [agent.start(TaskSpec(command="sleep 600")) for _ in range(20)]
        agent.listen(lambda: bool(agent.find(Ended)))
        refused = agent.find(Ended)[0]
        assert isinstance(refused, Ended)
        assert refused.outcome.cause is Cause.NOT_STARTED
        assert "Too many open files" in refused.outcome.why
        resource.prlimit(link.pid, resource.RLIMIT_NOFILE, (soft, hard))
        for attempt in attempts:
            link.kill(attempt, 0.0)
        for attempt in attempts:
            agent.wait(attempt)
        assert agent.run(("echo", "fine")).stdout == b"fine\n"
    finally:
        link.close()
