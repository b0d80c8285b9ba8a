"""Faults one after the other, and losses of one kind of message: what heavier mixes break besides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.simulation.hosts import Host

from alb_core import messages, zk, znodes

if TYPE_CHECKING:
    from tests.simulation.faults import Faults, Kind

LOOK_EVERY_S: Final = 0.05
#: For a new leader, to kill that, too.
MUTED: Final = (
    messages.Accepted,
    messages.Ack,
    messages.AttemptAck,
    messages.AttemptEnded,
    messages.AttemptStarted,
    messages.Busy,
    messages.CancelNoted,
    messages.Demote,
    messages.Finished,
    messages.Heartbeat,
    messages.Kill,
    messages.Register,
    messages.Registered,
    messages.Revoke,
    messages.Run,
    messages.Submit,
)
#: Kinds of messages of which none arrives for a while.


def _kill_leaders(faults: Faults) -> None:
    """The leader dies, and whoever follows it dies as soon as it leads; two or three of them."""
    faults.count("leaders killed one after the other")
    _kill_next(faults, faults.draws.choice((2, 3)))


def _kill_next(faults: Faults, left: int) -> None:
    leaders = [broker for broker in faults.cluster.brokers if broker.alive and broker.leads]
    for leader in leaders:
        faults.cluster.trace.fault(f"kill leader {leader.name}")
        leader.kill()
        faults.heal_later(faults.draws.uniform(0.1, 4.0), leader.start)
    if left > bool(leaders):
        wait_s = faults.draws.choice((LOOK_EVERY_S, LOOK_EVERY_S, 0.5)) if leaders else LOOK_EVERY_S
        faults.follow_later(wait_s, lambda faults: _kill_next(faults, left - bool(leaders)))


def _cut_commits(faults: Faults) -> None:
    """For some seconds no commit's outcome is known at once, whoever leads."""
    faults.count("unknown commits in series")
    _cut_next(faults, faults.draws.randint(3, 12))


def _cut_next(faults: Faults, left: int) -> None:
    for broker in faults.cluster.brokers:
        if broker.working and broker.leads and broker.session is not None:
            broker.session.cut_next = faults.draws.choice(("before", "after"))
            broker.session.replay_next = faults.draws.random() < 0.3
    if left:
        faults.follow_later(faults.draws.uniform(0.05, 1.5), lambda faults: _cut_next(faults, left - 1))


def _restart_worker(faults: Faults) -> None:
    """A worker dies and is there again at once, under its name, time and again."""
    worker = faults.worker()
    if worker is not None:
        faults.count("worker restarted in series")
        _restart(faults, worker, faults.draws.choice((1, 2, 5)))


def _restart(faults: Faults, host: Host, left: int) -> None:
    host.kill()
    faults.cluster.timeline.after(faults.draws.uniform(0.0, 0.1), host.start)
    if left:
        wait_s = faults.draws.uniform(0.2, 3.0)
        faults.follow_later(wait_s, lambda faults: _restart(faults, host, left - 1))


def _restart_workers(faults: Faults) -> None:
    """All workers die at once, as when somebody rolls a new version out carelessly."""
    faults.count("all workers restarted")
    for worker in faults.cluster.workers:
        if worker.working:
            worker.kill()
            faults.heal_later(faults.draws.uniform(0.0, 6.0), worker.start)


def _expire_all(faults: Faults) -> None:
    """Every session is over, as when ZooKeeper was away for long."""
    faults.count("all sessions expired")
    ensemble = faults.cluster.ensemble
    for host in (*faults.cluster.brokers, *faults.cluster.workers):
        if host.session is not None and ensemble.lives(host.session.session):
            ensemble.expire(host.session.session)


def _jump_clocks(faults: Faults) -> None:
    """ZooKeeper's clock jumps to and fro, and leaders change meanwhile."""
    faults.count("clock jumps in series")
    _jump(faults, faults.draws.randint(3, 6))


def _jump(faults: Faults, left: int) -> None:
    faults.cluster.ensemble.jump_s += faults.draws.choice((-3600.0, -30.0, -0.5, 0.5, 30.0, 3600.0))
    leaders = [broker for broker in faults.cluster.brokers if broker.working and broker.leads]
    if leaders and faults.draws.random() < 0.5:
        leaders[0].stop()
    if left:
        faults.follow_later(faults.draws.uniform(0.5, 3.0), lambda faults: _jump(faults, left - 1))


def _mute(faults: Faults) -> None:
    """No message of one kind arrives for a while."""
    faults.count("one kind of message lost")
    network, kind = faults.cluster.network, faults.draws.choice(MUTED)
    faults.cluster.trace.fault(f"lose every {kind.__name__}")
    network.muted |= {kind}
    faults.cluster.timeline.after(faults.draws.uniform(0.5, 8.0), _unmute, faults, kind)


def _unmute(faults: Faults, kind: type) -> None:
    faults.cluster.network.muted -= {kind}


def _kill_clients(faults: Faults) -> None:
    """All clients die at once, and ask another broker's standby first when they are back."""
    faults.count("all clients killed")
    for client in faults.cluster.clients:
        if client.alive:
            client.kill()
            faults.heal_later(faults.draws.uniform(0.1, 10.0), client.start)


def _name_worker_twice(faults: Faults) -> None:
    """A second process of a worker's name: each takes it from the other, until somebody sees that."""
    worker = faults.worker()
    if worker is not None:
        faults.count("second worker of a name")
        faults.cluster.disputed.add(worker.name)
        namesake = faults.cluster.namesakes[worker.name]
        namesake.begin_mistake()
        faults.heal_later(faults.draws.uniform(1.0, 15.0), namesake.end_mistake)


def _delete_leader(faults: Faults) -> None:
    """Somebody deletes ``/leader`` with zkCli: the brokers elect again, beside one that still leads."""
    if faults.cluster.ensemble.read(znodes.LEADER) is not None:
        faults.count("/leader deleted by hand")
        faults.cluster.ensemble.operate((zk.Delete(znodes.LEADER),))


def _drop_spools(faults: Faults) -> None:
    """A worker's disk is full: it lets go of the output of what has ended."""
    worker = faults.worker()
    if worker is not None and not faults.cluster.knobs.store:
        faults.count("spools dropped")
        worker.runner.drop_ended()


SERIES: Final[dict[str, Kind]] = {
    "leaders killed one after the other": _kill_leaders,
    "unknown commits in series": _cut_commits,
    "worker restarted in series": _restart_worker,
    "all workers restarted": _restart_workers,
    "all sessions expired": _expire_all,
    "clock jumps in series": _jump_clocks,
    "one kind of message lost": _mute,
    "all clients killed": _kill_clients,
    "/leader deleted by hand": _delete_leader,
    "spools dropped": _drop_spools,
    "second worker of a name": _name_worker_twice,
}
#: All of them.
