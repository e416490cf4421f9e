"""What runs between a container's fork and its program: waits until the process is in its cgroups.

Else the program could have children before, and those would stay outside.  A program of its own, run by
path with the standard library alone, like `tether`.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # As typing's own, which takes its time to import.
if TYPE_CHECKING:
    from collections.abc import Sequence

OPEN = b"\n"
_NOT_STARTED = 127  # As of a shell that did not find the command.


def gated(program: str, argv: Sequence[str]) -> list[str]:
    """The command line that reads `OPEN` from standard input and becomes `program` with `argv`."""
    return [sys.executable, "-I", "-S", __file__, program, *argv]


def main(program: str, argv: list[str]) -> int:
    if os.read(0, 1) != OPEN:
        return _NOT_STARTED  # Whoever holds the gate is gone, or could not make room.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        os.execvp(program, argv)
    except OSError as error:
        sys.stderr.write(f"cannot run {program}: {error.strerror}\n")
    return _NOT_STARTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
