"""How many files this process, and processes that it starts, may have open (``RLIMIT_NOFILE``)."""

from __future__ import annotations

import functools
import logging
import resource
import sys
from collections.abc import Callable

logger = logging.getLogger(__name__)

_Limit = tuple[int, int]
_inherited: list[_Limit] = []  # The limit that this process began with; empty until that is raised.


def raise_limit() -> None:
    """Raises it as far as it goes.  To be called before any connection is taken: a process that is out of files can
    neither read /proc nor accept a question."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # The system-wide bound was lowered below it.
        logger.warning("the limit of open files stays at %d: %s", soft, error)
        return
    _inherited.append((soft, hard))


def limit() -> int:
    """How many it is now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def inherited() -> tuple[int, int] | None:
    """The limit that this process began with, soft and hard, where that was raised."""
    return _inherited[0] if _inherited else None


def as_inherited() -> Callable[[], None] | None:
    """A `preexec_fn` that restores the limit in a child: programs that use select(2) break beyond 1024 files."""
    before = inherited()
    return functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, before) if before is not None else None
