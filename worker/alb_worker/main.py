"""Starts one worker and brings it to its end: what must be there before the agent's loop, and go after it.

The order matters: the directory is locked and what an earlier process left behind is killed before anything
is registered; the runner starts before there is any thread.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Final

from alb_core.config import WorkerConfig
from alb_core.errors import ConfigError
from alb_core.io import clock, collector, logs
from alb_core.io.alarm import Alarm
from alb_core.io.descriptors import allow_open_files
from alb_core.io.session import Session
from alb_core.znodes import WorkerNode
from alb_worker.calibration.keeping import find_speeds
from alb_worker.calibration.machine import take_fingerprint
from alb_worker.core.actions import Exit
from alb_worker.core.events import StopRequested
from alb_worker.core.worker import WorkerCore
from alb_worker.shell import capacity, guests, leftovers, plugins
from alb_worker.shell.agent import Agent, Inbox
from alb_worker.shell.courier_link import CourierLink
from alb_worker.shell.gpus import find_gpus
from alb_worker.shell.increments import IncrementFiles
from alb_worker.shell.kind_desk import KindDesk, too_slow
from alb_worker.shell.load import LoadMeter, machine_counters
from alb_worker.shell.runner_link import RunnerLink
from alb_worker.shell.spool import Spool

EXIT_CRASHED: Final = 70
EXIT_CONFIG: Final = 78
#: As in sysexits.h.


def main(config: WorkerConfig) -> int:
    """Run a worker until it is stopped.

    Args:
        config: Its settings.

    Returns:
        The exit code of the process: 0 stopped, 1 stopped twice, 3 replaced by a newer process of the same
        name, 4 the table went back, 70 crashed, 78 the settings cannot work.
    """
    logger = logs.configure(config.log_level, worker=config.name)
    try:
        config.validate()
        outcome = _serve(config, logger)
    except ConfigError as error:
        logger.critical("configuration_refused", why=str(error))
        return EXIT_CONFIG
    except Exception:
        logger.exception("worker_crashed")
        return EXIT_CRASHED
    logger.info("worker_stopped", why=outcome.why, code=outcome.code)
    return outcome.code


def _serve(config: WorkerConfig, logger: logs.Logger) -> Exit:
    with ExitStack() as stack:
        work_dir = config.work_dir or f"/var/tmp/alb-{os.geteuid()}/{config.name}"  # noqa: S108 (locked, owner checked)
        stack.callback(leftovers.lock_work_dir(work_dir).close)
        guests.open_way(work_dir, config.allow_run_as)
        _kill_leftovers(work_dir, logger)
        gpus, gpu_notes = find_gpus()
        machine = capacity.examine(config.net_interface, gpus=gpus)
        kinds, kind_notes = plugins.load_kinds()
        speeds, speed_notes = (None, []) if config.speed else find_speeds(work_dir, take_fingerprint())
        offered, notes = capacity.offer(config, machine, plugins.labels_of(kinds), speeds)
        for note in (*notes, *kind_notes, *gpu_notes, *speed_notes):
            logs.write_note(logger, note)
        node = WorkerNode(
            worker=config.name,
            incarnation=clock.new_id(),
            capacity=offered,
            pid=os.getpid(),
            started=clock.wall_text(),
        )
        spool = Spool(work_dir, config)
        stack.callback(spool.close)
        kept = spool.kept()
        increments = IncrementFiles(work_dir, config.allow_run_as)
        stack.callback(increments.close)
        runner = RunnerLink(
            worker=config.name,
            work_dir=work_dir,
            incarnation=node.incarnation,
            allow_run_as=config.allow_run_as,
        )
        runner.start()
        stack.callback(runner.close)
        allow_open_files()  # only now: the runner was started before, so that commands see the usual limit
        courier = CourierLink(work_dir, config.cache_bytes_max, logger)
        stack.callback(courier.close)
        inbox = Inbox()
        stack.callback(inbox.bell.close)
        session = Session(config.zk_hosts(), config.zk_chroot(), config.session_timeout_s, inbox.post)
        agent = Agent(
            core=WorkerCore(node, clock.random_seed(), kept),
            inbox=inbox,
            session=session,
            runner=runner,
            courier=courier,
            kinds=KindDesk(
                kinds, bound=Alarm(too_slow), worker=config.name, arch=offered.arch, home=work_dir
            ),
            spool=spool,
            increments=increments,
            meter=LoadMeter(offered, machine_counters(machine, gpus=gpus, offered_gpus=offered.gpus)),
            identity=f"{node.worker}/{node.incarnation}".encode(),
            logger=logger,
        )
        stack.callback(agent.close)
        stack.enter_context(_stopped_by_signals(inbox))
        logger.info(
            "worker_started",
            incarnation=node.incarnation,
            capacity=offered,
            work_dir=work_dir,
            outputs_kept=len(kept),
        )
        session.start()
        stack.callback(session.stop)
        stack.callback(runner.close)  # however this ends, no command outlives the registration
        collector.serve()
        return agent.run()


def _kill_leftovers(work_dir: str, logger: logs.Logger) -> None:
    """Kill what an earlier process of this worker left: its commands may run elsewhere by now."""
    for leftover in leftovers.kill_leftovers(work_dir):
        logger.warning("leftover_killed", pid=leftover.pid, task=leftover.task, gone=leftover.gone)


@contextmanager
def _stopped_by_signals(inbox: Inbox) -> Iterator[None]:
    """Turn SIGTERM and SIGINT into requests to stop, as long as the agent runs."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        inbox.post(StopRequested(at=clock.monotonic()))

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
