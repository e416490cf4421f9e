"""Runs between a container's fork and its program: waits until the process is in its cgroups.

Else the program could fork children before, and those would stay outside.  A program of its own, run by
path with the standard library alone, like `tether`.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # In place of typing's own: typing takes its time to import.
if TYPE_CHECKING:
    from collections.abc import Sequence

OPEN = b"\n"
_NOT_STARTED = 127  # As from a shell that does not find the command.


def gated(program: str, argv: Sequence[str]) -> list[str]:
    """The command line that reads `OPEN` from standard input and becomes `program` with `argv`."""
    return [sys.executable, "-I", "-S", __file__, program, *argv]


def main(program: str, argv: list[str]) -> int:
    if os.read(0, 1) != OPEN:
        return _NOT_STARTED  # The launcher is gone, or could not put the process into its cgroups.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        os.execvp(program, argv)
    except OSError as error:
        sys.stderr.write(f"cannot run {program}: {error.strerror}\n")
    return _NOT_STARTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
