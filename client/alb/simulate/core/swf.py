"""Workload logs in the Standard Workload Format, version 2.2.

Chapin, Cirne, Feitelson, Jones, Leutenegger, Schwiegelshohn, Smith, Talby: "Benchmarks and Standards for the
Evaluation of Parallel Job Schedulers", JSSPP 1999; the archive's page "The Standard Workload Format" numbers
the fields as here. A line is a job of 18 numbers; ``;`` begins a comment, -1 means unknown.
"""

from __future__ import annotations

import enum
import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from alb.analysis.core.words import count
from alb.simulate.core.trace import RUN_S_MAX, Requests, Trace, ordered
from alb_core.errors import ConfigError
from alb_core.traces import Job

FIELDS: Final = 18
NAMED_MAX: Final = 3
#: Bad lines that are shown.
KIB: Final = 1024
CPUS_MAX: Final = 1e6
#: Of one job: what is not below is no number of processors.
LINE_MAX: Final = 2000
#: Characters: a line of 18 numbers is a tenth of that.
_MAX_PROCS: Final = re.compile(r";\s*MaxProcs:\s*(\d{1,9})\s*$")
#: The header's field that tells how many processors the whole machine had.


class Field(enum.IntEnum):
    """The fields that count here, by their place in a line (the format counts from 1)."""

    SUBMITTED = 1  #: Seconds since the beginning of the log.
    RUN = 3  #: Wall-clock seconds.
    USED_CPUS = 4  #: Processors that it was given.
    USED_MEMORY = 6  #: KiB a processor, on average.
    ASKED_CPUS = 7
    ASKED_TIME = 8  #: Seconds: its user's estimate, and mostly its limit.
    ASKED_MEMORY = 9  #: KiB a processor.
    STATUS = 10  #: 1 completed, 0 failed, 5 cancelled; 2 to 4: a part of a job that was checkpointed.
    USER = 11
    EXECUTABLE = 13


PARTIAL: Final = (2, 3, 4)
#: Such a line repeats a part of a job that has a line of its own.


class _Bad(Exception):
    """A line that is no job; says why."""


def read_swf(lines: Iterable[str], source: str) -> Trace:
    """Read a log.

    Args:
        lines: Its lines.
        source: Its name, for people.

    Returns:
        The jobs that ran. Remarks tell what was left out: lines that are no jobs, and jobs that never ran.

    Raises:
        ConfigError: There is no job in it.
    """
    jobs: list[Job] = []
    bad: list[str] = []
    bad_count = 0
    left_out: Counter[str] = Counter()
    cpus = 0.0
    requests = Requests()
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith(";"):
            found = _MAX_PROCS.match(text[:LINE_MAX])
            cpus = float(found[1]) if found and not cpus else cpus
            continue
        try:
            job = _job(text, requests, left_out)
        except _Bad as error:
            bad_count += 1
            if len(bad) < NAMED_MAX:
                bad.append(f"line {number}: {error}")
            continue
        if job is not None:
            jobs.append(job)
    remarks = [f"{count(number, 'job')} left out: {why}" for why, number in left_out.items()]
    if bad:
        remarks.append(f"{count(bad_count, 'line')} left out that are no jobs: {'; '.join(bad)}")
    if not jobs:
        why = "; ".join(remarks) or "it is empty"
        raise ConfigError(f"{source} holds no job in the Standard Workload Format ({why})")
    return Trace(source=source, jobs=ordered(jobs), cpus=cpus, remarks=remarks)


def _job(text: str, requests: Requests, left_out: Counter[str]) -> Job | None:
    """Return the job of a line, or None and count why it is left out."""
    fields = _numbers(text)
    run_s, status = fields[Field.RUN], int(fields[Field.STATUS])
    if status in PARTIAL:
        left_out["parts of jobs that have a line of their own (status 2 to 4)"] += 1
        return None
    if run_s <= 0:
        left_out["never ran (run time 0 or unknown)"] += 1
        return None
    cpus = _known(fields[Field.ASKED_CPUS], fields[Field.USED_CPUS])
    if cpus <= 0:
        left_out["number of processors unknown"] += 1
        return None
    if fields[Field.SUBMITTED] < 0 or run_s > RUN_S_MAX or cpus >= CPUS_MAX:
        raise _Bad(f"submitted {fields[1]:g}, ran {run_s:g} s on {cpus:g} processors")
    memory = max(0.0, _known(fields[Field.ASKED_MEMORY], fields[Field.USED_MEMORY]))
    asked_s = fields[Field.ASKED_TIME]
    executable = int(fields[Field.EXECUTABLE])
    user = int(fields[Field.USER])
    return Job(
        submitted=fields[Field.SUBMITTED],
        run_s=run_s,
        user=f"user{user}" if user >= 0 else "unknown",
        request=requests.make(cpus, int(min(memory * KIB * cpus, 2.0**61))),
        # What ran longer than it asked for was not stopped there: its limit was not that.
        time_limit_s=min(max(asked_s, run_s), RUN_S_MAX) if asked_s > 0 else None,
        name=f"exe{executable}" if executable >= 0 else "job",
    )


def _known(first: float, second: float) -> float:
    """Return the first value, or the second where that is unknown."""
    return first if first > 0 else second


def _numbers(text: str) -> list[float]:
    words = text[:LINE_MAX].split()
    if len(words) != FIELDS:
        raise _Bad(f"{len(words)} fields, not {FIELDS}")
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise _Bad(str(error)[:80]) from error
    if not all(map(math.isfinite, numbers)):
        raise _Bad("a field is no finite number")
    return numbers
