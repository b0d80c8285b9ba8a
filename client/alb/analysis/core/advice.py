"""What follows from the figures for whoever tunes the allocation: each sentence with the figure behind it.

A rule speaks only where it has enough to go by; its threshold stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from alb.analysis.core.figures import Advice, Figures, Group, Overload, WorkerFigures
from alb.analysis.core.words import count, seconds, share, size
from alb_core.copies import CHOOSER

TASKS_MIN: Final = 100
#: Fewer tasks say nothing.
GROUP_MIN: Final = 20
#: The same of one user, command or worker.
GROUP_SHARE: Final = 0.02
#: Of all that was reserved: who has less is not worth a sentence.
NAMED_MAX: Final = 3
#: By one rule.
OVER_ASKED: Final = 0.5
#: Used of what was reserved: less is asking for too much.
FULL: Final = 0.85
#: Of the processors reserved: the cluster is full.
IDLE: Final = 0.2
#: Of the processors, reserved and not used: that is room for others.
FAILING: Final = 0.2
#: Of the tasks of a command.
UNUSUAL: Final = 3.0
#: Times as many failures as elsewhere.
NEVER: Final = 0.005
#: Of the tasks: rarer failures elsewhere are taken for so many.
RARE: Final = 0.02
#: Of a command's tasks: rarer ends by a limit are left alone.
SAME: Final = 0.1
CRASHES: Final = 0.01
#: Of the attempts.
GIVEN_BACK: Final = 0.05
NO_CHOICE: Final = 0.5
#: Of the decisions.
UNEVEN: Final = 0.25
#: Between the most and the least reserved worker, on average.
HEADROOM: Final = 1.25
#: Above the 99th percentile: what a reservation should leave.
LOOSE_LIMIT: Final = 20.0
#: Times the longest run.
MIB: Final = 1 << 20
MUCH_MEMORY: Final = 1024 * MIB
MEMORY_MIN: Final = 64 * MIB
#: Peaks below say nothing: the runner's own size counts in them.


def advise(figures: Figures, moment: Callable[[float], str]) -> list[Advice]:
    """Return advice, the most important first; where there is too little data, the sentence that says so.

    Args:
        figures: What was found.
        moment: Writes a time for people.
    """
    if figures.all.tasks < TASKS_MIN:
        text = "There is too little data for advice: let more tasks run, or look at a longer time."
        evidence = f"{count(figures.all.tasks, 'task')}; {TASKS_MIN} are wanted"
        return [Advice(topic="data", text=text, evidence=evidence)]
    rules: tuple[Callable[[Figures], Iterator[Advice]], ...] = (
        _cpu_over_asked,
        _cpu_under_asked,
        _memory_under_asked,
        _memory_silent,
        _memory_over_asked,
        _failing_commands,
        _failing_workers,
        _reruns,
        _limits_hit,
        _limits_loose,
        _given_back,
        _no_choice,
        _uneven_workers,
    )
    found = [*_overloads(figures, moment), *(advice for rule in rules for advice in rule(figures))]
    if not found:
        text = "Nothing stands out: waits, reservations and failures are as they should be."
        found = [Advice(topic="data", text=text, evidence=count(figures.all.tasks, "task"))]
    return found


# --- waiting ------------------------------------------------------------------------------------------------


def _overloads(figures: Figures, moment: Callable[[float], str]) -> Iterator[Advice]:
    """Say why tasks waited: too few machines, too much reserved, or room that nobody could use."""
    worst = sorted(figures.overloads, key=lambda each: -each.mean_wait_s * each.submitted)
    for overload in worst[:NAMED_MAX]:
        evidence = (
            f"{count(overload.submitted, 'task')} submitted then waited {seconds(overload.mean_wait_s)} on "
            f"average, up to {overload.waiting_max:,} at once"
        )
        if overload.reserved >= 0:
            evidence += (
                f"; {share(overload.reserved)} of the processors were reserved, {share(overload.cpu)} busy"
            )
        when = f"From {moment(overload.begin)} to {moment(overload.end)}"
        yield Advice(topic="overload", text=f"{when} {_reason(overload)}", evidence=evidence)


def _reason(overload: Overload) -> str:
    if overload.reserved < 0:
        return "tasks waited far longer than usual; there are no load samples that say why."
    if overload.reserved >= FULL and overload.reserved - overload.cpu < IDLE:
        return "the machines were full: more workers, or moving work to quieter hours, would help."
    if overload.reserved >= FULL:
        return (
            "the processors were reserved, but not all used: tasks waited for room that others held "
            "idle. Smaller --cpus of those that ask for too much would help more than machines."
        )
    return (
        "tasks waited although processors were free: look at labels, at memory, at wide tasks that fit on "
        "few workers, and at drained workers."
    )


# --- what was asked for -------------------------------------------------------------------------------------


def _idle_s(group: Group) -> float:
    """Return the processor time that a group reserved and did not use."""
    return group.asked.cpu_asked_s - group.asked.cpu_used_s


def _cpu_over_asked(figures: Figures) -> Iterator[Advice]:
    whole = figures.all.asked.cpu_asked_s
    named: list[float] = []
    for kind, groups in (("User", figures.users), ("Command", figures.commands)):
        over = [
            group
            for group in groups
            if group.tasks >= GROUP_MIN
            and group.asked.cpu_asked_s >= GROUP_SHARE * whole
            and group.asked.cpu_share < OVER_ASKED
            and not _told(_idle_s(group), named)
        ]
        for group in sorted(over, key=_idle_s, reverse=True)[:NAMED_MAX]:
            asked = group.asked
            named.append(_idle_s(group))
            better = max(0.1, asked.cpu_used_s / group.run_s * HEADROOM)
            yield Advice(
                topic="cpus",
                text=f"{kind} {group.name} reserves more processors than it uses: ask for about "
                f"{better:.1f} a task instead of {asked.cpu_asked_s / group.run_s:.1f}.",
                evidence=f"{share(asked.cpu_share)} of {asked.cpu_asked_s / 3600:,.1f} reserved cpu-hours "
                f"used; the idle rest is {share(_idle_s(group), whole)} of all that was reserved",
            )


def _told(value: float, named: list[float]) -> bool:
    """Tell whether this was said already: a user with one command is not to be named twice."""
    return any(abs(value - other) < SAME * other for other in named)


def _cpu_under_asked(figures: Figures) -> Iterator[Advice]:
    under = (g for g in figures.commands if g.tasks >= GROUP_MIN and g.asked.cpu_over >= 0.5 * g.tasks)
    for group in islice(under, NAMED_MAX):
        yield Advice(
            topic="cpus",
            text=f"Command {group.name} uses more processors than it reserves and slows its neighbours: ask "
            f"for about {group.asked.cpu_used_s / group.run_s:.1f}.",
            evidence=f"{count(group.asked.cpu_over, 'task')} of {group.tasks:,} used a fifth more than they "
            "reserved",
        )


def _memory_under_asked(figures: Figures) -> Iterator[Advice]:
    def excess(group: Group) -> int:
        return max(group.asked.memory_over, group.causes.get("out of memory", 0))

    groups = sorted((g for g in figures.commands if g.tasks >= GROUP_MIN), key=excess, reverse=True)
    for group in groups[:NAMED_MAX]:
        if excess(group) < max(5, RARE * group.tasks):
            return
        asked, killed = group.asked, group.causes.get("out of memory", 0)
        yield Advice(
            topic="memory",
            text=f"Command {group.name} needs more memory than it asks for: ask for "
            f"{size(asked.memory.p99 * HEADROOM)}.",
            evidence=f"{asked.memory_over:,} of {count(asked.memory_asking, 'task')} that reserved memory "
            f"used more, {killed:,} were killed; peak {size(asked.memory.p99)} (p99)",
        )


def _memory_silent(figures: Figures) -> Iterator[Advice]:
    silent = (
        group
        for group in figures.commands
        if group.tasks >= GROUP_MIN and not group.asked.memory_asking and group.asked.memory.p50 > MUCH_MEMORY
    )
    for group in islice(silent, NAMED_MAX):
        memory = group.asked.memory
        yield Advice(
            topic="memory",
            text=f"Command {group.name} reserves no memory and uses much: nothing keeps its tasks from "
            f"filling a machine. Ask for {size(memory.p99 * HEADROOM)}.",
            evidence=f"peak {size(memory.p50)} (p50), {size(memory.p99)} (p99) of "
            f"{count(group.tasks, 'task')}",
        )


def _memory_over_asked(figures: Figures) -> Iterator[Advice]:
    whole = figures.all.asked.memory_asked_gib_s
    named: list[float] = []
    for kind, groups in (("User", figures.users), ("Command", figures.commands)):
        over = [
            group
            for group in groups
            if group.asked.memory_asking >= GROUP_MIN
            and group.asked.memory_asked_gib_s >= GROUP_SHARE * whole
            and group.asked.memory_share < OVER_ASKED
            and max(group.asked.memory.p99 * HEADROOM, MEMORY_MIN) < group.asked.memory_asked.p50
            and not _told(group.asked.memory_asked_gib_s, named)
        ]
        for group in sorted(over, key=lambda each: -each.asked.memory_asked_gib_s)[:NAMED_MAX]:
            asked = group.asked
            named.append(asked.memory_asked_gib_s)
            idle = share(asked.memory_asked_gib_s - asked.memory_used_gib_s, whole)
            yield Advice(
                topic="memory",
                text=f"{kind} {group.name} reserves more memory than it uses: "
                f"{size(max(asked.memory.p99 * HEADROOM, MEMORY_MIN))} a task would do.",
                evidence=f"asked {size(asked.memory_asked.p50)} (p50), peak {size(asked.memory.p99)} (p99) "
                f"of {count(asked.memory_asking, 'task')}; the idle rest is {idle} of all reserved memory",
            )


def _limits_hit(figures: Figures) -> Iterator[Advice]:
    hit = [g for g in figures.commands if g.causes.get("time limit", 0) >= max(5, RARE * g.tasks)]
    for group in hit[:NAMED_MAX]:
        yield Advice(
            topic="time limits",
            text=f"Command {group.name} is often ended by its time limit: its work is thrown away.",
            evidence=f"{group.causes['time limit']:,} of {count(group.tasks, 'task')}",
        )


def _limits_loose(figures: Figures) -> Iterator[Advice]:
    use = figures.all.asked.limit_use
    if use.count >= TASKS_MIN and use.p99 * LOOSE_LIMIT < 1.0:
        yield Advice(
            topic="time limits",
            text="Time limits are so wide that what hangs runs on for long: a few times the longest run is "
            "enough.",
            evidence=f"99 % of {count(use.count, 'task')} with a limit used less than {share(use.p99)} of it",
        )


# --- failures -----------------------------------------------------------------------------------------------


def _failing_commands(figures: Figures) -> Iterator[Advice]:
    failing = [g for g in figures.commands if g.failed >= GROUP_MIN and g.failed_share >= FAILING]
    for group in sorted(failing, key=lambda each: -each.failed)[:NAMED_MAX]:
        cause, times = next(iter(group.causes.items()))
        yield Advice(
            topic="failures",
            text=f"Command {group.name} fails often: mend it before it takes more room.",
            evidence=f"{group.failed:,} of {count(group.tasks, 'task')} failed "
            f"({share(group.failed_share)}), {times:,} by {cause}",
        )


def _failing_workers(figures: Figures) -> Iterator[Advice]:
    """Compare cause by cause: a command that fails everywhere must not hide a machine that fails alone."""
    found: list[tuple[float, WorkerFigures, str, int, float]] = []
    for worker in figures.workers:
        others = figures.all.tasks - worker.tasks
        for cause, times in worker.causes.items():
            if times < GROUP_MIN or others < TASKS_MIN:
                continue
            usual = (figures.causes.get(cause, 0) - times) / others
            if times / worker.tasks > UNUSUAL * max(usual, NEVER):
                found.append((times / worker.tasks, worker, cause, times, usual))
    for often, worker, cause, times, usual in sorted(found, key=lambda each: -each[0])[:NAMED_MAX]:
        yield Advice(
            topic="failures",
            text=f"Tasks fail by {cause} on worker {worker.worker} far more often than elsewhere: drain it, "
            "and look at the machine.",
            evidence=f"{times:,} of its {count(worker.tasks, 'task')} ({share(often)}), "
            f"{share(usual)} elsewhere",
        )


def _reruns(figures: Figures) -> Iterator[Advice]:
    broken = sorted((w for w in figures.workers if w.broken), key=lambda worker: -worker.broken)
    total = sum(worker.broken for worker in broken)
    if figures.attempts < TASKS_MIN or total < CRASHES * figures.attempts:
        return
    worst = broken[0]
    yield Advice(
        topic="reruns",
        text=f"Many attempts were lost with their worker, most on {worst.worker}: look at that machine, and "
        "drain workers before they are stopped.",
        evidence=f"{total:,} of {count(figures.attempts, 'attempt')} ({worst.broken:,} on {worst.worker}); "
        f"{seconds(figures.lost_s)} of run time in vain; {count(figures.rerun_tasks, 'task')} ran again",
    )


# --- placement ----------------------------------------------------------------------------------------------


def _given_back(figures: Figures) -> Iterator[Advice]:
    for policy in figures.policies:
        if policy.attempts >= TASKS_MIN and policy.given_back > GIVEN_BACK * policy.attempts:
            yield Advice(
                topic="placement",
                text="Many tasks were handed over ahead of room and given back: long commands follow short "
                "ones on the same workers. Labels can keep them apart.",
                evidence=f"{share(policy.given_back, policy.attempts)} of "
                f"{count(policy.attempts, 'decision')} by {policy.policy}",
            )


def _no_choice(figures: Figures) -> Iterator[Advice]:
    for policy in figures.policies:
        enough = policy.attempts >= TASKS_MIN and len(figures.workers) > 1 and policy.policy != CHOOSER
        if enough and policy.single > NO_CHOICE * policy.attempts:
            yield Advice(
                topic="placement",
                text=f"Policy {policy.policy} mostly had no choice, for one worker had room: another policy "
                "would change little, more room would.",
                evidence=f"{share(policy.single, policy.attempts)} of {count(policy.attempts, 'decision')} "
                f"had one candidate; {policy.candidates:.1f} on average",
            )


def _uneven_workers(figures: Figures) -> Iterator[Advice]:
    sampled = [worker for worker in figures.workers if worker.samples >= GROUP_MIN]
    if len(sampled) < 2:
        return
    most = max(sampled, key=lambda worker: worker.reserved)
    least = min(sampled, key=lambda worker: worker.reserved)
    if most.reserved - least.reserved < UNEVEN:
        return
    used = {policy.policy for policy in figures.policies if policy.attempts >= TASKS_MIN}
    other = "; policy least-loaded evens load out" if used and "least-loaded" not in used else ""
    yield Advice(
        topic="placement",
        text=f"Workers are used unevenly, {most.worker} far more than {least.worker}: look at the labels "
        f"that tasks ask for, and at what was drained{other}.",
        evidence=f"reserved on average: {share(most.reserved)} of {most.worker}, {share(least.reserved)} of "
        f"{least.worker}",
    )
