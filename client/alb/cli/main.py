"""``alb``: finds the verb, runs it, and turns every error into one sentence and an exit status.

Modules are imported when their verb is asked for: a command starts fast.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import click

import alb_core
from alb.cli import out, statuses
from alb.cli.statuses import FAILED_STATUS, INTERRUPTED_STATUS, READER_GONE_STATUS
from alb_core.errors import AlbError, ConfigError, InvalidTask

LEAVE_S: Final = 1.0
#: For the last messages, and sockets that were left open.

VERBS: Final = {
    "submit": ("submit", "Run a command on the cluster; its output and exit status come back."),
    "tasks": ("show", "List tasks."),
    "status": ("show", "Show tasks, or the whole cluster."),
    "explain": ("explain", "Tell why a task waits, or ran where it did."),
    "wait": ("follow", "Wait until tasks have ended."),
    "attach": ("attach", "Come back to a task or an array."),
    "logs": ("logs", "Show a task's output."),
    "fetch": ("returns", "Fetch the files that a task brought back."),
    "increments": ("increments", "Show what a task reported while it ran."),
    "increment": ("increments", "Report something, from within a task."),
    "cancel": ("follow", "End tasks, arrays, or parts of them."),
    "hold": ("holds", "Keep tasks that wait from being placed."),
    "release": ("holds", "Let held tasks go on."),
    "retry": ("attach", "Run a task again, or what failed of an array."),
    "workers": ("show", "List workers."),
    "brokers": ("show", "List brokers."),
    "history": ("history", "List finished tasks from the results store."),
    "analyze": ("analyze", "Analyse the workload, with plots and advice."),
    "simulate": ("simulate", "Replay a workload under several policies, in virtual time."),
    "sql": ("sql", "Open the results store's own shell, or run a query."),
    "drain": ("drains", "Give workers nothing new, and wait until they are empty."),
    "undrain": ("drains", "Give workers tasks again."),
    "health": ("health", "Tell whether a broker or a worker does its part."),
    "dump": ("show", "Write the leader's whole state as JSON."),
    "policy": ("placing", "Show, choose, try or take back the policy that places tasks."),
    "limits": ("cluster_limits", "Show or change what tasks are limited to that say nothing."),
    "share": ("share", "Show or change what each user may have of the cluster."),
    "copies": ("copies", "Show or change how stragglers are copied, and what that cost."),
    "broker": ("daemons", "Run a broker."),
    "worker": ("daemons", "Run a worker."),
    "up": ("local", "Start a local cluster with its own ZooKeeper."),
    "down": ("local", "End the local cluster."),
}
#: Verb: the module that holds it (below ``alb.cli``), and its line in the help.


class Verbs(click.Group):
    """Loads a verb's module when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's form)
        """Return all verbs, in the order of the help."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a verb's command, or None."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"alb.cli.{VERBS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the verbs without loading them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])
        with formatter.section("Exit status"):
            formatter.write_dl(statuses.TABLE)


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(alb_core.__version__, prog_name="alb")
def cli() -> None:
    """Run UNIX commands on a fault-tolerant pool of servers.

    Where the cluster is: --zk, or $ALB_ZK. Of an ID the last few digits will do. Each verb has its own --help
    and --json.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        arguments: Without the program's name.

    Returns:
        The exit status: see `statuses`.
    """
    wrong_usage = statuses.wrong_usage(arguments[0] if arguments else "")
    try:
        status = cli.main(args=list(arguments), prog_name="alb", standalone_mode=False)
    except Exception as error:
        if os.environ.get("ALB_DEBUG"):
            raise
        return _explain(error, wrong_usage)
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    except SystemExit as leaving:  # shell completion ends so
        status = leaving.code
    return status if isinstance(status, int) else 0


def _explain(error: Exception, wrong_usage: int) -> int:
    """Say what is wrong in one sentence, and return the exit status for it.

    Args:
        error: What ended the verb.
        wrong_usage: The status where that was how it was called.
    """
    match error:
        case click.Abort():
            return INTERRUPTED_STATUS
        case click.ClickException():
            with suppress(OSError):  # there is no room for it
                error.show()
            return wrong_usage
        case UnicodeEncodeError(object=text):
            out.say(f"what was given is not valid text (UTF-8): {text[:80]!r}")
            return wrong_usage
        case out.ReaderGone():
            return READER_GONE_STATUS
        case ConfigError() | InvalidTask(task_id=""):  # found before anything was sent
            out.say(str(error))
            return wrong_usage
        case AlbError():
            out.say(str(error))
        case OSError():
            out.say(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        case _:
            out.say(f"internal error: {type(error).__name__}: {error}; ALB_DEBUG=1 shows where")
    return FAILED_STATUS


def main() -> None:
    """Run the command line of this process, and exit."""
    _open_standard_descriptors()
    if not os.environ.get("ALB_DEBUG"):
        threading.excepthook = _tell_broken_thread
    status = INTERRUPTED_STATUS
    with suppress(KeyboardInterrupt):  # a second one, or one that comes too late to change the status
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as `client/bin/alb` set it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = run(sys.argv[1:])
        _let_messages_leave()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, AttributeError):  # None where the caller closed it
                stream.flush()
    # Everything is closed. Python would only take its modules apart, for a tenth of a command's time.
    os._exit(status)


def _open_standard_descriptors() -> None:
    """Fill 0, 1 and 2 where the caller closed them, lest a socket gets the number and our output."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _let_messages_leave() -> None:
    """Wait until the last Ack and Goodbye are sent, which takes a fifth of a second at most."""
    sockets = sys.modules.get("alb_core.io.sockets")
    if sockets is not None:
        # It waits for every socket to be closed: for ever where a defect of ours leaves one open.
        leaving = threading.Thread(target=sockets.context().term, daemon=True)
        leaving.start()
        leaving.join(LEAVE_S)


def _tell_broken_thread(broken: threading.ExceptHookArgs) -> None:
    """Say in one sentence what ended a thread, in place of Python's traceback."""
    name = broken.thread.name if broken.thread is not None else "a thread"
    out.say(
        f"internal error in {name}: {broken.exc_type.__name__}: {broken.exc_value}; ALB_DEBUG=1 shows where"
    )


if __name__ == "__main__":
    main()
