"""`serenity estimator hold | release | leases`: no new slack on this node for a while, by its operator's word."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from serenity.cli import amounts
from serenity.cli.failure import Failure
from serenity.cli.output import print_json, words
from serenity.daemon import exits
from serenity.wire.mesos.quantities import format_duration
from serenity.wire.messages import node

F = TypeVar("F", bound=Callable[..., Any])

_TIMEOUT_S = 10.0
_HOLD_FOR_S = 3600.0
_HELP = {"help_option_names": ["-h", "--help"]}


def _where(function: F) -> F:
    for option in (
        click.option("--run-dir", metavar="DIR", help="The estimator's --run-dir (default /run/serenity as root)."),
        click.option("--agent-id", metavar="ID", help="Which agent, where several run on this node."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    ):
        function = option(function)
    return function


def _holder(function: F) -> F:
    return click.option("--holder", metavar="NAME", help='Who holds (default "operator USER").')(function)


@click.command("hold", context_settings=_HELP)
@click.option(
    "--for", "for_s", metavar="TIME", callback=amounts.positive_duration, help="Such as 10m (default 1h, at most 24h)."
)
@click.option("--reason", default="", metavar="TEXT", help="Why; it is logged, and shown to whoever asks.")
@_holder
@_where
def hold(
    for_s: float | None, reason: str, holder: str | None, run_dir: str | None, agent_id: str | None, as_json: bool
) -> int:
    """Close the valve of this node: no new slack until then.  What runs goes on."""
    lease = node.Lease(holder=holder or _operator(), reason=reason, ttl_s=for_s or _HOLD_FOR_S)
    return _show(_ask(_socket(run_dir, agent_id), lease), as_json)


@click.command("release", context_settings=_HELP)
@_holder
@_where
def release(holder: str | None, run_dir: str | None, agent_id: str | None, as_json: bool) -> int:
    """End a lease.  The valve opens when nobody holds it any more."""
    return _show(_ask(_socket(run_dir, agent_id), node.Release(holder=holder or _operator())), as_json)


@click.command("leases", context_settings=_HELP)
@_where
def leases(run_dir: str | None, agent_id: str | None, as_json: bool) -> int:
    """Show who holds the valve of this node, and for how long."""
    return _show(_ask(_socket(run_dir, agent_id), None), as_json)


def _operator() -> str:
    """The holder's name as it is logged; under sudo, that of the user who called sudo."""
    name = os.environ.get("SUDO_USER")
    if not name:
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            name = str(os.getuid())
    return f"operator {name}"


def _socket(run_dir: str | None, agent_id: str | None) -> Path:
    """Raises Failure."""
    folder = Path(run_dir) if run_dir else node.run_dir()
    if agent_id is not None:
        try:
            return node.socket_path(agent_id, folder)
        except OSError as error:
            raise Failure(f"{error.filename}: {error.strerror}", exits.USAGE) from None
    try:
        found = sorted(each for each in folder.iterdir() if each.suffix == ".sock" and each.is_socket())
    except FileNotFoundError:
        found = []
    except PermissionError as error:
        raise _not_allowed(folder) from error
    # A framework on the same node has its socket in this folder, too; only an estimator's has a lock file.
    found = [each for each in found if each.with_suffix(".lock").exists()]
    if not found:
        raise Failure(f"no estimator runs here: {folder} has no socket of one; name its --run-dir", exits.UNREACHABLE)
    if len(found) > 1:
        agents = ", ".join(each.stem for each in found)
        raise Failure(f"several estimators run here; say which by --agent-id: {agents}", exits.USAGE)
    return found[0]


def _ask(path: Path, word: node.Lease | node.Release | None) -> node.Leases:
    """Raises Failure."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
        connection.settimeout(_TIMEOUT_S)
        try:
            connection.connect(str(path))
            said = [node.Operator(pid=os.getpid()), *([word] if word is not None else [])]
            connection.sendall(b"".join(map(node.encode_line, said)))
            answers = _answers(connection, len(said))
        except PermissionError as error:
            raise _not_allowed(path) from error
        except (OSError, node.NodeProtocolError) as error:
            raise Failure(f"no estimator answers at {path}: {error}; does it run?", exits.UNREACHABLE) from error
    if len(answers) < 1 + (word is not None):
        text = f"the estimator at {path} hung up: it takes words from root and its own user, and is of this version?"
        raise Failure(text, exits.REFUSED)
    answer = answers[-1]
    if answer.refused:
        raise Failure(_refusal(answer), exits.NOT_FOUND if isinstance(word, node.Release) else exits.REFUSED)
    return answer


def _answers(connection: socket.socket, count: int) -> list[node.Leases]:
    """`count` answers, or fewer where the estimator hangs up before."""
    lines, found = node.LineReader(), list[node.Leases]()
    while len(found) < count and (chunk := connection.recv(65536)):
        messages = map(node.decode_to_executor, lines.feed(chunk))
        found += [each for each in messages if isinstance(each, node.Leases)]
    return found


def _not_allowed(path: Path) -> Failure:
    return Failure(f"{path} is the estimator's alone: say it as root, or as the user that runs it", exits.REFUSED)


def _refusal(answer: node.Leases) -> str:
    return f"{answer.refused}; {_sentence(answer)}"


def _show(answer: node.Leases, as_json: bool) -> int:
    if as_json:
        print_json(answer.leases)
    else:
        words(_sentence(answer))
    return exits.OK


def _sentence(answer: node.Leases) -> str:
    if not answer.leases:
        return "the valve is open: nobody holds it"
    held = (
        f"{each.holder} for another {format_duration(each.ends_in_s)}" + (f" ({each.reason})" if each.reason else "")
        for each in answer.leases
    )
    return f"the valve is closed, held by {', '.join(held)}"
