"""How many files this process may have open (``RLIMIT_NOFILE``), and what it starts."""

from __future__ import annotations

import functools
import logging
import resource
from collections.abc import Callable

logger = logging.getLogger(__name__)

_Limit = tuple[int, int]
_inherited: list[_Limit] = []  # What this process was started with, once it has another.


def raise_limit() -> None:
    """As far as it goes.  Before any connection is taken: who is out of files cannot look at /proc, nor be asked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # The machine's own bound was lowered below it.
        logger.warning("the limit of open files stays at %d: %s", soft, error)
        return
    _inherited.append((soft, hard))


def as_inherited() -> Callable[[], None] | None:
    """A `preexec_fn` for what is started: programs that use select(2) break beyond 1024 files."""
    if not _inherited:
        return None
    return functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, _inherited[0])
