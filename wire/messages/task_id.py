"""A best-effort task's id, ``JOB.INSTANCE.ATTEMPT``: whose it is can be read off it, by people too."""

from __future__ import annotations

import re
from typing import NamedTuple

# Numbers that every store has room for: an id may come from an executor, and be anything.
_SHAPE = re.compile(r"([^.]+)\.([0-9]{1,9})\.([0-9]{1,9})")


class TaskIdParts(NamedTuple):
    job_id: str
    instance: int
    attempt: int  # From 1.


def format_task_id(job_id: str, instance: int, attempt: int) -> str:
    return f"{job_id}.{instance}.{attempt}"


def parse_task_id(task_id: str) -> TaskIdParts | None:
    """None for what is the id of no best-effort task."""
    found = _SHAPE.fullmatch(task_id)
    return None if found is None else TaskIdParts(found[1], int(found[2]), int(found[3]))
