"""Why a request can run on no worker that there is, in a sentence for whoever waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alb_core.amounts import listed, size
from alb_core.drains import named
from alb_core.resources import Request, amount_of, fits

if TYPE_CHECKING:
    from alb_broker.core.worker import Worker


def why_misfit(request: Request, workers: Sequence[Worker]) -> str:
    """Return why a request waits for ever, as things are.

    Args:
        request: What is asked for; no worker that is not drained could run it.
        workers: All there are.
    """
    if not workers:
        return "there are no workers; start one with alb worker"
    able = [worker for worker in workers if fits(request, worker.capacity)]
    if able:
        names = named([worker.name for worker in able])
        return f"every worker that could run it is drained: {names}; alb undrain puts them to work again"
    return _why_unsuitable(request, workers) or _why_too_large(request, workers)


def _why_unsuitable(request: Request, workers: Sequence[Worker]) -> str:
    """Return what no worker has that is asked for, amounts apart; empty: each of it is somewhere."""
    archs = sorted({worker.capacity.arch for worker in workers})
    if request.archs and not set(request.archs) & set(archs):
        return (
            f"no worker has the architecture {' or '.join(request.archs)}: there are {', '.join(archs)}; "
            "it waits for one that has"
        )
    missing = [
        label for label in request.labels if not any(worker.capacity.carries(label) for worker in workers)
    ]
    if shunned := [label.replace("!=", "=", 1) for label in missing if "!=" in label]:
        return f"every worker has the label {' or '.join(shunned)}; it waits for one that has not"
    if missing:
        return f"no worker has the label {', '.join(missing)}; it waits for one that has"
    unknown = [
        count.name
        for count in request.counts
        if not any(amount_of(worker.capacity.counts, count.name) for worker in workers)
    ]
    if unknown:
        return f"no worker has the resource {', '.join(unknown)}; it waits for one that has"
    return ""


def _why_too_large(request: Request, workers: Sequence[Worker]) -> str:
    cpus = max(worker.capacity.cpus for worker in workers)
    memory = max(worker.capacity.memory_bytes for worker in workers)
    asked = [
        f"{request.cpus:g} cpus",
        *([f"{size(request.memory_bytes)} of memory"] if request.memory_bytes else ()),
        *([f"{request.net_bps / 1e6:g} Mbit/s"] if request.net_bps else ()),
        *(f"{count.amount} {count.name}" for count in request.counts),
        *(f"the label {label}" for label in request.labels),
        *([f"the architecture {' or '.join(request.archs)}"] if request.archs else ()),
    ]
    most = [f"the largest has {cpus:g} cpus", f"the one with most memory {size(memory)}"]
    if request.net_bps:
        most.append(_most_bandwidth(workers))
    most += [
        f"the most of {count.name} on one is {most_of}"
        for count in request.counts
        for most_of in (max(amount_of(each.capacity.counts, count.name) for each in workers),)
    ]
    return (
        f"no worker could ever run it: it asks {listed(asked)} of one worker; {', '.join(most)}; it "
        "waits for one that fits"
    )


def _most_bandwidth(workers: Sequence[Worker]) -> str:
    net_bps = max(worker.capacity.net_bps for worker in workers)
    if not net_bps:
        return "and none knows its bandwidth, so nothing that reserves any runs there (alb worker --net-bps)"
    return f"the most bandwidth is {net_bps / 1e6:g} Mbit/s"
