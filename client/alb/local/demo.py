"""``make demo``: a local cluster whose leader is killed in the middle of a command.

Narrates on stderr, and ends with one JSON line on stdout; exits 1 if a task was lost or ran twice.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from alb import Client
from alb.api.future import TaskFuture
from alb.api.stream import TaskStream
from alb.core.notices import AnyNotice, LeaderGreeted, LeaderLost
from alb.local.cluster import LocalCluster
from alb.local.witness import Witness
from alb_core.errors import AlbError
from alb_core.messages import StreamName
from alb_core.tasks import TaskState

BEFORE = 24
#: Short commands submitted before the kill: some run, some wait.
DURING = 12
#: Short commands submitted while nobody leads.
LINES = 12
#: Of the long command; one every half second.
KILL_AT_LINE = 4
PATIENCE_S = 60.0

_BEGAN = time.monotonic()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The last line of the demo."""

    submitted: int
    results: int
    leader_killed: bool
    lost: int
    #: Without a result, with a wrong one, or never started.
    doubled: int
    #: Started more than once, as the commands themselves wrote down.


class Demo:
    """One run of the story, on a cluster that is up.

    Args:
        cluster: Where the leader is killed.
        client: Of that cluster.
        witness: Where the commands write that they run.
    """

    def __init__(self, cluster: LocalCluster, client: Client, witness: Witness) -> None:
        self._cluster = cluster
        self._client = client
        self._witness = witness
        self._expected: dict[TaskFuture, str] = {}
        #: What each command must write.
        self._leader_killed = False

    def run(self) -> Verdict:
        """Tell the story and judge it."""
        self._submit_short(BEFORE)
        lines = [f"line {number} of {LINES}" for number in range(1, LINES + 1)]
        script = "; ".join(f"echo '{line}'; sleep 0.5" for line in lines)
        long = self._client.stream(self._witness.command(script))
        _say(f"submitted {BEFORE} short commands and one of {LINES / 2:g} s, whose output follows")
        output = self._watch(long)
        return self._judge(long, output == "".join(f"{line}\n" for line in lines))

    def _submit_short(self, count: int) -> None:
        for number in range(len(self._expected), len(self._expected) + count):
            command = self._witness.command(f"sleep 0.{number % 4}; echo the result of {number}")
            self._expected[self._client.submit(command)] = f"the result of {number}\n"

    def _watch(self, long: TaskStream) -> str:
        """Show the long command's output as it comes, and kill the leader on the way."""
        received = bytearray()
        for piece in long:
            if piece.stream is StreamName.STDERR:
                continue
            received += piece.data
            for line in piece.data.decode().splitlines():
                _say(f"    {line}")
            if received.count(b"\n") >= KILL_AT_LINE and not self._leader_killed:
                self._kill_leader()
        return received.decode()

    def _kill_leader(self) -> None:
        leader = self._cluster.wait_for_leader()
        _say(f"kill -9 {leader.pid}: {leader.broker}, which leads in epoch {leader.epoch}")
        self._cluster[leader.broker].kill()
        self._leader_killed = True
        self._submit_short(DURING)
        _say(f"submitted {DURING} more while nobody leads")

    def _judge(self, long: TaskStream, long_is_whole: bool) -> Verdict:  # noqa: FBT001 (a fact, not a switch)
        results, right = 0, set[str]()
        for future, expected in self._expected.items():
            try:
                result = future.result(timeout=PATIENCE_S)
            except (AlbError, TimeoutError) as error:
                _say(f"{future.id}: {error or 'no result'}")
                continue
            results += 1
            if result.state is TaskState.SUCCEEDED and result.stdout.decode() == expected:
                right.add(future.id)
        outcome = long.result(timeout=PATIENCE_S)
        results += 1
        if outcome.state is TaskState.SUCCEEDED and long_is_whole:
            right.add(long.id)
        _say(f"the long command {outcome.describe()}, attempt {outcome.attempt}")
        starts = self._witness.counts()
        tasks = [long.id, *(future.id for future in self._expected)]
        return Verdict(
            submitted=len(tasks),
            results=results,
            leader_killed=self._leader_killed,
            lost=sum(1 for task in tasks if task not in right or not starts[task]),
            doubled=sum(1 for task in tasks if starts[task] > 1),
        )


def _tell(notice: AnyNotice) -> None:
    """Say what the client notices of the cluster."""
    if isinstance(notice, LeaderLost):
        _say(f"the client: {notice.broker} is lost ({notice.why})")
    elif isinstance(notice, LeaderGreeted):
        _say(f"the client: {notice.broker} leads (epoch {notice.epoch}), found in {notice.after_s:.2f} s")


def _say(text: str) -> None:
    sys.stderr.write(f"{time.monotonic() - _BEGAN:6.2f} s  {text}\n")
    sys.stderr.flush()


def main() -> int:
    """Run the demo in a folder of its own; the folder stays where something went wrong."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster is ended on the way out
    folder = Path(tempfile.mkdtemp(prefix="alb-demo-"))
    _say("starting one ZooKeeper server, three brokers and two workers")
    try:
        with LocalCluster(folder) as cluster, Client(zk=cluster.zk, on_notice=_tell) as client:
            verdict = Demo(cluster, client, Witness(folder / "witness")).run()
    except AlbError as error:
        _say(f"{error}; the logs are in {folder}")
        return 1
    good = verdict.leader_killed and not verdict.lost and not verdict.doubled
    if good:
        shutil.rmtree(folder)
    else:
        _say(f"the logs are in {folder}")
    sys.stdout.write(msgspec.json.encode(verdict).decode() + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
