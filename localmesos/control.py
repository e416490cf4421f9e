"""Commands to a localmesos that runs: how a user or a test makes it fail.  Runs on gevent.

With ``--control`` each line of standard input is a JSON object, and each is answered by one on standard output,
``{"ok": true}`` or ``{"error": "…"}``, when it has been done.  The end of standard input stops it::

    {"command": "kill_agent"}                                     as by SIGKILL; executors live on
    {"command": "start_agent"}                                    answers when it is registered again
    {"command": "lose_agent"}                                     killed, and unreachable at once
    {"command": "drop_streams", "of": ["scheduler", "executor", "provider"]}
    {"command": "unavailable", "which": "agent", "for_s": 3.0}    503 to all requests; or "master"
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from serenity.localmesos.cluster.options import ClusterError
from serenity.localmesos.embedded import SUBSCRIBERS, EmbeddedMesos
from serenity.wire.mesos.resources import Json


class _Command(msgspec.Struct, forbid_unknown_fields=True):
    command: str
    of: list[str] = []
    which: str = ""
    for_s: float = 0.0


def answer(mesos: EmbeddedMesos, line: bytes) -> Json:
    """Does what the line says, and returns the answer."""
    try:
        command = msgspec.json.decode(line, type=_Command)
        _handler(mesos, command)()
    except (msgspec.MsgspecError, ClusterError) as error:
        return {"error": str(error)}
    return {"ok": True}


def _handler(mesos: EmbeddedMesos, command: _Command) -> Callable[[], None]:
    """Raises ClusterError for a command that makes no sense."""
    handlers: dict[str, Callable[[], None]] = {
        "kill_agent": mesos.kill_agent,
        "start_agent": mesos.start_agent,
        "lose_agent": mesos.lose_agent,
        "drop_streams": lambda: mesos.drop_streams(_subscribers(command.of)),
        "unavailable": lambda: mesos.refuse(_one_of(command.which), command.for_s),
    }
    if command.command not in handlers:
        raise ClusterError(f"no command {command.command!r}; there are {', '.join(handlers)}")
    return handlers[command.command]


def _subscribers(kinds: list[str]) -> list[str]:
    for each in kinds:
        if each not in SUBSCRIBERS:
            raise ClusterError(f"no streams of {each!r}; there are {', '.join(SUBSCRIBERS)}")
    return kinds


def _one_of(which: str) -> str:
    if which not in ("master", "agent"):
        raise ClusterError(f"{which!r} is neither master nor agent")
    return which
