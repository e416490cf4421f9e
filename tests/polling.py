"""Waiting for what comes by itself: looked at again and again until a deadline, never slept for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE_S = 0.02


def eventually(look: Callable[[], T], what: str = "it", within_s: float = 60.0) -> T:
    """The first true value of `look`; fails the test, naming `what` and the last value, when there is none in time."""
    deadline = time.monotonic() + within_s
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what}: not within {within_s:g} s; last seen: {seen!r}"
        time.sleep(_PAUSE_S)
    return seen
