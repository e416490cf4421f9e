"""Exit codes of every command, daemons too.  They are part of the interface: scripts read them."""

from __future__ import annotations

OK = 0
BUG = 1  # In Serenity.
USAGE = 2  # Wrong or ambiguous arguments.
NOT_FOUND = 3
REFUSED = 4  # Understood, and declined.
UNREACHABLE = 5  # The framework cannot be reached.
JOB_FAILED = 6
TIMED_OUT = 7
INTERRUPTED = 130


def worst(codes: list[int]) -> int:
    """The exit code of several jobs together: the highest."""
    return max(codes, default=OK)
