"""Jobs from a leader's dump: what waits and what runs, on the workers of that moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

from alb.analysis.core.commands import form_of
from alb.analysis.core.words import count, seconds
from alb.simulate.core.trace import RUN_S_MAX, Trace, user_name
from alb_core.errors import ConfigError
from alb_core.messages import WorkerLine
from alb_core.resources import Request
from alb_core.tasks import AttemptState, TaskRecord
from alb_core.traces import Job, Machine

LEAST_S: Final = 1.0
#: What should have ended by its estimate goes on for so long.
PIN: Final = "replay-worker"
#: Label that keeps what runs where it runs.
LEFT: Final = "running already, and left where they are"
MOVED: Final = "running already, and begun anew wherever there is room"
FIRST: Final = 2**31 - 1
#: Priority of what runs: nobody takes its place.


class Dump(msgspec.Struct, frozen=True):
    """What is read of a dump."""

    now: float
    queue: tuple[TaskRecord, ...]
    running: tuple[TaskRecord, ...]
    workers: tuple[WorkerLine, ...] = ()
    held: tuple[TaskRecord, ...] = ()
    policy: str = ""


def read_dump(data: bytes, source: str, assume_s: float) -> Trace:
    """Return what would have to run from the moment of a dump on.

    Nobody knows how long tasks run that have not ended: one with a time limit is taken to use it up, any
    other to run as long as the caller assumes. What runs already stays where it is.

    Args:
        data: The dump.
        source: Its name, for people.
        assume_s: Run time of tasks without a time limit.

    Raises:
        ConfigError: It is no dump, or there is nothing in it to replay.
    """
    try:
        dump = msgspec.json.decode(data, type=Dump)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{source} is no dump of a leader, which alb dump writes: {error}") from error
    lines = [line for line in dump.workers if line.capacity.cpus > 0]
    names = {line.worker for line in lines}
    counts: Counter[str] = Counter()
    jobs = [*_running(dump, names, assume_s, counts), *_waiting(dump, assume_s, counts)]
    if not jobs:
        raise ConfigError(f"nothing waits or runs in {source}")
    machines = [
        Machine(
            name=line.worker,
            capacity=msgspec.structs.replace(
                line.capacity, labels=(*line.capacity.labels, f"{PIN}={line.worker}")
            ),
        )
        for line in lines
    ]
    remarks = [f"{LEFT}: {count(len(dump.running), 'task')}"]
    if counts["limit"]:
        remarks.append(f"taken to use up their time limit: {count(counts['limit'], 'task')}")
    if counts["assumed"]:
        remarks.append(
            f"taken to run {seconds(assume_s)} (--assume), for lack of a time limit: "
            f"{count(counts['assumed'], 'task')}"
        )
    if dump.held:
        remarks.append(f"{count(len(dump.held), 'held task')} left out")
    drained = [line.worker for line in lines if line.drain is not None]
    if drained:
        remarks.append(f"drained workers take part: {', '.join(drained[:5])}")
    return Trace(source=source, jobs=jobs, machines=machines, policy=dump.policy, remarks=remarks)


def _running(dump: Dump, names: set[str], assume_s: float, counts: Counter[str]) -> Iterator[Job]:
    for record in sorted(dump.running, key=lambda each: each.submitted):
        live = [attempt for attempt in record.attempts if attempt.state is AttemptState.LIVE]
        elapsed = max(0.0, dump.now - live[-1].placed) if live else 0.0
        request = record.spec.request
        if live and live[-1].worker in names:
            pin = f"{PIN}={live[-1].worker}"
            request = msgspec.structs.replace(request, labels=(*request.labels, pin))
        job = _job(record, request, _estimate(record, assume_s, counts) - elapsed)
        yield msgspec.structs.replace(job, priority=FIRST)


def _waiting(dump: Dump, assume_s: float, counts: Counter[str]) -> Iterator[Job]:
    for record in sorted(dump.queue, key=lambda each: each.submitted):
        yield _job(record, record.spec.request, _estimate(record, assume_s, counts))


def _estimate(record: TaskRecord, assume_s: float, counts: Counter[str]) -> float:
    limit = record.spec.time_limit_s
    counts["assumed" if limit is None else "limit"] += 1
    return assume_s if limit is None else limit


def _job(record: TaskRecord, request: Request, run_s: float) -> Job:
    command = record.spec.command
    text = command if isinstance(command, str) else " ".join(command)
    return Job(
        submitted=0.0,
        run_s=min(max(run_s, LEAST_S), RUN_S_MAX),
        user=user_name(record.user),
        request=request,
        priority=record.spec.priority,
        time_limit_s=record.spec.time_limit_s,
        name=form_of(text)[1] or "job",
    )


def unpinned(trace: Trace) -> Trace:
    """Return a trace whose jobs may run on other machines than those that it knows: what ran begins anew."""
    plain: dict[Request, Request] = {}
    for request in {job.request for job in trace.jobs}:
        labels = tuple(label for label in request.labels if not label.startswith(f"{PIN}="))
        if len(labels) < len(request.labels):
            plain[request] = msgspec.structs.replace(request, labels=labels)
    if not plain:
        return trace
    jobs = [msgspec.structs.replace(job, request=plain.get(job.request, job.request)) for job in trace.jobs]
    remarks = [remark.replace(LEFT, MOVED) for remark in trace.remarks]
    return msgspec.structs.replace(trace, jobs=jobs, remarks=remarks)
