"""What a worker's machine has, what a task asks of it, and how loaded it is."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from alb_core import limits
from alb_core.speeds import Speeds, Strain, check_speed, check_speeds
from alb_core.vectors import Vector, check_vector

EPSILON: Final = 1e-9
#: Sums of fractional cpus are exact only so far.
CPUS_MAX: Final = 1e6
#: Of one worker, and of one request: what is not below this is no number of processors.
BYTES_MAX: Final = 2**62
#: Of memory, and of bandwidth in bits per second.
GPUS: Final = "gpus"
#: The count whose units are devices: each has an index, and the worker says which ones an attempt gets.
KNOWN: Final[Mapping[str, str]] = {
    "cpu": "cpus",
    "cpus": "cpus",
    "mem": "memory",
    "memory": "memory",
    "net": "bandwidth",
    "gpu": "gpus",
}
#: What no count is called, for it is asked for otherwise.
COUNT_DIGITS_MAX: Final = 18
#: That are read as a number: what is longer is too large, however it begins.
BUILT_IN: Final = frozenset(("arch", "host", "kernel"))
#: Labels that every worker has without being told: fields of its `Capacity`.

_LABEL: Final = re.compile(r"[^ =!][^ ]*\Z")
_COUNT_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,31}\Z")


class Count(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """So many of something that is counted in whole units: licences, devices."""

    name: str
    amount: int


class Request(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, cache_hash=True):
    """What one task reserves while it runs."""

    cpus: float = 1.0
    #: Processors; may be a fraction.
    memory_bytes: int = 0
    #: 0 reserves none.
    net_bps: int = 0
    #: Network bandwidth in bits per second; 0 reserves none.
    labels: tuple[str, ...] = ()
    #: Labels that the worker must carry, each ``key`` or ``key=value``.
    archs: tuple[str, ...] = ()
    #: The worker's architecture must be one of these; empty: any.
    counts: tuple[Count, ...] = ()
    #: Of what workers count in whole units, each name once.
    prefers: tuple[str, ...] = ()
    #: Labels like `labels` that a worker had better carry: one with room that does is taken first.
    measured: bool = False
    #: A worker has room only if what is measured there leaves it, too.
    strain: Strain | None = None
    #: What it mostly strains, and so which of a worker's speeds counts; None: their mean.
    optimize: Vector | None = None
    #: What counts when a worker is chosen for it; None: the policy decides.

    @property
    def plain(self) -> bool:
        """Whether processors and memory alone decide where there is room for it: as nearly always."""
        return not (self.net_bps or self.counts or self.labels or self.archs or self.measured)

    @property
    def gpus(self) -> int:
        """How many GPUs it reserves."""
        return amount_of(self.counts, GPUS)

    def suits(self, capacity: Capacity) -> bool:
        """Tell whether a worker is of the right kind, whatever amounts it has."""
        return (not self.labels or all(map(capacity.carries, self.labels))) and (
            not self.archs or capacity.arch in self.archs
        )

    def without_cpus(self) -> Request:
        """Return what an attempt reserves whose processors are others' now."""
        return msgspec.structs.replace(self, cpus=0.0)

    def preferred(self, capacity: Capacity) -> int:
        """Return how much of what it prefers a worker has."""
        return sum(map(capacity.carries, self.prefers))

    def exceeds(self, other: Request) -> bool:
        """Tell whether it asks for more of anything than another does; labels are no amounts."""
        return (
            self.cpus > other.cpus
            or self.memory_bytes > other.memory_bytes
            or self.net_bps > other.net_bps
            or (bool(self.counts) and not _covers(other.counts, self.counts))
        )


class Capacity(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What a worker offers."""

    cpus: float
    memory_bytes: int
    net_bps: int = 0
    #: 0 when nobody configured it and the link does not tell its speed.
    arch: str = ""
    kernel: str = ""
    host: str = ""
    labels: tuple[str, ...] = ()
    version: str = ""
    speed: float = 1.0
    #: How fast it is, as its operator says, else the mean of what was measured: twice as much does the same
    #: work in half the time.
    speeds: Speeds | None = None
    #: What was measured; None: nothing, its operator knows better, or it failed.
    counts: tuple[Count, ...] = ()
    #: What it has of what is counted in whole units, each name once.

    @property
    def gpus(self) -> int:
        """How many GPUs it offers; their indexes are those below this number."""
        return amount_of(self.counts, GPUS)

    def speed_in(self, strain: Strain | None) -> float:
        """Return how fast it is in one kind of work; None: in general."""
        return self.speed if strain is None or self.speeds is None else self.speeds.of(strain)

    def carries(self, label: str) -> bool:
        """Tell whether it meets a label that a request names: ``key``, ``key=value`` or ``key!=value``."""
        if label in self.labels:
            return True
        key, equals, value = label.partition("=")
        if not equals:
            return False
        if key.endswith("!"):
            return not self.carries(f"{key[:-1]}={value}")
        return key in BUILT_IN and bool(value == getattr(self, key))


class Load(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """How busy a worker's machine is, as fractions of what the worker offers; may exceed 1."""

    cpu: float = 0.0
    memory: float = 0.0
    net: float = 0.0
    running: int = 0
    #: Attempts whose processes live.
    gpu: float = 0.0
    #: The mean of its GPUs, where they can be measured.

    @property
    def countable(self) -> bool:
        """Whether a machine can be so busy: nothing of it is below zero, infinite, or no number."""
        return all(0 <= part < math.inf for part in (self.cpu, self.memory, self.net, self.running, self.gpu))

    def leaves(self, request: Request, capacity: Capacity) -> bool:
        """Tell whether what is measured on a worker leaves room for a request; counts are not measured."""
        return (
            request.cpus <= capacity.cpus * (1 - self.cpu) + EPSILON
            and request.memory_bytes <= capacity.memory_bytes * (1 - self.memory)
            and request.net_bps <= capacity.net_bps * (1 - self.net)
        )

    def fell(self, before: Load) -> bool:
        """Tell whether something of the machine is less used than before."""
        return self.cpu < before.cpu or self.memory < before.memory or self.net < before.net


class Room:
    """What is free on a worker. The leader and the worker itself count it by the same rules."""

    __slots__ = ("counts", "cpus", "memory_bytes", "net_bps")

    def __init__(self, capacity: Capacity | None = None) -> None:
        self.cpus = 0.0
        self.memory_bytes = 0
        self.net_bps = 0
        self.counts: dict[str, int] = {}  #: By name, of what the worker has at all.
        if capacity is not None:
            self.resize(Capacity(cpus=0, memory_bytes=0), capacity)

    def resize(self, before: Capacity, now: Capacity) -> None:
        """The worker offers something else than before: what is taken stays taken."""
        self.cpus += now.cpus - before.cpus
        self.memory_bytes += now.memory_bytes - before.memory_bytes
        self.net_bps += now.net_bps - before.net_bps
        for count in before.counts:
            self.counts[count.name] -= count.amount
        for count in now.counts:
            self.counts[count.name] = self.counts.get(count.name, 0) + count.amount

    def copy(self) -> Room:
        """Return as much room, to be counted apart."""
        twin = Room()
        twin.cpus, twin.memory_bytes, twin.net_bps = self.cpus, self.memory_bytes, self.net_bps
        twin.counts.update(self.counts)
        return twin

    def holds(self, request: Request) -> bool:
        """Tell whether the amounts of a request are free."""
        return (
            request.cpus <= self.cpus + EPSILON
            and request.memory_bytes <= self.memory_bytes
            and request.net_bps <= self.net_bps
            and (not request.counts or self._holds_counts(request.counts))
        )

    def taken_counts(self, capacity: Capacity) -> tuple[Count, ...]:
        """Return what is not free of what a worker has in whole units."""
        return tuple(Count(count.name, count.amount - self.counts[count.name]) for count in capacity.counts)

    def _holds_counts(self, counts: tuple[Count, ...]) -> bool:
        free = self.counts
        return all(count.amount <= free.get(count.name, 0) for count in counts)

    def take(self, request: Request) -> None:
        """Set a request's amounts aside."""
        self.cpus -= request.cpus
        self.memory_bytes -= request.memory_bytes
        if request.net_bps or request.counts:  # as seldom
            self.net_bps -= request.net_bps
            for count in request.counts:
                self.counts[count.name] = self.counts.get(count.name, 0) - count.amount

    def give_back(self, request: Request) -> None:
        """Let a request's amounts be free again."""
        self.cpus += request.cpus
        self.memory_bytes += request.memory_bytes
        if request.net_bps or request.counts:  # as seldom
            self.net_bps += request.net_bps
            for count in request.counts:
                self.counts[count.name] += count.amount


def amount_of(counts: tuple[Count, ...], name: str) -> int:
    """Return how many of something there are."""
    for count in counts:
        if count.name == name:
            return count.amount
    return 0


def _covers(counts: tuple[Count, ...], asked: tuple[Count, ...]) -> bool:
    """Tell whether there is of each count what is asked for."""
    return all(count.amount <= amount_of(counts, count.name) for count in asked)


def fits(request: Request, capacity: Capacity) -> bool:
    """Tell whether an otherwise empty worker could run the request.

    A worker whose bandwidth is unknown (0) runs only requests that reserve none.
    """
    return (
        request.cpus <= capacity.cpus
        and request.memory_bytes <= capacity.memory_bytes
        and request.net_bps <= capacity.net_bps
        and (not request.counts or _covers(capacity.counts, request.counts))
        and request.suits(capacity)
    )


# --- what is wrong with them ------------------------------------------------------------------------------


def check_request(request: Request) -> str | None:
    """Find what is wrong with what a task asks for.

    Returns:
        A sentence that says what is wrong and what to do, or None.
    """
    if not 0 < request.cpus <= CPUS_MAX:
        return f"{request.cpus:g} cpus cannot be reserved; ask for more than 0, and at most {CPUS_MAX:,.0f}"
    if not 0 <= request.memory_bytes < BYTES_MAX or not 0 <= request.net_bps < BYTES_MAX:
        return "memory and bandwidth cannot be negative or absurdly large"
    if request.labels or request.prefers:
        why = check_labels(request.labels) or check_labels(request.prefers)
        if why is not None:
            return why
    if request.optimize is not None and (why := check_vector(request.optimize)) is not None:
        return why
    return check_counts(request.counts) if request.counts else None


def check_capacity(capacity: Capacity) -> str | None:
    """Find what is wrong with what a worker offers; see `check_request`."""
    amounts = f"{capacity.cpus} cpus, {capacity.memory_bytes} bytes, {capacity.net_bps} bit/s"
    if not 0 <= capacity.cpus < CPUS_MAX or capacity.memory_bytes < 0 or capacity.net_bps < 0:
        return f"the worker offers {amounts}"
    wrong = check_speed(capacity.speed) or check_speeds(capacity.speeds)
    if wrong is not None:
        return wrong
    if len(capacity.labels) > limits.LABELS_MAX:
        return f"the worker has {len(capacity.labels)} labels, more than {limits.LABELS_MAX}"
    return check_counts(capacity.counts)


def check_labels(labels: tuple[str, ...]) -> str | None:
    """Find what is wrong with labels that a task names; see `check_request`."""
    if len(labels) > limits.LABELS_MAX:
        return f"it names {len(labels)} labels of a worker, more than {limits.LABELS_MAX}"
    for label in labels:
        if not label.isprintable() or len(label) > limits.NAME_LENGTH_MAX or not _LABEL.match(label):
            return (
                f"{label[:40]!r} is no label: KEY, KEY=VALUE or KEY!=VALUE, without spaces, "
                f"at most {limits.NAME_LENGTH_MAX} characters"
            )
    return None


def check_counts(counts: tuple[Count, ...]) -> str | None:
    """Find what is wrong with named counts; see `check_request`."""
    if len(counts) > limits.COUNTS_MAX:
        return f"there are {len(counts)} named resources, more than {limits.COUNTS_MAX}"
    if len({count.name for count in counts}) < len(counts):
        return "a named resource is given twice; give each once"
    for count in counts:
        if count.name in KNOWN:
            known = KNOWN[count.name]
            return f"{count.name!r} is no name of a resource of your own: {known} have an option of their own"
        if _COUNT_NAME.match(count.name) is None:
            return (
                f"{count.name[:40]!r} is no name of a resource: a letter, then letters, digits, '_', '.', "
                "'-', at most 32"
            )
        if not 0 < count.amount <= limits.COUNT_MAX:
            return f"{count.name}={count.amount} is no count: a whole number from 1 to {limits.COUNT_MAX}"
    return None


def parse_counts(texts: Iterable[str]) -> dict[str, int]:
    """Return what people write as amounts by name: each text ``name=count``.

    Raises:
        ValueError: It is something else; the sentence says what to write.
    """
    amounts: dict[str, int] = {}
    for text in texts:
        name, equals, amount = text.partition("=")
        if not equals or not (amount.isascii() and amount.isdigit()) or len(amount) > COUNT_DIGITS_MAX:
            raise ValueError(
                f"{text[:80]!r} is no NAME=COUNT with a whole number from 1 to {limits.COUNT_MAX}: "
                "write licence=2"
            )
        if name in amounts:
            raise ValueError(f"{name[:40]!r} is given twice; give each resource once")
        amounts[name] = int(amount)
    return amounts


def counts_of(amounts: Mapping[str, int]) -> tuple[Count, ...]:
    """Return amounts by name as counts, in the order of their names: what is asked for alike is equal."""
    return tuple(Count(name, amounts[name]) for name in sorted(amounts))
