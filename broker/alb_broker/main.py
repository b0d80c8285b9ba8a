"""``alb broker``: puts a broker together and runs it."""

from __future__ import annotations

import os
import signal
from functools import partial

import alb_core
from alb_broker.shell.depot_link import DepotLink
from alb_broker.shell.keeper import check_store
from alb_broker.shell.places import examine_places
from alb_broker.shell.plugins import find_policies
from alb_broker.shell.policy_guard import PolicyGuard
from alb_broker.shell.process import BrokerProcess, Links
from alb_core.config import BrokerConfig
from alb_core.io import clock, logs
from alb_core.io.descriptors import allow_open_files
from alb_core.io.zookeeper import bootstrap
from alb_core.znodes import BrokerNode


def main(config: BrokerConfig) -> int:
    """Run a broker until it is stopped.

    Args:
        config: Its settings, validated.

    Returns:
        The exit status of one that began to serve: 0 after a hand-over, 1 after a failure that a supervisor
        should answer by a restart. Who called tells why one did not begin: `alb` exits with 78 where its
        settings cannot work, and with 125 for all else.

    Raises:
        ConfigError: A port cannot be listened on, a policy cannot be loaded, the store cannot be used.
        CoordinationError: No ZooKeeper server answered at the start, or what it holds is not ours.
    """
    log = logs.configure(config.log_level, gathered=True, broker=config.name)
    try:
        return _run(config, log)
    finally:
        logs.flush()


def _run(config: BrokerConfig, log: logs.Logger) -> int:
    allow_open_files()
    for note in examine_places(config):
        logs.write_note(log, note)
    installed = find_policies()
    for note in installed.notes:
        logs.write_note(log, note)
    guard = PolicyGuard()
    policies = guard.guard(installed.policies)
    logs.flush()  # ZooKeeper may keep us waiting
    meta = bootstrap(
        config.zk_hosts(), config.zk_chroot(), on_wait=partial(_say_what_is_awaited, config, log)
    )
    check_store(config.store)
    links = Links(config)
    depot = DepotLink(config, log)
    node = BrokerNode(
        broker=config.name,
        incarnation=clock.new_id(),
        host=clock.host_name(),
        pid=os.getpid(),
        version=alb_core.__version__,
        started=clock.wall_text(),
        clients=links["clients"].endpoint,
        client_output=links["client_output"].endpoint,
        workers=links["workers"].endpoint,
        worker_output=links["worker_output"].endpoint,
        depot=depot.endpoint,
        depot_key=depot.key,
        policies=installed.sources,
    )
    process = BrokerProcess(config, node, meta, links, depot, policies, guard.spent, log)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: process.stop())
    log.info("broker_starts", clients=node.clients, workers=node.workers, table=meta.table, pid=node.pid)
    return process.run()


def _say_what_is_awaited(config: BrokerConfig, log: logs.Logger) -> None:
    log.warning("broker_waiting", **{"for": "ZooKeeper"}, tried=config.zk_hosts())
    logs.flush()
