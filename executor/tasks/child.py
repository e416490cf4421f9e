"""What runs between the executor's spawn and the task's command, in the process that becomes the command.

A program of its own, run by path with the standard library alone: code after a fork in a
process with threads can deadlock, and a fresh interpreter cannot.  Reads its plan (see
`launch.Plan`) from file 0; on failure writes `FAILURE_FIELDS` to file 3, which an ``exec``
that works closes.

Every task waits for its imports, so there are few: json, or signal with its enums, would take longer than
starting the interpreter does.
"""

from __future__ import annotations

import ctypes
import errno
import marshal
import os
import sys
import time

TYPE_CHECKING = False  # As typing's own, which takes its time to import.
if TYPE_CHECKING:
    import signal
    from typing import Any
else:
    import _signal as signal

_PLAN_FILE = 0
_FAILURE_FILE = 3
_PR_SET_PDEATHSIG = 1
_AUTOGROUP_TRIES = 5
# Of each word of a failure: a command may be as long as it likes, and the executor reads no more than a pipe holds.
_WORD_CHARACTERS = 500


def main() -> None:
    os.set_inheritable(_FAILURE_FILE, False)
    os.closerange(_FAILURE_FILE + 1, 1 << 20)  # What the executor itself was given without close-on-exec.
    doing = "prepare"
    try:
        with os.fdopen(os.dup(_PLAN_FILE), "rb") as file:
            plan = marshal.load(file)  # Of the executor, which runs the same interpreter.
        os.dup2(os.open(os.devnull, os.O_RDONLY), _PLAN_FILE)
        fetch = module_beside("fetch") if plan["uris"] else None  # Now: the task's user may not be able to read it.
        become(plan)
        if fetch is not None:
            doing = "fetch"
            os.environ.update(plan["env"])  # It may name proxies, and authorities.
            fetch.fetch_all(plan["uris"], plan["disk_bytes"], plan["fetch_s"])
        doing = "run"
        execute(plan["argv"], plan["env"])
    except Exception as error:  # noqa: BLE001 - whatever it is, the executor must hear it
        failure: dict[str, Any] = {"doing": doing, "text": str(error)}
        if isinstance(error, OSError):
            named = os.fsdecode(error.filename) if error.filename else ""
            failure |= {"errno": error.errno, "text": error.strerror, "file": named}
        if hasattr(error, "elsewhere"):  # A FetchError.
            failure |= {"file": error.shown, "text": error.text, "elsewhere": "yes" if error.elsewhere else ""}  # type: ignore[attr-defined]
        os.write(_FAILURE_FILE, failure_bytes(failure))
    os._exit(127)


# Of a failure, in this order, each ended by a NUL.
FAILURE_FIELDS = ("doing", "errno", "text", "file", "elsewhere")


def failure_bytes(failure: dict[str, Any]) -> bytes:
    words = (cut(str(failure.get(name) or "")).replace("\0", " ") for name in FAILURE_FIELDS)
    return "".join(f"{word}\0" for word in words).encode(errors="replace")


def module_beside(name: str) -> Any:
    import importlib.util

    spec = importlib.util.spec_from_file_location(name, os.path.join(os.path.dirname(__file__), f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Dataclasses look there.
    spec.loader.exec_module(module)
    return module


def become(plan: dict[str, Any]) -> None:
    """Everything that must be so before the command's first instruction."""
    for path in plan["cgroups"]:
        write(path, "0")
    write("/proc/self/oom_score_adj", "1000")
    os.setpriority(os.PRIO_PROCESS, 0, plan["nice"])
    if plan["lowest_priority"]:
        lowest_priority()
    if plan["open_files"] is not None:
        import resource  # Only where it is needed.

        resource.setrlimit(resource.RLIMIT_NOFILE, plan["open_files"])
    if plan["user"] is not None:
        user = plan["user"]
        os.setgroups(user["groups"])
        os.setgid(user["gid"])
        os.setuid(user["uid"])
    # After setuid, which clears it.  Where the executor has ended before, no signal comes.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != plan["parent"]:
        os._exit(127)
    os.chdir(plan["cwd"])
    os.umask(0o022)
    # Python ignores these two; a command expects the defaults.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def lowest_priority() -> None:
    """Rung 0 without cgroups: runs when nobody else wants to."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except OSError:
        os.setpriority(os.PRIO_PROCESS, 0, 19)
    # In the root cgroup each session is a group of its own with a weight of its own, and the
    # scheduling class counts within it only.
    for _ in range(_AUTOGROUP_TRIES):
        try:
            write("/proc/self/autogroup", "19")
            return
        except BlockingIOError:  # Without root the kernel takes one of these in 100 ms.
            time.sleep(0.1)
        except OSError:  # No autogroups.
            return


def execute(argv: list[str], env: dict[str, str]) -> None:
    """As ``os.execvpe``, which imports more of the library; the task's user may not be able to read that."""
    if "/" in argv[0]:
        os.execve(argv[0], argv, env)
    denied = None
    for folder in env["PATH"].split(":"):
        try:
            os.execve(f"{folder or '.'}/{argv[0]}", argv, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            denied = error
    raise denied or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), argv[0])


def cut(text: str) -> str:
    return text if len(text) <= _WORD_CHARACTERS else f"{text[:_WORD_CHARACTERS]}…"


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
