"""The program that `forked.py` starts: it imports a framework once, and forks one for each that is asked for.

Lines of JSON come in: ``{"start": {…}}`` is answered by the child's process id, ``{"poll": pid}``
by its exit code, or null while it lives.  A child runs what ``python -m serenity.framework``
runs, with less patience if it is told so; it kills itself with -9 at the point named in a file, once that is there.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import signal
import sys
from pathlib import Path

from gevent.os import fork_gevent

from serenity.framework.__main__ import main
from serenity.framework.crash_points import CrashPoint, when_passing
from serenity.wire.messages.reasons import Reason

# What a framework imports as it starts; after `main`, with which gevent comes.
IMPORTED = ("serenity.framework.api.listeners", "serenity.framework.service")


def live(log: str, arguments: list[str], die_at: str, patience_s: float | None) -> None:
    def die_if_told(point: CrashPoint) -> None:
        order = Path(die_at)
        if order.exists() and order.read_text() == point.name:
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number in (1, 2):
        os.dup2(file, number)
    sys.argv = ["serenity framework", *arguments]
    when_passing(die_if_told)
    if patience_s is not None:
        hurry(patience_s)
    main()


def ended(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def hurry(patience_s: float) -> None:
    """What an executor or the framework itself has taken with it runs again this soon.  When it does otherwise is for
    test_core.py, on a clock that is set."""
    sys.modules["serenity.framework.core"]._REMOVED_LINGERS_S = patience_s
    Reason.EXECUTOR_LOST._value_ = dataclasses.replace(Reason.EXECUTOR_LOST.value, avoid_s=patience_s)


for name in IMPORTED:
    importlib.import_module(name)
for line in sys.stdin:
    asked = json.loads(line)
    if "start" in asked:
        child = fork_gevent()  # The standard one, patched, would have a loop reap the child that never runs here.
        if child == 0:
            live(**asked["start"])
        print(child, flush=True)
    else:
        print(json.dumps(ended(asked["poll"])), flush=True)
