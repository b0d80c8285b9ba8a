"""A worker that runs nothing: commands end at the moment they start, or never. It measures brokers.

All but the runner is the product's own worker: its core, its agent, its links and its session. It ends
when its stdin does, so that it never outlives the benchmark that started it.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final, TextIO

from alb_core.config import WorkerConfig
from alb_core.io import clock, logs
from alb_core.io.alarm import Alarm
from alb_core.io.session import Session
from alb_core.io.sockets import Doorbell
from alb_core.messages import AttemptId
from alb_core.tasks import Cause, Outcome
from alb_core.znodes import WorkerNode
from alb_worker.core.events import StopRequested
from alb_worker.core.worker import WorkerCore
from alb_worker.runner.messages import Ended, Started
from alb_worker.shell import capacity
from alb_worker.shell.agent import Agent, Inbox
from alb_worker.shell.courier_link import CourierLink
from alb_worker.shell.increments import IncrementFiles
from alb_worker.shell.kind_desk import KindDesk, too_slow
from alb_worker.shell.load import LoadMeter, machine_counters
from alb_worker.shell.runner_link import Received, RunnerLink
from alb_worker.shell.spool import Spool

SUCCESS: Final = Outcome(cause=Cause.EXITED, exit_code=0)
KILLED: Final = Outcome(cause=Cause.KILLED)


class InstantRunner(RunnerLink):
    """Stands where a worker has its runner, without a process.

    Args:
        hold: Commands never end.
        journal: Takes a line ``time task attempt`` for each start; time is that of the wall clock.
    """

    def __init__(self, *, hold: bool, journal: TextIO | None) -> None:
        super().__init__(worker="", work_dir="/", incarnation="")
        self._hold = hold
        self._journal = journal
        self._bell = Doorbell()
        self._news: list[Received] = []

    @property
    def wants_write(self) -> bool:
        """Whether messages wait: never."""
        return False

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._bell.fileno()

    def start_attempt(self, attempt: AttemptId, *_: Any, **__: Any) -> None:
        """Say that the command runs, and that it has ended."""
        if self._journal is not None:
            self._journal.write(f"{time.time():.6f} {attempt.task} {attempt.n}\n")
        self._say(Started(attempt=attempt, pid=0))
        if not self._hold:
            self._say(_ended(attempt, SUCCESS))

    def kill(self, attempt: AttemptId, grace_s: float) -> None:  # noqa: ARG002 (nothing is run)
        """Say that the command is gone."""
        self._say(_ended(attempt, KILLED))

    def demote(self, attempt: AttemptId) -> None:
        """Do nothing: there are no processes that could have less."""

    def flush(self) -> bool:
        """Make the journal readable; there is nothing to send."""
        if self._journal is not None:
            self._journal.flush()
        return True

    def receive(self) -> list[Received]:
        """Return what was said since the last call."""
        self._bell.clear()
        news, self._news = self._news, []
        return news

    def _say(self, message: Received) -> None:
        if not self._news:
            self._bell.ring()
        self._news.append(message)


def _ended(attempt: AttemptId, outcome: Outcome) -> Ended:
    return Ended(attempt=attempt, outcome=outcome, stdout=b"", stderr=b"", stdout_size=0, stderr_size=0)


def serve(config: WorkerConfig, runner: InstantRunner) -> None:
    """Be a worker until stdin ends."""
    logger = logs.configure(config.log_level, worker=config.name)
    machine = capacity.examine()
    offered, _ = capacity.offer(config, machine)
    node = WorkerNode(worker=config.name, incarnation=clock.new_id(), capacity=offered)
    spool = Spool(config.work_dir, config)
    increments = IncrementFiles(config.work_dir)
    courier = CourierLink(config.work_dir, config.cache_bytes_max, logger)
    inbox = Inbox()
    session = Session(config.zk_hosts(), config.zk_chroot(), config.session_timeout_s, inbox.post)
    agent = Agent(
        core=WorkerCore(node, clock.random_seed()),
        inbox=inbox,
        session=session,
        runner=runner,
        courier=courier,
        kinds=KindDesk(
            {}, bound=Alarm(too_slow), worker=config.name, arch=offered.arch, home=config.work_dir
        ),
        spool=spool,
        increments=increments,
        meter=LoadMeter(offered, machine_counters(machine)),
        identity=f"{node.worker}/{node.incarnation}".encode(),
        logger=logger,
    )
    threading.Thread(target=_stop_with_stdin, args=(inbox,), daemon=True).start()
    session.start()
    agent.run()
    session.stop()
    agent.close()
    courier.close()
    increments.close()
    spool.close()


def _stop_with_stdin(inbox: Inbox) -> None:
    sys.stdin.read()
    for _ in range(2):  # the second time means at once
        inbox.post(StopRequested(at=clock.monotonic()))


def main() -> None:
    """Read the arguments, wait for the first line on stdin, and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zk", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--work-dir", required=True)
    parser.add_argument("--hold", action="store_true", help="commands never end")
    parser.add_argument("--journal", type=Path, help="file that takes a line for each start")
    chosen = parser.parse_args()
    config = WorkerConfig(
        zk=chosen.zk, name=chosen.name, cpus=chosen.slots, oversubscribe=True, work_dir=chosen.work_dir
    )
    sys.stdin.readline()
    with (chosen.journal or Path("/dev/null")).open("a") as journal:
        serve(config, InstantRunner(hold=chosen.hold, journal=journal if chosen.journal else None))


if __name__ == "__main__":
    main()
