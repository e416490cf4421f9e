"""The `serenity` command.

Every verb is a module of its own with a click command named ``command``, imported when it
is used or asked for help: `serenity --help` imports none of them.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from serenity.cli.lazy_group import LazyGroup
from serenity.cli.profile import PROFILE
from serenity.daemon import exits

# What a group raises that is given nothing: its help.  click 8.1 prints that by itself.
_NO_ARGUMENTS: type[click.UsageError] | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())

# Verb: its module, and its line in `serenity --help`.
VERBS = {
    "submit": ("submit", "Submit a job: run COMMAND on the slack."),
    "list": ("list", "List jobs."),
    "show": ("show", "Show one job, its attempts and kills."),
    "kill": ("kill", "Kill jobs."),
    "wait": ("wait", "Wait until jobs have ended."),
    "watch": ("watch", "Follow what happens, line by line."),
    "logs": ("logs", "Print what a job has written."),
    "why": ("why", "Say why a job is not running."),
    "reasons": ("reasons", "List the reasons for which attempts end."),
    "nodes": ("nodes", "List the agents and their slack."),
    "hints": ("hints", "Show noisy neighbours that nobody corrects."),
    "slo": ("slo", "Show how production services do."),
    "token": ("token", "Create, list and revoke tokens for the API."),
    "framework": ("framework", "Run the framework."),
    "executor": ("executor", "Run an executor; a Mesos agent does this."),
    "estimator": ("estimator", "Run the estimator of this node."),
    "local": ("local", "Run all of it on this machine."),
    "demo": ("demo.command", "Show what Serenity does, on real processes."),
    "qos": ("qos", "Replay, check and draw QoS pipelines."),
    "slack": ("slack", "Replay estimates of the slack."),
    "config": ("config", "Show the settings and where they come from."),
    "doctor": ("doctor", "Check this machine, and the way to the framework."),
    "completion": ("completion", "Print what completes verbs and jobs in a shell."),
}
_SECTIONS = {
    "Jobs": ("submit", "list", "show", "kill", "wait", "watch", "logs", "why"),
    "Cluster": ("nodes", "hints", "slo", "reasons", "token"),
    "Daemons": ("framework", "executor", "estimator"),
    "Try it": ("local", "demo"),
    "Set-up": ("qos", "slack", "config", "doctor", "completion"),
}


@click.command(cls=LazyGroup, verbs=VERBS, sections=_SECTIONS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--profile", metavar="NAME", help="The framework of [client.NAME] in serenity.toml.")
@click.version_option(package_name="serenity-mesos", message="serenity %(version)s")
def serenity(profile: str | None) -> None:
    """Best-effort computing on the slack of Mesos clusters."""
    if profile is not None:
        os.environ[PROFILE] = profile


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.  Never raises, never shows a traceback."""
    _open_streams()
    try:
        result: Any = serenity.main(args=argv, prog_name="serenity", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else exits.OK
    except click.Abort:
        return exits.INTERRUPTED
    except _NO_ARGUMENTS as error:
        error.show()
        return error.exit_code
    except click.UsageError as error:
        click.echo(_usage_line(error), err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output is gone.  Python would complain a second time when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO) or error.filename is not None:
            return _our_bug(error)
        click.echo(f"serenity: the output cannot be written: {error.strerror}", err=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.USAGE
    except UnicodeEncodeError as error:
        odd = next((each for each in (sys.argv[1:] if argv is None else argv) if not _is_text(each)), None)
        if odd is None:
            return _our_bug(error)
        click.echo(f"serenity: {odd!r} is not in UTF-8, so no framework can be told of it", err=True)
        return exits.USAGE
    except Exception as error:  # noqa: BLE001 - the last resort: told as our bug, its traceback written to a file
        return _our_bug(error)


def _open_streams() -> None:
    """Makes sure that there are stdin, stdout and stderr, and that what stdout's encoding lacks does not end a command.

    A caller may have closed them.  Then a socket of ours would get stdout's number, and Python has None for it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)  # The daemons that we become or start need them, too.
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _usage_line(error: click.UsageError) -> str:
    """What is wrong, and where to read on; click's own text takes four lines for that."""
    path = error.ctx.command_path if error.ctx is not None else "serenity"
    return f"serenity: {error.format_message().rstrip('.')}; see `{path} --help`"


def _our_bug(error: Exception) -> int:
    # Imported only here: both take longer to import than all of click's own modules.
    import tempfile
    import traceback

    line = f"this is a bug in Serenity: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    try:
        handle, path = tempfile.mkstemp(prefix="serenity-bug-", suffix=".txt")
        with os.fdopen(handle, "w") as file:
            file.write(f"serenity {sys.argv[1:]}\n")
            traceback.print_exception(error, file=file)
        line += f"; please report it with {path}"
    except OSError:
        pass  # The traceback cannot be written: the line alone has to do.
    click.echo(line, err=True)
    return exits.BUG
