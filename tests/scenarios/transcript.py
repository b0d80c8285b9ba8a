"""The language of the scenarios: commands, ``----``, and what is told then.

One command a line; words without ``=`` name players, the others are options. The commands:

``start brokers=b1,b2 workers=w1,w2 cpus=1``, with settings of the brokers such as ``pending_max=4``, and
``plug_ins=fatal,sound`` (policies of somebody else's, `tests/broker_stage.py`);
``submit t1 "sleep 5" client=c1 on_lost=fail retries=2 delay=5 afterok=t2 held=1 optimize=time``, or
``speculative=1``, ``measured=1``;
``cancel t1``; ``attach t1``; ``hold t1``, ``release t1``; ``policy weighted cpu=1 try=5``;
``drain w1 deadline=2``; ``undrain w1``; ``load w1 cpu=0.5`` (it measures that from now on);
``share bob cpus_max=2``;
``finish t1 exit=0 on=w1 took=2`` (its command ends, where it runs);
``interrupt t1`` (the worker gives it up);
``silence w1``, ``return w1``, ``restart w1`` (a new life under the same name);
``kill b1``, ``boot b1``, ``freeze b1``, ``thaw b1``, ``stop b1``; ``suspect b2`` (client c1 tells a standby);
``hold b1``, ``release b1`` (its requests to ZooKeeper wait); ``lose b1 applied`` or ``lose b1 dropped`` (what
becomes of its next transaction, whose answer is lost with the connection); ``reconnect b1``;
``put t1 "text"``, ``wipe t1`` (an operator changes a live task's node); ``unseat`` (he deletes ``/leader``);
``table`` (what ZooKeeper holds);
``advance 10s``, with ``silence=w1`` before.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from tests.broker_parts import attach, outcome, submit, task_id
from tests.broker_stage import PLUG_INS, Stage, StagedBroker

from alb_broker.core import events
from alb_core import zk, znodes
from alb_core.messages import (
    Accepted,
    AttemptAck,
    Busy,
    Cancel,
    CancelNoted,
    Demote,
    Done,
    DrainWorkers,
    Error,
    Finished,
    HoldTasks,
    Kill,
    Message,
    NotLeader,
    Rejected,
    ReleaseTasks,
    Revoke,
    Run,
    SetPolicy,
    SetShare,
    Suspect,
    TaskMoved,
    UndrainWorkers,
)
from alb_core.notes import Level, Note
from alb_core.resources import Request
from alb_core.shares import Share
from alb_core.spec import After, Dependency, OnLost, Retry, Start, TaskSpec
from alb_core.tasks import AttemptState, Cause, TaskState
from alb_core.vectors import parse_vector
from alb_core.znodes import UnreadableNode

SILENT_NOTES = {"leader_seen", "leader_ready", "table_loaded", "task_finished", "worker_registered"}
#: Told by other lines, or not worth a line.

UNTOLD_FIELDS = {"incarnation", "table", "last_commit", "last_placement"}
#: They differ with every small change of timing.

Options = dict[str, str]


class Told(Stage):
    """A stage that tells what its players note and hear."""

    def heard(self, broker: StagedBroker, peer: str, message: Message) -> None:
        """Tell what a peer hears, greetings and heartbeats apart."""
        saying = SAYINGS.get(type(message))
        if saying is not None:
            self.tell(f"{self._of(broker)}{peer} hears {saying(message)}")

    def note(self, broker: StagedBroker, note: Note) -> None:
        """Tell what a broker notes."""
        if note.event not in SILENT_NOTES and not _is_noise(note):
            self.tell(f"{self._of(broker)}{_note(note)}")

    def _of(self, broker: StagedBroker) -> str:
        return f"{broker.name}: " if len(self.brokers) > 1 else ""


def _is_noise(note: Note) -> bool:
    return note.event == "message_dropped" and "task" not in note.fields and "worker" not in note.fields


def _note(note: Note) -> str:
    fields = {name: value for name, value in note.fields.items() if name not in UNTOLD_FIELDS}
    match note.event:
        case "task_moved":
            return "{task} {before} -> {after}: {reason}".format_map(fields)
        case "worker_lost":
            return "{worker} lost: {why}".format_map(fields)
        case "message_dropped":
            return " ".join(["dropped", *(f"{name}={value}" for name, value in fields.items())])
        case _:
            alarm = "! " if note.level >= Level.ERROR else ""
            return alarm + " ".join([note.event, *(f"{name}={value}" for name, value in fields.items())])


def _attempt(message: Run | Kill | AttemptAck) -> str:
    return f"{type(message).__name__} {message.attempt.task} attempt {message.attempt.n}"


def _killed(message: Kill) -> str:
    return _attempt(message) + (f": {message.why}" if message.why in {"evicted", "preempted"} else "")


def _demoted(message: Demote) -> str:
    return "Demote " + ", ".join(f"{each.task} attempt {each.n}" for each in message.attempts)


def _place(message: Accepted | TaskMoved) -> str:
    if isinstance(message, TaskMoved) and message.state is TaskState.HELD:
        return f": HELD, {message.why}"
    if not message.worker:
        return "" if isinstance(message, Accepted) else f": {message.state.value}"
    return f": {message.state.value}, attempt {message.attempt} on {message.worker}"


SAYINGS: dict[type[Message], Callable[[Any], str]] = {
    Run: _attempt,
    Kill: _killed,
    Demote: _demoted,
    Revoke: lambda told: f"Revoke {', '.join(f'{each.task} attempt {each.n}' for each in told.attempts)}",
    AttemptAck: _attempt,
    Accepted: lambda told: f"Accepted {told.id}{_place(told)}",
    TaskMoved: lambda told: f"TaskMoved {told.id}{_place(told)}",
    Finished: lambda told: (
        f"Finished {told.id}: {told.result.state.value}, exit status {told.result.exit_status()}"
    ),
    Rejected: lambda told: f"Rejected {told.id}: {told.code}",
    Busy: lambda told: f"Busy {told.id}: again in {told.delay_s:g} s",
    CancelNoted: lambda told: f"CancelNoted {told.id}",
    NotLeader: lambda told: f"NotLeader: ask {told.where}" if told.where else "NotLeader",
    Error: lambda told: f"Error {told.code}: {told.why}",
    Done: lambda _told: "Done",
}
#: What is worth a line, and how it is told.


class Transcript:
    """One scenario.

    Args:
        text: Comments, then blocks of commands, ``----`` and expected lines, parted by blank lines.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._stage = Told()
        self._commands: dict[str, Callable[[list[str], Options], None]] = {
            name.removeprefix("_do_"): getattr(self, name) for name in dir(self) if name.startswith("_do_")
        }

    def play(self) -> str:
        """Carry out the commands; returns the transcript with what happened."""
        blocks = [self._play_block(block) for block in re.split(r"\n\n+", self._text.strip("\n"))]
        return "\n\n".join(blocks) + "\n"

    def _play_block(self, block: str) -> str:
        commands, parted, _ = block.partition("----")
        for line in commands.splitlines():
            if line and not line.startswith("#"):
                self._carry_out(line)
        happened = list(_folded(_named(line) for line in self._stage.take_story()))
        return "\n".join([commands.rstrip("\n"), "----", *happened]) if parted else block

    def _carry_out(self, line: str) -> None:
        verb, *words = shlex.split(line)
        options = dict(word.split("=", 1) for word in words if re.match(r"[a-z_]+=", word))
        names = [word for word in words if not re.match(r"[a-z_]+=", word)]
        try:
            self._commands[verb](names, options)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"{line!r}: {error!r}") from error
        self._stage.settle()

    # --- the cluster ----------------------------------------------------------------------------------------

    def _do_start(self, _names: list[str], options: Options) -> None:
        brokers, workers = (options.pop(key, "").split(",") for key in ("brokers", "workers"))
        cpus = float(options.pop("cpus", 1))
        plug_ins = filter(None, options.pop("plug_ins", "").split(","))
        self._stage.plug_ins.update((name, PLUG_INS[name]) for name in plug_ins)
        settings: dict[str, Any] = {
            key: float(value) if "." in value else int(value) for key, value in options.items()
        }
        for name in filter(None, brokers):
            self._stage.add_broker(name, **settings)
        for name in filter(None, workers):
            self._stage.add_worker(name, cpus)
        self._stage.advance(0.4)

    def _do_kill(self, names: list[str], _options: Options) -> None:
        self._stage.brokers[names[0]].kill()
        for broker in self._stage.brokers.values():
            self._stage.follow(broker)

    def _do_boot(self, names: list[str], _options: Options) -> None:
        self._stage.brokers[names[0]].start()

    def _do_freeze(self, names: list[str], _options: Options) -> None:
        self._stage.brokers[names[0]].freeze()

    def _do_thaw(self, names: list[str], _options: Options) -> None:
        self._stage.brokers[names[0]].thaw()

    def _do_stop(self, names: list[str], _options: Options) -> None:
        self._stage.brokers[names[0]].inbox.append(events.StopRequested(at=self._stage.now))

    def _do_hold(self, names: list[str], _options: Options) -> None:
        if names[0] in self._stage.brokers:
            self._stage.brokers[names[0]].held = True
        else:
            self._stage.client("c1").say(HoldTasks(seq=4, ids=(task_id(_number(names[0])),)))

    def _do_release(self, names: list[str], _options: Options) -> None:
        if names[0] in self._stage.brokers:
            self._stage.brokers[names[0]].held = False
        else:
            self._stage.client("c1").say(ReleaseTasks(seq=5, ids=(task_id(_number(names[0])),)))

    def _do_lose(self, names: list[str], _options: Options) -> None:
        self._stage.brokers[names[0]].loses = names[1]

    def _do_reconnect(self, names: list[str], _options: Options) -> None:
        self._stage.brokers[names[0]].connect()

    def _do_silence(self, names: list[str], _options: Options) -> None:
        self._stage.workers[names[0]].be_silent()

    def _do_return(self, names: list[str], _options: Options) -> None:
        self._stage.workers[names[0]].come_back()

    def _do_restart(self, names: list[str], _options: Options) -> None:
        self._stage.workers[names[0]].restart()

    def _do_advance(self, names: list[str], options: Options) -> None:
        if "silence" in options:
            self._stage.workers[options["silence"]].be_silent()
        self._stage.advance(float(names[0].rstrip("s")))

    # --- tasks ----------------------------------------------------------------------------------------------

    def _do_submit(self, names: list[str], options: Options) -> None:
        spec = TaskSpec(
            command=names[1],
            on_lost=OnLost(options.get("on_lost", "rerun")),
            request=Request(
                float(options.get("cpus", 1)),
                int(options.get("memory", 0)),
                optimize=parse_vector(options["optimize"]) if "optimize" in options else None,
                measured="measured" in options,
            ),
            time_limit_s=float(options["limit"]) if "limit" in options else None,
            preemptible="preemptible" in options,
            priority=int(options.get("priority", 0)),
            retry=Retry(times=int(options.get("retries", 0)), delay_s=float(options.get("delay", 1))),
            start=_start(options),
            speculative="speculative" in options or None,
        )
        client = self._stage.client(options.get("client", "c1"), options.get("user", "ann"))
        client.submit(submit(_number(names[0]), spec, moves="moves" in options))

    def _do_attach(self, names: list[str], options: Options) -> None:
        self._stage.client(options.get("client", "c1")).say(attach(_number(names[0])))

    def _do_cancel(self, names: list[str], options: Options) -> None:
        self._stage.client(options.get("client", "c1")).say(Cancel(id=task_id(_number(names[0]))))

    def _do_policy(self, names: list[str], options: Options) -> None:
        parameters = {name: float(text) for name, text in options.items() if name not in {"client", "try"}}
        try_s = float(options.get("try", 0))
        wish = SetPolicy(seq=1, policy=names[0], parameters=parameters, try_s=try_s)
        self._stage.client(options.get("client", "c1")).say(wish)

    def _do_drain(self, names: list[str], options: Options) -> None:
        deadline_s = float(options["deadline"]) if "deadline" in options else None
        drain = DrainWorkers(seq=2, workers=tuple(names), deadline_s=deadline_s)
        self._stage.client(options.get("client", "c1")).say(drain)

    def _do_undrain(self, names: list[str], options: Options) -> None:
        undrain = UndrainWorkers(seq=3, workers=tuple(names))
        self._stage.client(options.get("client", "c1")).say(undrain)

    def _do_load(self, names: list[str], options: Options) -> None:
        self._stage.workers[names[0]].cpu_load = float(options["cpu"])

    def _do_share(self, names: list[str], options: Options) -> None:
        share = Share(**{name: float(text) for name, text in options.items()})
        self._stage.client("c1").say(SetShare(seq=6, user=names[0], share=share))

    def _do_suspect(self, names: list[str], options: Options) -> None:
        leader = self._stage.leader_node()
        epoch = leader.epoch if leader is not None else 0
        suspicion = Suspect(epoch=epoch, why="no progress for 5 s")
        self._stage.client(options.get("client", "c1")).say(suspicion, to=names[0])

    def _do_finish(self, names: list[str], options: Options) -> None:
        wall_s = float(options.get("took", 0))
        self._end(names[0], outcome(int(options.get("exit", 0)), wall_s=wall_s), options)

    def _do_interrupt(self, names: list[str], options: Options) -> None:
        self._end(names[0], outcome(cause=Cause.INTERRUPTED), options)

    def _end(self, name: str, how: Any, options: Options) -> None:
        task = task_id(_number(name))
        for worker in self._stage.workers.values():
            for attempt in sorted(worker.running):
                if attempt.task == task and options.get("on", worker.name) == worker.name:
                    worker.end(attempt, how)
                    return
        raise KeyError(f"nobody runs {name}")

    # --- the table ------------------------------------------------------------------------------------------

    def _do_put(self, names: list[str], _options: Options) -> None:
        path, data = znodes.task_path(task_id(_number(names[0]))), names[1].encode()
        exists = self._stage.read(path) is not None
        self._stage.operate(zk.SetData(path, data) if exists else zk.Create(path, data))

    def _do_unseat(self, _names: list[str], _options: Options) -> None:
        self._stage.operate(zk.Delete(znodes.LEADER))

    def _do_wipe(self, names: list[str], _options: Options) -> None:
        self._stage.operate(zk.Delete(znodes.task_path(task_id(_number(names[0])))))

    def _do_table(self, _names: list[str], _options: Options) -> None:
        for parent in (znodes.TASKS, znodes.DONE):
            for node in self._stage.tasks(parent).values():
                self._stage.tell(f"{parent}: {_kept(node)}")


def _start(options: Options) -> Start:
    kinds = {kind.value: kind for kind in After}
    awaited = tuple(
        Dependency(kinds[name], task_id(_number(other))) for name, other in options.items() if name in kinds
    )
    return Start(dependencies=awaited, hold="held" in options)


def _kept(node: zk.NodeRead) -> str:
    try:
        record = znodes.decode_task(node.path, node.data)
    except UnreadableNode:
        return f"{node.path.rpartition('/')[2]} unreadable"
    live = [
        f"attempt {each.n} on {each.worker}" for each in record.attempts if each.state is AttemptState.LIVE
    ]
    cancelled = ["cancelled"] if record.cancel else []
    return ", ".join([f"{record.id} {record.state.value}", *live, *cancelled])


def _number(name: str) -> int:
    if not re.fullmatch(r"t\d+", name):
        raise KeyError(f"{name!r} is no task: t1, t2, …")
    return int(name[1:])


def _named(line: str) -> str:
    return re.sub(r"\b([0-9a-f]{32})\b", lambda found: f"t{int(found[1], 16)}", line)


def _folded(lines: Iterator[str]) -> Iterator[str]:
    """Tell a line that is repeated at once only once, with the number of times."""
    last, times = None, 0
    for line in [*lines, None]:
        if line == last:
            times += 1
            continue
        if last is not None:
            yield last if times == 1 else f"{last} ({times} times)"
        last, times = line, 1
