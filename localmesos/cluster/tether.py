"""Runs between a supervisor's spawn and a long-running process, and ties the end of that process to the supervisor's.

However the supervisor ends, SIGKILL included, the process then gets a signal (prctl(2),
PR_SET_PDEATHSIG), and so nothing of `serenity local` outlives it.

A program of its own, run by path with the standard library alone: code after a fork in a
process with threads can deadlock, and a fresh interpreter cannot.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

TYPE_CHECKING = False  # In place of typing's own: typing takes its time to import.
if TYPE_CHECKING:
    from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
_NOT_STARTED = 127  # As from a shell that does not find the command.


def tethered(argv: Sequence[str], signum: signal.Signals = signal.SIGTERM) -> list[str]:
    """The command line that ties `argv` to this process; for a ``Popen`` in the main thread, whose end counts."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(signum)), *argv]


def main(supervisor_pid: int, signum: int, argv: list[str]) -> int:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0)
    if os.getppid() != supervisor_pid:
        return _NOT_STARTED  # The supervisor has ended meanwhile: no signal would come any more.
    try:
        os.execv(argv[0], argv)
    except OSError as error:
        sys.stderr.write(f"cannot run {argv[0]}: {error.strerror}\n")
    return _NOT_STARTED


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
